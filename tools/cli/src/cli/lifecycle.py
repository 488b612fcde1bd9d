"""`activate`, `disable`, `enable` and `retire`: a resource's state, changed with a reason."""

import uuid
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Protocol

import typer

from backbone.registry.v1 import registry_pb2
from cli import documents, plans, resources
from cli.errors import CliError, InvalidDocumentsError
from cli.kinds import Kind, KindOption
from cli.registry import Registry
from cli.session import EtagOption, NamespaceOption, OutputOption, RequestIdOption, Session

IdArgument = Annotated[str, typer.Argument(metavar="ID")]
RequiredReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; the history keeps it.")
]


class Held(StrEnum):
    """What becomes of the events that a definition held while it was disabled."""

    START = "start"
    COMPRESS = "compress"
    DISCARD = "discard"


_HELD = {
    None: registry_pb2.HELD_EVENTS_UNSPECIFIED,
    Held.START: registry_pb2.HELD_EVENTS_START,
    Held.COMPRESS: registry_pb2.HELD_EVENTS_COMPRESS,
    Held.DISCARD: registry_pb2.HELD_EVENTS_DISCARD,
}
HeldOption = Annotated[
    Held | None,
    typer.Option(
        "--held",
        help="Of the events held meanwhile: a run for each, one run for all, or none at all.",
    ),
]


class Altered(Protocol):
    """What every one of these calls answers."""

    @property
    def resource(self) -> registry_pb2.Resource:
        """The resource as it is now."""
        ...

    @property
    def changed(self) -> bool:
        """False when it was so already."""
        ...


def activate(
    context: typer.Context,
    resource_id: IdArgument,
    *,
    version: Annotated[
        int, typer.Option("--version", min=1, metavar="N", help="`backbone history ID` has them.")
    ],
    reason: RequiredReasonOption,
    kind: KindOption = Kind.DEFINITION,
    etag: EtagOption = "",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Make an earlier version the current one again, if it can still run (a rollback)."""
    _alter(
        Session(context, namespace=namespace, output=output),
        request_id,
        lambda registry, request: registry.activate(
            kind, resource_id, version=version, etag=etag, request_id=request, reason=reason
        ),
    )


def disable(
    context: typer.Context,
    definition_id: IdArgument,
    *,
    reason: RequiredReasonOption,
    etag: EtagOption = "",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Let a definition start no more runs; what runs goes on."""
    _alter(
        Session(context, namespace=namespace, output=output),
        request_id,
        lambda registry, request: registry.disable(
            definition_id, etag=etag, request_id=request, reason=reason
        ),
    )


def enable(
    context: typer.Context,
    definition_id: IdArgument,
    *,
    reason: RequiredReasonOption,
    held: HeldOption = None,
    etag: EtagOption = "",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Let a disabled definition start runs again; one that holds events needs --held."""
    _alter(
        Session(context, namespace=namespace, output=output),
        request_id,
        lambda registry, request: registry.enable(
            definition_id, held=_HELD[held], etag=etag, request_id=request, reason=reason
        ),
    )


def retire(
    context: typer.Context,
    resource_id: IdArgument,
    *,
    reason: RequiredReasonOption,
    kind: KindOption = Kind.DEFINITION,
    etag: EtagOption = "",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Take a resource out of use; its history stays, and applying it brings it back."""
    _alter(
        Session(context, namespace=namespace, output=output),
        request_id,
        lambda registry, request: registry.retire(
            kind, resource_id, etag=etag, request_id=request, reason=reason
        ),
    )


def _alter(
    session: Session,
    request_id: str | None,
    work: Callable[[Registry, str], Awaitable[Altered]],
) -> None:
    out = session.output
    request = request_id or str(uuid.uuid4())
    try:
        altered = session.ask(lambda clients: work(clients.registry, request))
    except InvalidDocumentsError as exc:
        plans.show_problems(out, [documents.problem(one) for one in exc.problems])
        raise CliError(
            f"it cannot be used as it is: {exc.total} problems; nothing changed"
        ) from exc
    resource = documents.resource(altered.resource)
    del resource["content"]
    if out.json:
        out.document({**resource, "changed": altered.changed})
        return
    resources.show_state(out, resource)
    if not altered.changed:
        out.note("it was so already")
