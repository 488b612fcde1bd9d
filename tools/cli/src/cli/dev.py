"""`dev`: a project on a local stack; `devstack`, which runs it, takes over."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CliError


def dev(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The project: definitions, handlers.py.")
    ] = Path(),
    *,
    handlers: Annotated[
        Path | None,
        typer.Option(
            "--handlers",
            metavar="FILE",
            help="The handler worker's script, below FOLDER; default: handlers.py.",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="The stack's; default: FOLDER/.backbone."),
    ] = None,
) -> None:
    """Run a project on a stack of its own, and take up what changes in it, until Ctrl-C."""
    # By its name only: who works with a stack elsewhere has the command without the servers.
    if importlib.util.find_spec("devstack") is None:
        raise CliError("the local stack is not installed here: run this in Backbone's clone")
    words = ["dev", str(folder)]
    words += [] if handlers is None else ["--handlers", str(handlers)]
    words += [] if state is None else ["--state", str(state)]
    # It becomes that process, so that signals and the exit code are its own.
    os.execv(sys.executable, [sys.executable, "-m", "devstack", *words])  # noqa: S606 - our own
