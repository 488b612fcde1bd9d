"""`apply` and `get`: definitions into the registry and out of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import documents
from cli.clients import Clients
from cli.errors import CliError, InvalidDefinitionError, NotReachableError, UsageError
from cli.output import Format, Output
from cli.session import NamespaceOption, OutputOption, Session, read

_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


def apply(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Option("-f", "--file", metavar="FILE|DIR|-", help="May be given several times."),
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate, say what would happen, store nothing.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; the audit keeps it.")
    ] = "applied with the command line",
    output: OutputOption = None,
) -> None:
    """Validate definitions and make each the active version (a file holds one)."""
    session = Session(context, namespace=None, output=output)
    sources = expand(files)

    async def work(clients: Clients) -> list[dict[str, Any]]:
        return [await _apply_one(clients, one, dry_run=dry_run, reason=reason) for one in sources]

    results = session.ask(work)
    _show(session.output, results)
    failed = sum(1 for result in results if result["result"] in ("invalid", "error"))
    if failed:
        raise CliError(f"{failed} of {len(results)} files could not be applied")


def get(
    context: typer.Context,
    definition_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Without it: list all.")
    ] = None,
    *,
    version: Annotated[
        int, typer.Option("--version", min=0, help="0 is the active one.", show_default=False)
    ] = 0,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show a definition, or list the active ones; `-o yaml` prints what `apply` reads."""
    session = Session(context, namespace=namespace, output=output, yaml=definition_id is not None)
    out = session.output
    if definition_id is None:
        if version:
            raise UsageError("--version needs an ID")
        found = session.ask(lambda clients: clients.definitions())
        out.rows(
            [_listed(documents.definition(one), full=out.json) for one in found],
            [
                ("ID", "definition_id"),
                ("VERSION", "version"),
                ("OWNER", "owner"),
                ("TRIGGERS", "triggers"),
                ("APPLIED", "applied_at"),
                ("BY", "applied_by"),
            ],
            none=f"no definitions in namespace {session.namespace}",
        )
        return
    wanted = definition_id
    one = documents.definition(session.ask(lambda clients: clients.definition(wanted, version)))
    if out.json:
        out.document(one)
    elif out.format is Format.YAML:
        out.yaml(one["content"])
    else:
        out.fields(
            one,
            [
                ("id", "definition_id"),
                ("namespace", "namespace"),
                ("version", "version"),
                ("applied", "applied_at"),
                ("by", "applied_by"),
                ("reason", "reason"),
                ("sha256", "content_sha256"),
            ],
        )
        out.heading("definition")
        out.yaml(one["content"])


def expand(files: list[str]) -> list[str]:
    """Return the files that are meant: a folder stands for the definitions below it, sorted.

    Raises:
        UsageError: something is not there, or a folder holds no definition.
    """
    found: list[str] = []
    for name in files:
        path = Path(name)
        if name == "-" or path.is_file():
            found.append(name)
        elif path.is_dir():
            below = sorted(
                str(one) for one in path.rglob("*") if one.suffix in _SUFFIXES and one.is_file()
            )
            if not below:
                raise UsageError(f"the folder {name} holds no .yaml, .yml or .json file")
            found.extend(below)
        else:
            raise UsageError(f"there is no file or folder {name}")
    return found


async def _apply_one(
    clients: Clients, source: str, *, dry_run: bool, reason: str
) -> dict[str, Any]:
    result: dict[str, Any] = {"file": source, "dry_run": dry_run, "problems": []}
    try:
        answer = await clients.apply(read(source), validate_only=dry_run, reason=reason)
    except InvalidDefinitionError as exc:
        problems = [documents.problem(one) for one in exc.problems]
        return {**result, "result": "invalid", "problems": problems, "error": str(exc)}
    except NotReachableError:
        # The next file would say the same.
        raise
    except CliError as exc:
        return {**result, "result": "error", "error": str(exc)}
    stored = answer.definition
    word = "applied" if answer.changed else "valid" if dry_run else "unchanged"
    return {
        **result,
        "result": word,
        "namespace": stored.namespace,
        "definition_id": stored.definition_id,
        "version": stored.version,
    }


def _show(out: Output, results: list[dict[str, Any]]) -> None:
    for result in results:
        if out.json:
            out.line(result)
        elif result["result"] == "invalid":
            out.text(f"{result['file']}: invalid", style="red")
            for problem in result["problems"] or [{"path": "", "message": result["error"]}]:
                where = f"{problem['path']}: " if problem["path"] else ""
                out.text(f"  {where}{problem['message']}")
        elif result["result"] == "error":
            out.text(f"{result['file']}: {result['error']}", style="red")
        else:
            version = f" version {result['version']}" if result["version"] else ""
            out.text(f"{result['file']}: {result['definition_id']}{version} {result['result']}")


def _listed(document: dict[str, Any], *, full: bool) -> dict[str, Any]:
    if full:
        return document
    content = document["content"] or {}
    return {
        **document,
        "owner": content.get("metadata", {}).get("owner"),
        "triggers": [one["name"] for one in content.get("spec", {}).get("triggers", [])],
    }
