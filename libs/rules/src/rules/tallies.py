"""The verdicts over many runs, counted, with the newest that differ.

Bounded: all is counted, so many are kept.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rules.backtests import Again, Judged, Verdict

KEPT_REASONS = 50
"""Reasons that are told apart; further ones are counted together."""

T = TypeVar("T")


@dataclass
class Tally(Generic[T]):
    """Verdicts, counted; `different` has what is told of the `kept` newest runs that differ.

    `of_other_versions` were left out; with `more`, not every run that was asked for was looked at.
    """

    kept: int
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    again: Counter[Again] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    of_other_versions: int = 0
    more: bool = False
    _different: list[tuple[int, T]] = field(default_factory=list)

    def add(self, number: int, judged: Judged, tell: Callable[[], T]) -> None:
        """Count a verdict.

        `number` counts runs from the newest on, in whatever order they come; `tell` returns what is
        kept of one that differs.
        """
        self.verdicts[judged.verdict] += 1
        self.tasks.update(one.change.value for one in judged.differences)
        if judged.again is not None:
            self.again[judged.again] += 1
        if judged.verdict is Verdict.NOT_COMPARABLE:
            known = judged.reason in self.reasons or len(self.reasons) < KEPT_REASONS
            self.reasons[judged.reason if known else "other reasons"] += 1
        if judged.verdict is Verdict.DIFFERENT:
            self._different.append((number, tell()))
            self._different.sort(key=lambda one: one[0])
            del self._different[self.kept :]

    @property
    def different(self) -> list[T]:
        """What is told of runs that differ, the newest first."""
        return [told for _, told in self._different]

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

    @property
    def unlike_its_record(self) -> int:
        """How many, decided again by their own version, did not give what was recorded."""
        return self.again[Again.OTHERWISE]
