"""`new`: a project of one's own, to begin with."""

from pathlib import Path
from typing import Annotated

import typer

from cli.projects import Project
from cli.session import NamespaceOption, OutputOption, Session


def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is called: letters, digits, hyphens.")],
    *,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Where; default: a folder of its name here."),
    ] = None,
    owner: Annotated[
        str, typer.Option("--owner", metavar="TEAM", help="Who answers for it; default: its name.")
    ] = "",
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Make a project: a definition, an event type, a handler, tests, a compose file, a README."""
    session = Session(context, namespace=namespace, output=output)
    project = Project(name=name, namespace=session.namespace, owner=owner or name)
    folder = folder or Path(name)
    written = project.write(folder)
    if session.output.json:
        session.output.document({"folder": str(folder), "files": [str(path) for path in written]})
        return
    for path in written:
        session.output.text(f"created  {path}")
    session.output.note(f"{folder / 'README.md'} says how to test and to run it")
