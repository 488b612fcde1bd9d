"""The command `backbone`: its options and commands put together, its errors as sentences."""

import os
import sys
import traceback
from typing import Any, Never

import typer
from typer.core import TyperGroup

from cli import (
    applying,
    audit,
    backfill,
    backtesting,
    certs,
    contract,
    decisions,
    differences,
    dlq,
    events,
    explaining,
    history,
    instances,
    keys,
    lifecycle,
    outbox,
    pending,
    replay,
    resources,
    runs,
    schedule_control,
    shadowing,
    simulating,
    starts,
    subjects,
    tasks,
    testing,
    watching,
)
from cli.errors import FAILED, INTERRUPTED, CliError
from cli.output import Format, Output
from cli.session import EnvFileOption, Globals, NamespaceOption, OutputOption
from runtime import logs


class _Commands(TyperGroup):
    """Turns what a command raises into a sentence and an exit code."""

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


run = typer.Typer(help="Look at one run.", rich_markup_mode=None)


@run.callback()
def run_group() -> None:
    """Look at one run."""


app.command()(applying.plan)
app.command()(applying.apply)
app.command()(resources.get)
app.command()(differences.diff)
app.command()(history.history)
app.command()(lifecycle.activate)
app.command()(lifecycle.disable)
app.command()(lifecycle.enable)
app.command()(lifecycle.retire)
app.command()(watching.watch)
app.command()(starts.trigger)
app.command()(starts.publish)
app.add_typer(runs.app, name="runs")
run.command()(runs.show)
run.command()(runs.redact)
app.add_typer(run, name="run")
app.command()(tasks.inbox)
app.add_typer(tasks.app, name="tasks")
app.command()(schedule_control.ticks)
app.add_typer(schedule_control.app, name="schedules")
app.add_typer(instances.app, name="instances")
app.command()(pending.pending)
app.command()(runs.operations)
app.command()(decisions.decisions)
app.add_typer(explaining.app, name="explain")
app.command()(simulating.simulate)
app.command()(backtesting.backtest)
app.add_typer(shadowing.app, name="shadow")
app.command("test")(testing.run_tests)
app.add_typer(events.app, name="events")
app.add_typer(keys.app, name="keys")
app.add_typer(outbox.app, name="outbox")
app.add_typer(dlq.app, name="dlq")
app.add_typer(subjects.app, name="subjects")
app.add_typer(replay.app, name="replay")
app.add_typer(backfill.app, name="backfill")
app.add_typer(audit.app, name="audit")
app.add_typer(contract.app, name="contract")
app.add_typer(certs.app, name="certs")


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
