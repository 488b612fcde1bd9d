"""`plan` and `apply`: a set of documents into the registry, all of it or nothing, as planned."""

import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from backbone.registry.v1 import registry_pb2
from cli import documents, plans, sources
from cli.errors import MISUSED, CliError, InvalidDocumentsError, UsageError
from cli.registry import Change, Source
from cli.session import (
    EtagOption,
    NamespaceOption,
    OutputOption,
    ReasonOption,
    RequestIdOption,
    Session,
)
from cli.sources import FilesOption, UnreadableSourcesError

PruneOption = Annotated[
    bool,
    typer.Option("--prune", help="Retire what the namespace has and these files have not."),
]
OwnerOption = Annotated[
    str, typer.Option("--owner", metavar="TEAM", help="Prune only what this team owns.")
]
ExitCodeOption = Annotated[
    bool, typer.Option("--exit-code", help="End with 2 if something would change.")
]


def plan(
    context: typer.Context,
    files: FilesOption,
    *,
    prune: PruneOption = False,
    owner: OwnerOption = "",
    etag: EtagOption = "",
    exit_code: ExitCodeOption = False,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Say what `apply` would do with the same options; nothing is stored."""
    with _exit_code_is_kept(exit_code):
        session = Session(context, namespace=namespace, output=output)
        change = _change(session, files, prune=prune, owner=owner, etag=etag)
        _dry_run(session, planned(session, change), exit_code=exit_code)


def apply(
    context: typer.Context,
    files: FilesOption,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As `backbone plan`.")] = False,
    exit_code: ExitCodeOption = False,
    prune: PruneOption = False,
    owner: OwnerOption = "",
    etag: EtagOption = "",
    plan_sha256: Annotated[
        str,
        typer.Option("--plan", metavar="SHA256", help="Do what `plan` said then, or nothing."),
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before something is retired.")
    ] = False,
    reason: ReasonOption = "applied with the command line",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Make documents the current versions, all of them or none: first the plan, then just that."""
    with _exit_code_is_kept(exit_code and dry_run):
        session = Session(context, namespace=namespace, output=output)
        if exit_code and not dry_run:
            raise UsageError("--exit-code goes with --dry-run, or with `backbone plan`")
        change = _change(session, files, prune=prune, owner=owner, etag=etag)
        found = planned(session, change, reason=reason, otherwise="nothing was applied")
        if dry_run:
            _dry_run(session, found, exit_code=exit_code)
            return
    out = session.output
    if not out.json:
        plans.show(out, map(documents.apply_result, found.results))
    if plans.changes(found):
        if plan_sha256 not in ("", found.plan_sha256):
            raise CliError(
                "what would be done now is not what was planned then: look at a new plan; nothing "
                "was applied"
            )
        _confirm(session, plans.pruned(found), yes=yes)
        found = carried_out(
            session,
            change,
            plan_sha256=found.plan_sha256,
            request_id=request_id or str(uuid.uuid4()),
            reason=reason,
        )
    done = plans.as_document(found, applied=True)
    if out.json:
        out.document(done)
    else:
        out.text(plans.summary(done["results"], applied=True), style="bold")


def load(session: Session, files: Sequence[str]) -> list[Source]:
    """Read the documents that a command was given.

    Raises:
        CliError: they cannot be sent; which of them and why has been printed.
    """
    try:
        return sources.load(files)
    except UnreadableSourcesError as exc:
        problems = [
            registry_pb2.Problem(document=name, message=message) for name, message in exc.problems
        ]
        raise _refused(session, problems, otherwise="nothing was sent") from exc


def planned(
    session: Session,
    change: Change,
    *,
    reason: str = "planned with the command line",
    otherwise: str = "",
) -> registry_pb2.ApplyResourcesResponse:
    """Return what a change would do.

    Raises:
        CliError: it cannot be done; what is wrong has been printed. `otherwise` is its last words.
    """
    try:
        found = session.ask(lambda clients: clients.registry.plan(change, reason=reason))
    except InvalidDocumentsError as exc:
        raise _refused(session, exc.problems, total=exc.total, otherwise=otherwise) from exc
    if found.problems:
        raise _refused(session, found.problems, otherwise=otherwise)
    return found


def carried_out(
    session: Session, change: Change, *, plan_sha256: str, request_id: str, reason: str
) -> registry_pb2.ApplyResourcesResponse:
    """Return what a change did: what it was planned to do.

    Raises:
        CliError: it cannot be done any more; what is wrong has been printed.
    """
    try:
        return session.ask(
            lambda clients: clients.registry.apply(
                change, plan_sha256=plan_sha256, request_id=request_id, reason=reason
            )
        )
    except InvalidDocumentsError as exc:
        # What the documents lean on changed after the plan. A plan tells all that is wrong now.
        otherwise = "nothing was applied"
        if exc.total > len(exc.problems):
            planned(session, change, reason=reason, otherwise=otherwise)
        raise _refused(session, exc.problems, total=exc.total, otherwise=otherwise) from exc


def _change(
    session: Session, files: Sequence[str], *, prune: bool, owner: str, etag: str
) -> Change:
    if owner and not prune:
        raise UsageError("--owner goes with --prune")
    namespace = session.namespace_option or ""
    if prune:
        namespace = session.chosen_namespace or ""
        if not namespace:
            raise UsageError(
                "--prune needs to know the namespace: give --namespace, or set BACKBONE_NAMESPACE"
            )
    read = load(session, files)
    if etag and len(read) > 1:
        raise UsageError(f"--etag goes with one document, and these are {len(read)}")
    return Change(read, namespace=namespace, etag=etag, prune=prune, prune_owner=owner)


def _dry_run(
    session: Session, found: registry_pb2.ApplyResourcesResponse, *, exit_code: bool
) -> None:
    out = session.output
    plan_document = plans.as_document(found, applied=False)
    if out.json:
        out.document(plan_document)
    else:
        plans.show(out, plan_document["results"])
        out.text(plans.summary(plan_document["results"], applied=False), style="bold")
        if plans.changes(found):
            out.note(f"`apply` with --plan {found.plan_sha256} does exactly this, or nothing")
    if exit_code and plans.changes(found):
        raise typer.Exit(MISUSED)


def _refused(
    session: Session,
    problems: Iterable[registry_pb2.Problem],
    *,
    total: int = 0,
    otherwise: str = "",
) -> CliError:
    """Print problems; return what ends the command."""
    found = [documents.problem(one) for one in problems]
    out = session.output
    if out.json:
        nothing = registry_pb2.ApplyResourcesResponse()
        out.document(plans.as_document(nothing, applied=False, problems=found))
    else:
        plans.show_problems(out, found)
    total = max(total, len(found))
    files = len({one["document"] for one in found})
    told = f"{total} {'problem' if total == 1 else 'problems'}"
    told += f" in {files} {'document' if files == 1 else 'documents'}"
    if total > len(found):
        told += f", of which {len(found)} are shown"
    return CliError(f"{told}; {otherwise}" if otherwise else told)


def _confirm(session: Session, retired: int, *, yes: bool) -> None:
    """Ask a person at a terminal before anything is retired; scripts are not asked."""
    if not retired or yes or session.output.json or not sys.stdin.isatty():
        return
    what = "this resource" if retired == 1 else f"these {retired} resources"
    if not typer.confirm(f"retire {what}, and do the rest of the plan?", err=True):
        raise CliError("nothing was applied")


@contextmanager
def _exit_code_is_kept(exit_code: bool) -> Iterator[None]:  # noqa: FBT001 - its only argument
    """With --exit-code, 2 says that something would change, and nothing else."""
    try:
        yield
    except UsageError as exc:
        if exit_code:
            raise CliError(str(exc)) from exc
        raise
