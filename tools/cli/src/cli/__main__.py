"""The command `backbone`: its options and commands put together, its errors as sentences."""

import os
import sys
import traceback
from typing import Any, Never, cast

import typer
from typer.core import TyperGroup

from cli.commands import Loading
from cli.errors import FAILED, INTERRUPTED, CliError
from cli.output import Format, Output
from cli.session import EnvFileOption, Globals, NamespaceOption, OutputOption
from runtime import logs


class _Commands(TyperGroup):
    """Loads the command that is asked for; what it raises is a sentence and an exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast("Any", Loading())

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CliError as exc:
            Output(Format.TABLE).error(str(exc))
            raise typer.Exit(exc.exit_code) from exc
        except KeyboardInterrupt as exc:
            raise typer.Exit(INTERRUPTED) from exc


app = typer.Typer(
    name="backbone",
    cls=_Commands,
    help="Define, start and look at what Backbone runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    context: typer.Context,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Define, start and look at what Backbone runs."""
    context.obj = Globals(namespace=namespace, output=output, env_file=env_file)


def main() -> Never:
    """Run the command line and exit."""
    # What goes wrong is told in a sentence; the libraries' own warnings would only repeat it.
    logs.setup(service="backbone-cli", level="error")
    try:
        app()
    except Exception as exc:  # noqa: BLE001 - a person gets a sentence, whatever happened
        if os.environ.get("BACKBONE_DEBUG"):
            traceback.print_exc()
        Output(Format.TABLE).error(
            f"unexpected: {type(exc).__name__}: {exc} (BACKBONE_DEBUG=1 shows where)"
        )
    sys.exit(FAILED)


if __name__ == "__main__":
    main()
