"""`keys data`: the file of the keys with which payloads in Temporal and dead letters are encrypted.

A key is added everywhere before it is used anywhere, and used everywhere before the old one goes.
"""

import re
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CliError, UsageError
from cli.session import OutputOption, Session
from runtime import datakeys
from runtime.datakeys import DataKeyUnusableError, KeyDocument

app = typer.Typer(
    help="Keys that what is stored is encrypted with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="For BACKBONE_DATA_KEYS.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The key's id: 2026-11.")]

_COLUMNS = [("KEY", "id"), ("ENCRYPTS", "active")]


@app.command()
def add(
    context: typer.Context, file: FileArgument, key: KeyArgument, *, output: OutputOption = None
) -> None:
    """Add a new key, which opens what others encrypt with it; the first one encrypts, too."""
    session = Session(context, namespace=None, output=output)
    if not re.fullmatch(datakeys.KEY_ID, key):
        raise UsageError(f"{key!r} is no key id: letters, digits, '.', '-' and '_'")
    document = _read(file) if file.exists() else None
    known = {} if document is None else document.keys
    if key in known:
        raise CliError(f"{file} has a key {key!r} already: a key is never overwritten")
    active = key if document is None else document.active
    _write(file, KeyDocument(active=active, keys={**known, key: datakeys.generate()}))
    _tell(session, file)
    if document is not None and not session.output.json:
        session.output.note(
            f"`backbone keys data use {file} {key}` has it encrypt, once every process has the file"
        )


@app.command()
def use(
    context: typer.Context, file: FileArgument, key: KeyArgument, *, output: OutputOption = None
) -> None:
    """Have a key encrypt from now on; the others still open."""
    session = Session(context, namespace=None, output=output)
    document = _known(file, key)
    _write(file, KeyDocument(active=key, keys=document.keys))
    _tell(session, file)


@app.command("list")
def list_keys(context: typer.Context, file: FileArgument, *, output: OutputOption = None) -> None:
    """List the ids of the keys in a file."""
    _tell(Session(context, namespace=None, output=output), file)


@app.command()
def remove(
    context: typer.Context,
    file: FileArgument,
    key: KeyArgument,
    *,
    lose: Annotated[
        bool, typer.Option("--lose", help="Yes, what it encrypted is to be lost for good.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Take a key out for good: what it encrypted cannot be read by anybody any more."""
    session = Session(context, namespace=None, output=output)
    document = _known(file, key)
    if key == document.active:
        raise CliError(f"{key!r} encrypts: have another one do it first (`backbone keys data use`)")
    if not lose:
        raise UsageError(
            f"what {key!r} encrypted is lost with it: runs that go on in Temporal, and the dead "
            "letters that are kept; say --lose when there are none any more, or they may go"
        )
    left = {one: content for one, content in document.keys.items() if one != key}
    _write(file, KeyDocument(active=document.active, keys=left))
    _tell(session, file)


def _known(file: Path, key: str) -> KeyDocument:
    document = _read(file)
    if key not in document.keys:
        raise CliError(f"{file} has no key {key!r}, only {', '.join(document.keys)}")
    return document


def _tell(session: Session, file: Path) -> None:
    document = _read(file)
    session.output.rows(
        [{"id": key, "active": key == document.active} for key in document.keys],
        _COLUMNS,
        none=f"{file} has no keys",
    )


def _read(file: Path) -> KeyDocument:
    try:
        return datakeys.read_document(file)
    except DataKeyUnusableError as exc:
        raise CliError(str(exc)) from exc


def _write(file: Path, document: KeyDocument) -> None:
    try:
        datakeys.write_document(file, document)
    except DataKeyUnusableError as exc:
        raise CliError(str(exc)) from exc
