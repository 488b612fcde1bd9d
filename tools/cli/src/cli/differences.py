"""`diff`: what differs in meaning between versions, or between a file and what is current."""

from typing import Annotated

import typer

from cli import applying, documents, plans
from cli.errors import UsageError
from cli.kinds import Kind, KindOption
from cli.registry import Change
from cli.session import NamespaceOption, OutputOption, Session


def diff(
    context: typer.Context,
    resource_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    *,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "-f", "--file", metavar="FILE|DIR|-", help="Compare these with what is current."
        ),
    ] = None,
    kind: KindOption = Kind.DEFINITION,
    from_version: Annotated[
        int, typer.Option("--from", min=0, help="Default: the one before.", show_default=False)
    ] = 0,
    to_version: Annotated[
        int, typer.Option("--to", min=0, help="Default: the current one.", show_default=False)
    ] = 0,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Say what differs in meaning: between two versions, or between files and what is current."""
    session = Session(context, namespace=namespace, output=output)
    if (resource_id is None) == (files is None):
        raise UsageError("diff takes either an ID or -f FILE")
    if resource_id is not None:
        _versions(session, kind, resource_id, from_version, to_version)
    elif from_version or to_version:
        raise UsageError("--from and --to go with an ID; a file is compared with what is current")
    else:
        _files(session, files or [])


def _versions(
    session: Session, kind: Kind, resource_id: str, from_version: int, to_version: int
) -> None:
    answer = session.ask(
        lambda clients: clients.registry.diff(
            kind, resource_id, from_version=from_version, to_version=to_version
        )
    )
    out = session.output
    differences = [documents.difference(one) for one in answer.differences]
    if out.json:
        out.document(
            {
                "kind": kind.value,
                "resource_id": resource_id,
                "from_version": answer.from_version,
                "to_version": answer.to_version,
                "differences": differences,
            }
        )
        return
    out.text(
        f"{kind} {resource_id}: version {answer.from_version} to version {answer.to_version}",
        style="bold",
    )
    plans.show_differences(out, differences)
    if not differences:
        out.note("they mean the same")


def _files(session: Session, files: list[str]) -> None:
    change = Change(applying.load(session, files), namespace=session.namespace_option or "")
    plan = applying.planned(session, change)
    out = session.output
    found = [
        result
        for result in map(documents.apply_result, plan.results)
        if result["action"] != "unchanged"
    ]
    if out.json:
        for result in found:
            out.line(result)
        return
    plans.show(out, found)
    if not found:
        out.note("they mean what is current")
