"""Verdicts, counted: all of them, with the newest that differ."""

from rules.backtests import Again, Judged, Verdict
from rules.tallies import KEPT_REASONS, Tally


def test_verdicts_are_counted_and_only_the_newest_that_differ_are_kept() -> None:
    tally: Tally[str] = Tally(kept=2)
    tally.add(0, Judged(Verdict.SAME), lambda: "same")
    # They come in whatever order they are judged.
    for number in (3, 1, 2):
        judged = Judged(Verdict.DIFFERENT, again=Again.SAME_HASH)
        tally.add(number, judged, f"run {number}".strip)
    assert (tally.looked_at, tally.same, tally.differing, tally.not_comparable) == (4, 1, 3, 0)
    assert tally.different == ["run 1", "run 2"]
    assert tally.unlike_its_record == 0


def test_reasons_are_counted_and_bounded() -> None:
    tally: Tally[str] = Tally(kept=2)
    for number in range(KEPT_REASONS + 2):
        tally.add(number, Judged(Verdict.NOT_COMPARABLE, f"reason {number}"), str)
    unlike = Judged(Verdict.NOT_COMPARABLE, "reason 0", again=Again.OTHERWISE)
    tally.add(KEPT_REASONS + 2, unlike, str)
    assert tally.not_comparable == KEPT_REASONS + 3
    assert tally.reasons["reason 0"] == 2
    assert tally.reasons["other reasons"] == 2
    assert tally.unlike_its_record == 1
    assert tally.different == []
