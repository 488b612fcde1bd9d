"""`get`: definitions, event types and producers out of the registry."""

from datetime import datetime
from typing import Annotated, Any

import typer

from cli import documents
from cli.errors import UsageError
from cli.kinds import Kind, KindOption
from cli.output import Columns, Format, Output
from cli.session import NamespaceOption, OutputOption, Session, moment_option

_FIRST = [("ID", "resource_id"), ("VERSION", "version"), ("STATE", "state"), ("OWNER", "owner")]
_LAST = [("CHANGED", "changed_at"), ("BY", "changed_by")]
_COLUMNS: dict[Kind, Columns] = {
    Kind.DEFINITION: [*_FIRST, ("TRIGGERS", "triggers"), *_LAST],
    Kind.EVENT_TYPE: [*_FIRST, ("SCHEMAS", "schemas"), ("COMPATIBILITY", "compatibility"), *_LAST],
    Kind.PRODUCER: [*_FIRST, ("SOURCES", "sources"), ("TYPES", "types"), *_LAST],
}


def get(
    context: typer.Context,
    resource_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Without it: list all.")
    ] = None,
    *,
    kind: KindOption = Kind.DEFINITION,
    version: Annotated[
        int, typer.Option("--version", min=0, help="0 is the current one.", show_default=False)
    ] = 0,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="As it was at this time.")
    ] = None,
    retired: Annotated[
        bool, typer.Option("--retired", help="List those too that are not in use any more.")
    ] = False,
    owner: Annotated[
        str, typer.Option("--owner", metavar="TEAM", help="List only what this team owns.")
    ] = "",
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show a resource, or list the current ones; `-o yaml` prints what `apply` reads."""
    session = Session(context, namespace=namespace, output=output, yaml=resource_id is not None)
    moment = None if as_of is None else moment_option("--as-of", as_of)
    if version and moment is not None:
        raise UsageError("give either --version or --as-of")
    if resource_id is None:
        if version:
            raise UsageError("--version needs an ID")
        _list(session, kind, as_of=moment, show_retired=retired, owner=owner)
        return
    if retired or owner:
        raise UsageError("--retired and --owner are for lists, without an ID")
    found = session.ask(
        lambda clients: clients.registry.resource(kind, resource_id, version=version, as_of=moment)
    )
    show(session.output, documents.resource(found))


def show(out: Output, resource: dict[str, Any]) -> None:
    """Print a resource, as `documents.resource` gives it."""
    if out.json:
        out.document(resource)
        return
    if out.format is Format.YAML:
        out.yaml(resource["content"])
        return
    show_state(out, resource)
    if resource["content"] is not None:
        out.heading("content")
        out.yaml(resource["content"])


def show_state(out: Output, resource: dict[str, Any]) -> None:
    """Print what a resource is and what happened to it last, without its content."""
    other = resource["current_version"] != resource["version"]
    out.fields(
        {
            **resource,
            "current_version": resource["current_version"] if other else None,
            "applied": _told(resource["applied"]),
            "latest": _told(resource["latest"], named=True),
        },
        [
            ("id", "resource_id"),
            ("kind", "kind"),
            ("namespace", "namespace"),
            ("state", "state"),
            ("version", "version"),
            ("current version", "current_version"),
            ("applied", "applied"),
            ("last change", "latest"),
            ("etag", "etag"),
            ("sha256", "content_sha256"),
        ],
    )


def _list(
    session: Session, kind: Kind, *, as_of: datetime | None, show_retired: bool, owner: str
) -> None:
    found = session.ask(
        lambda clients: clients.registry.resources(
            kind, as_of=as_of, show_retired=show_retired, owner=owner
        )
    )
    out = session.output
    rows = map(documents.resource, found)
    out.rows(
        rows if out.json else map(_listed, rows),
        _COLUMNS[kind],
        none=f"no {kind.value.replace('-', ' ')}s in namespace {session.namespace}",
    )


def _listed(resource: dict[str, Any]) -> dict[str, Any]:
    """Return a resource with what the columns show of its content."""
    content = resource["content"] or {}
    spec = content.get("spec", {})
    latest = resource["latest"] or {}
    return {
        **resource,
        "owner": content.get("metadata", {}).get("owner"),
        "triggers": [one["name"] for one in spec.get("triggers", [])],
        "schemas": [str(one["version"]) for one in spec.get("schemas", [])],
        "compatibility": spec.get("compatibility"),
        "sources": spec.get("sources"),
        "types": spec.get("types"),
        "changed_at": latest.get("at"),
        "changed_by": latest.get("actor"),
    }


def _told(change: dict[str, Any] | None, *, named: bool = False) -> str | None:
    if change is None:
        return None
    what = f"{change['change']} " if named else ""
    why = f": {change['reason']}" if change["reason"] else ""
    return f"{what}{change['at']} by {change['actor']}{why}"
