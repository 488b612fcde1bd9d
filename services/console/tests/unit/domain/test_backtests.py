from datetime import UTC, datetime

from console.domain.backtests import KEPT_REASONS, Differing, Report
from rules.backtests import Again, Judged, Verdict

AT = datetime(2026, 3, 1, tzinfo=UTC)


def run(judged: Judged, number: int = 1) -> Differing:
    return Differing(f"run-{number}", 1, AT, judged)


def test_verdicts_are_counted_and_only_the_newest_that_differ_are_kept() -> None:
    report = Report(kept=2)
    report.add(run(Judged(Verdict.SAME)))
    for number in range(3):
        report.add(run(Judged(Verdict.DIFFERENT, again=Again.SAME_HASH), number))
    assert (report.looked_at, report.same, report.differing, report.not_comparable) == (4, 1, 3, 0)
    assert [one.run_id for one in report.different] == ["run-0", "run-1"]
    assert report.unlike_its_record == 0


def test_reasons_are_counted_and_bounded() -> None:
    report = Report(kept=2)
    for number in range(KEPT_REASONS + 2):
        report.add(run(Judged(Verdict.NOT_COMPARABLE, f"reason {number}")))
    report.add(run(Judged(Verdict.NOT_COMPARABLE, "reason 0", again=Again.OTHERWISE)))
    assert report.not_comparable == KEPT_REASONS + 3
    assert report.reasons["reason 0"] == 2
    assert report.reasons["other reasons"] == 2
    assert report.unlike_its_record == 1
