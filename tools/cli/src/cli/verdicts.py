"""What runs have for a verdict that another version decided too, counted: backtests and shadows.

Bounded: all is counted, and the newest differences are kept.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import Annotated, Any, Self

import typer

from backbone.ledger.v1 import ledger_pb2
from cli import documents
from cli.errors import MISUSED, CliError
from cli.output import Output
from rules.backtests import Again, Judged, Verdict
from rules.comparisons import TaskDifference
from rules.tallies import Tally

SAME, DIFFERENT, UNJUDGED = 0, 1, MISUSED
"""How the commands end; whatever keeps them from judging ends them with the last one."""
KEPT_TASKS = 50
"""Tasks that are told of each run that differs; the rest is counted."""

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_MOST_SHOWN = 120  # characters of a value for people; json shows all of it

AllowOption = Annotated[
    int, typer.Option("--allow", min=0, help="Still end with 0 if so many runs differ.")
]
AllowNotComparableOption = Annotated[
    int,
    typer.Option(
        "--allow-not-comparable", min=0, help="Still judge if so many runs cannot be compared."
    ),
]
ShowOption = Annotated[
    int, typer.Option("--show", min=0, max=1000, help="Differing runs that are told in full.")
]


class UnjudgedError(CliError):
    """There is no verdict."""

    exit_code = UNJUDGED


@contextmanager
def unjudged() -> Iterator[None]:
    """End with the code that says so, whatever keeps a command from judging."""
    try:
        yield
    except CliError as exc:
        raise UnjudgedError(str(exc), reason=exc.reason) from exc


@dataclass(frozen=True)
class Subject:
    """The run that is judged."""

    run_id: str
    definition_version: int
    recorded_at: str

    @classmethod
    def of(cls, run: ledger_pb2.Run) -> Self:
        """Return what is told of a run."""
        at = documents.instant_of(run.recorded_at.ToDatetime(UTC))
        return cls(run.run_id, run.definition_version, at)


class Report(Tally[dict[str, Any]]):
    """The verdicts, counted, and the newest runs that differ as documents."""

    def count(self, number: int, run: Subject, judged: Judged) -> None:
        """Count a verdict; `number` counts runs from the newest on."""
        self.add(number, judged, lambda: _run(run, judged))

    def exit_code(self, *, allow: int, allow_not_comparable: int) -> int:
        """Return how a command ends that so many differences are allowed to."""
        if self.differing > allow:
            return DIFFERENT
        judged = self.looked_at - self.not_comparable
        if not judged or self.not_comparable > allow_not_comparable:
            return UNJUDGED
        return SAME

    def document(self) -> dict[str, Any]:
        """Return all of it."""
        return {
            "runs": {
                "looked_at": self.looked_at,
                **{verdict.value: self.verdicts[verdict] for verdict in Verdict},
                "of_other_versions": self.of_other_versions,
                "more": self.more,
            },
            "decided_again": {again.value: self.again[again] for again in Again},
            "tasks": {change: self.tasks[change] for change in _SIGNS},
            "not_comparable": [
                {"reason": reason, "runs": count} for reason, count in self.reasons.most_common()
            ],
            "different": self.different,
        }

    def show(self, out: Output, ended: int) -> None:
        """Print it for people; `ended` is the exit code."""
        for run in self.different:
            _show_run(out, run)
        untold = self.differing - len(self.different)
        if untold > 0:
            out.text(f"and {untold} more that differ (--show)")
        out.text(
            f"{self.looked_at} runs looked at: {self.same} same, {self.differing} different, "
            f"{self.not_comparable} not comparable",
            style="bold",
        )
        if self.tasks:
            out.text("tasks: " + ", ".join(f"{self.tasks[one]} {one}" for one in _SIGNS))
        for reason, count in self.reasons.most_common():
            out.text(f"  not comparable, {count}: {reason}")
        self._show_again(out)
        if self.of_other_versions:
            out.note(f"{self.of_other_versions} runs of other versions were left out (--from)")
        if self.more:
            out.note("there are more runs: --limit looks at more of them")
        if ended == UNJUDGED:
            out.note("that could not be judged: nothing could be compared, or too little of it")

    def _show_again(self, out: Output) -> None:
        same, tasks, other = (self.again[again] for again in Again)
        if same + tasks + other:
            out.text(
                f"decided again by their own version, {same} gave the recorded decision's hash"
            )
        if tasks:
            out.text(f"  {tasks} gave the same tasks with another trace, of another release")
        if other:
            out.text(f"  {other} gave something else, which must not be: report it", style="red")


def _run(run: Subject, judged: Judged) -> dict[str, Any]:
    return {
        **asdict(run),
        "reason": judged.reason or None,
        "differing_tasks": len(judged.differences),
        "tasks": [_task(one) for one in judged.differences[:KEPT_TASKS]],
    }


def _task(difference: TaskDifference) -> dict[str, Any]:
    task = difference.task
    return {
        "change": difference.change.value,
        "task_id": str(task.task_id),
        "rule": task.rule,
        "key": task.key or None,
        "type": task.type,
        "what": task.what,
        "fields": [
            {"path": one.path, "before": one.before, "after": one.after}
            for one in difference.fields
        ],
    }


def _show_run(out: Output, run: dict[str, Any]) -> None:
    out.text(f"{run['run_id']} (version {run['definition_version']}, {run['recorded_at']})")
    if run["reason"]:
        out.text(f"    {run['reason']}")
    for task in run["tasks"]:
        key = f" {task['key']}" if task["key"] else ""
        out.text(f"    {_SIGNS[task['change']]} {task['rule']}{key}: {task['what']}")
        for one in task["fields"]:
            out.text(f"        {one['path']}: {_short(one['before'])} -> {_short(one['after'])}")
    if run["differing_tasks"] > len(run["tasks"]):
        out.text(f"    and {run['differing_tasks'] - len(run['tasks'])} more tasks")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
