"""What a backtest found, counted, with the newest runs that differ."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from contracts.decisions import HumanInstance, TaskInstance
from rules.backtests import Again, Judged, Verdict

KEPT_REASONS = 20
"""Reasons that are told apart; further ones are counted together."""


@dataclass(frozen=True)
class Differing:
    """A run that another version would have decided otherwise."""

    run_id: str
    definition_version: int
    recorded_at: datetime
    judged: Judged


@dataclass
class Report:
    """Verdicts, counted; `different` holds the first `kept` runs that differ.

    `of_other_versions` were left out; with `more`, not every run that was asked for was looked at.
    """

    kept: int
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    different: list[Differing] = field(default_factory=list)
    of_other_versions: int = 0
    unlike_its_record: int = 0
    more: bool = False

    def add(self, run: Differing) -> None:
        """Count a run, the newest first."""
        judged = run.judged
        self.verdicts[judged.verdict] += 1
        self.tasks.update(one.change.value for one in judged.differences)
        if judged.again is Again.OTHERWISE:
            self.unlike_its_record += 1
        if judged.verdict is Verdict.NOT_COMPARABLE:
            known = judged.reason in self.reasons or len(self.reasons) < KEPT_REASONS
            self.reasons[judged.reason if known else "other reasons"] += 1
        elif judged.verdict is Verdict.DIFFERENT and len(self.different) < self.kept:
            self.different.append(run)

    @property
    def looked_at(self) -> int:
        """How many runs have a verdict."""
        return self.verdicts.total()

    @property
    def same(self) -> int:
        """How many would have been decided the same."""
        return self.verdicts[Verdict.SAME]

    @property
    def differing(self) -> int:
        """How many would have been decided otherwise."""
        return self.verdicts[Verdict.DIFFERENT]

    @property
    def not_comparable(self) -> int:
        """Of how many the record does not tell."""
        return self.verdicts[Verdict.NOT_COMPARABLE]


def wanted(task: TaskInstance) -> str:
    """Return what a task is for: its title, or its handler."""
    return task.title if isinstance(task, HumanInstance) else task.handler
