"""`watch`: what changes in the registry, as it changes, each change once across reconnects."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

import typer

from backbone.registry.v1 import registry_pb2
from cli import documents
from cli.clients import Clients
from cli.errors import CliError, UnavailableError, UsageError
from cli.kinds import Kind
from cli.output import Output
from cli.session import NamespaceOption, OutputOption, Session

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0

_Key = tuple[int, str]


class Following:
    """Makes changes out of what watches send, so that each is told once.

    Without `snapshot`, what was there when it began is not told. A snapshot after a reconnect is
    told as what changed meanwhile, what was retired meanwhile included.
    """

    def __init__(self, *, after_revision: int = 0, snapshot: bool = False) -> None:
        self.revision = after_revision
        self._tells_all = snapshot
        self._known: dict[_Key, registry_pb2.Resource] = {}
        # What the snapshot has shown so far; None between snapshots.
        self._snapshot: set[_Key] | None = None

    def begin(self) -> int:
        """Begin to take what a new watch sends; return the revision that it goes on from."""
        self._snapshot = None
        return self.revision

    def take(self, message: registry_pb2.WatchResourcesResponse) -> Iterator[registry_pb2.Resource]:
        """Take a message; return what is to be told because of it."""
        match message.WhichOneof("change"):
            case "snapshot_start":
                self._snapshot = set()
            case "resource":
                yield from self._resource(message.resource)
            case "bookmark":
                yield from self._bookmark(message.bookmark.revision)

    def _resource(self, resource: registry_pb2.Resource) -> Iterator[registry_pb2.Resource]:
        key = (resource.kind, resource.resource_id)
        before = self._known.get(key)
        self._known[key] = _without_content(resource)
        if before is not None:
            told = before.latest.revision != resource.latest.revision
        elif self._snapshot is not None:
            told = self._tells_all or 0 < self.revision < resource.latest.revision
        else:
            told = True
        if self._snapshot is None:
            self.revision = max(self.revision, resource.latest.revision)
        else:
            self._snapshot.add(key)
        if told:
            yield resource

    def _bookmark(self, revision: int) -> Iterator[registry_pb2.Resource]:
        if self._snapshot is None:
            self.revision = max(self.revision, revision)
            return
        for key in self._known.keys() - self._snapshot:
            gone = self._known.pop(key)
            if gone.state != registry_pb2.RESOURCE_STATE_RETIRED:
                gone.state = registry_pb2.RESOURCE_STATE_RETIRED
                # Who retired it, when and why is for `history` to say.
                gone.ClearField("latest")
                yield gone
        self._snapshot = None
        self._tells_all = False
        self.revision = revision


def watch(
    context: typer.Context,
    *,
    kind: Annotated[
        list[Kind] | None,
        typer.Option("--kind", "-k", help="Only this one; may be given several times."),
    ] = None,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="Begin with what is there already.")
    ] = False,
    after_revision: Annotated[
        int, typer.Option("--after-revision", min=0, metavar="N", help="Begin after this change.")
    ] = 0,
    count: Annotated[int | None, typer.Option("--count", min=1, help="End after so many.")] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            min=0.1,
            metavar="SECONDS",
            help="End after so long; with --count, fewer by then are a failure.",
        ),
    ] = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Print changes of definitions, event types and producers as they come, until Ctrl-C."""
    session = Session(context, namespace=namespace, output=output)
    if snapshot and after_revision:
        raise UsageError("give either --snapshot or --after-revision")
    following = Following(after_revision=after_revision, snapshot=snapshot)
    seen = 0

    async def follow(clients: Clients) -> None:
        nonlocal seen
        async with aclosing(_changes(clients, following, kind or [], session.output)) as changes:
            async for resource in changes:
                _show(session.output, documents.resource(resource))
                seen += 1
                if seen == count:
                    return

    async def within(clients: Clients) -> None:
        try:
            async with asyncio.timeout(timeout):
                await follow(clients)
        except TimeoutError:
            if count is not None:
                raise CliError(f"{seen} of {count} changes came within {timeout:g} s") from None

    session.ask(within)


async def _changes(
    clients: Clients, following: Following, kinds: Sequence[Kind], out: Output
) -> AsyncGenerator[registry_pb2.Resource, None]:
    """Return changes; connect again whenever the registry goes away, once it was there."""
    connected = False
    pause_s = _FIRST_PAUSE_S
    while True:
        interrupted = "the registry ended the call"
        watched = clients.registry.watch(kinds, after_revision=following.begin())
        try:
            async with aclosing(watched) as messages:
                async for message in messages:
                    for resource in following.take(message):
                        yield resource
                    if message.HasField("snapshot_start") and following.revision and not connected:
                        out.note(
                            f"revision {following.revision} cannot be resumed from: what was "
                            "retired since then is not told"
                        )
                    if message.HasField("bookmark") and not connected:
                        out.note(
                            f"following {clients.namespace} from revision {following.revision}; "
                            "Ctrl-C ends it"
                        )
                        connected = True
                    pause_s = _FIRST_PAUSE_S
        except UnavailableError as exc:
            if not connected:
                raise
            interrupted = str(exc)
        out.note(f"{interrupted}; connecting again")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _show(out: Output, resource: dict[str, Any]) -> None:
    if out.json:
        out.line(resource)
        return
    latest = resource["latest"]
    what = f"{resource['kind']} {resource['resource_id']} version {resource['version']}"
    if latest is None:
        out.text(f"{what} was retired while the registry could not be asked")
        return
    why = f": {latest['reason']}" if latest["reason"] else ""
    out.text(
        f"{latest['at']}  {latest['change']}  {what} {resource['state']}  by {latest['actor']}{why}"
    )


def _without_content(resource: registry_pb2.Resource) -> registry_pb2.Resource:
    kept = registry_pb2.Resource()
    kept.CopyFrom(resource)
    kept.ClearField("content")
    return kept
