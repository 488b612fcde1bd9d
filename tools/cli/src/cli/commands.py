"""The commands of `backbone`, by name: a module is imported when one of its commands is asked for.

All of them together take a second to import; who asks for one run waits for what shows one run.
"""

import functools
import importlib
from collections.abc import Iterator, Mapping
from typing import cast

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

NAMED = {
    "new": "new.new",
    "dev": "dev.dev",
    "plan": "applying.plan",
    "apply": "applying.apply",
    "get": "resources.get",
    "diff": "differences.diff",
    "history": "history.history",
    "activate": "lifecycle.activate",
    "disable": "lifecycle.disable",
    "enable": "lifecycle.enable",
    "retire": "lifecycle.retire",
    "watch": "watching.watch",
    "trigger": "starts.trigger",
    "publish": "starts.publish",
    "runs": "runs.app",
    "run": "runs.one",
    "inbox": "tasks.inbox",
    "tasks": "tasks.app",
    "ticks": "schedule_control.ticks",
    "schedules": "schedule_control.app",
    "instances": "instances.app",
    "pending": "pending.pending",
    "queues": "task_queues.queues",
    "operations": "runs.operations",
    "decisions": "decisions.decisions",
    "explain": "explaining.app",
    "simulate": "simulating.simulate",
    "backtest": "backtesting.backtest",
    "shadow": "shadowing.app",
    "test": "testing.run_tests",
    "events": "events.app",
    "keys": "keys.app",
    "outbox": "outbox.app",
    "dlq": "dlq.app",
    "subjects": "subjects.app",
    "switches": "switches.app",
    "replay": "replay.app",
    "backfill": "backfill.app",
    "audit": "audit.app",
    "contract": "contract.app",
    "certs": "certs.app",
    "doctor": "doctor.doctor",
}
"""The module of this package, and in it a function or a Typer of several."""


@functools.cache
def load(name: str) -> TyperCommand | TyperGroup:
    """Import a command of `NAMED`, and return it as it is invoked.

    Raises:
        KeyError: there is no such command.
    """
    module, _, attribute = NAMED[name].partition(".")
    found = getattr(importlib.import_module(f"cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_group(found)
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    alone.command(name)(found)
    return cast("TyperCommand", typer.main.get_command(alone))


class Loading(Mapping[str, TyperCommand | TyperGroup]):
    """All commands by name, each loaded when it is looked up."""

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        return load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(NAMED)

    def __len__(self) -> int:
        return len(NAMED)
