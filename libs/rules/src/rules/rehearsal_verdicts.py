"""How a rehearsal differs from what a test expects, line by line."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from contracts import identifiers
from contracts.scheduletests import Case, ExpectedOutcome, ExpectedRun
from rules import rehearsals
from rules.policy import DueOutcome
from rules.rehearsals import Happened

_Lines = Callable[[datetime], str | None]


def differences(case: Case, happened: list[Happened]) -> list[str]:
    """Return what is not as expected: `-` what is expected, `+` what is there; empty if nothing."""
    return [*_runs(case, happened), *_outcomes(case, happened), *_counts(case, happened)]


def run_line(one: Happened) -> str:
    """Return all of a run in a line."""
    row = one.row
    assert row.window is not None  # noqa: S101 - a run has one
    return _line(
        row.due_at,
        started_at=one.decided_at,
        triggers=list(row.names),
        window=(row.window.start, row.window.end),
        coalesced=list(row.coalesced),
    )


def outcome_line(one: Happened) -> str:
    """Return a due time that is no run, with the reason."""
    return f"{identifiers.instant(one.row.due_at)} {one.row.outcome}: {one.row.reason}"


def _runs(case: Case, happened: list[Happened]) -> Iterator[str]:
    if case.expect.runs is None:
        return
    expected = {run.due: run for run in case.expect.runs}
    found = {one.row.due_at: one for one in happened if one.row.outcome is DueOutcome.RUN}

    def actual(due: datetime) -> str | None:
        if due not in found:
            return None
        return _as_expected(found[due], expected[due]) if due in expected else run_line(found[due])

    def wanted(due: datetime) -> str | None:
        return _expected_line(expected[due]) if due in expected else None

    yield from _differing("run", {*expected, *found}, wanted, actual)


def _outcomes(case: Case, happened: list[Happened]) -> Iterator[str]:
    if case.expect.outcomes is None:
        return
    expected: Mapping[datetime, ExpectedOutcome] = {one.due: one for one in case.expect.outcomes}
    found = {one.row.due_at: one for one in happened}
    others = {due for due, one in found.items() if one.row.outcome is not DueOutcome.RUN}

    def actual(due: datetime) -> str | None:
        if due not in found:
            return None
        outcome = found[due].row.outcome
        same = due in expected and outcome.value == expected[due].outcome.value
        return f"{identifiers.instant(due)} {outcome}" if same else outcome_line(found[due])

    def wanted(due: datetime) -> str | None:
        return f"{identifiers.instant(due)} {expected[due].outcome}" if due in expected else None

    yield from _differing("due", {*expected, *others}, wanted, actual)


def _counts(case: Case, happened: list[Happened]) -> Iterator[str]:
    if case.expect.counts is None:
        return
    found = rehearsals.counted(happened)
    for name, wanted in case.expect.counts.model_dump(exclude_none=True).items():
        actual = found[DueOutcome(name)]
        if wanted != actual:
            yield f"- {wanted} {name}"
            yield f"+ {actual} {name}"


def _differing(what: str, dues: set[datetime], wanted: _Lines, actual: _Lines) -> Iterator[str]:
    for due in sorted(dues):
        one, other = wanted(due), actual(due)
        if one != other:
            if one is not None:
                yield f"- {what} {one}"
            if other is not None:
                yield f"+ {what} {other}"


def _expected_line(run: ExpectedRun) -> str:
    return _line(
        run.due,
        started_at=run.started_at,
        triggers=None if run.triggers is None else sorted(run.triggers),
        window=None if run.window is None else (run.window.start, run.window.end),
        coalesced=None if run.coalesced is None else sorted(run.coalesced),
    )


def _as_expected(one: Happened, expected: ExpectedRun) -> str:
    """Return a run with the parts that are looked at."""
    row, window = one.row, one.row.window
    return _line(
        row.due_at,
        started_at=one.decided_at if expected.started_at is not None else None,
        triggers=list(row.names) if expected.triggers is not None else None,
        window=(window.start, window.end) if expected.window is not None and window else None,
        coalesced=list(row.coalesced) if expected.coalesced is not None else None,
    )


def _line(
    due: datetime,
    *,
    started_at: datetime | None,
    triggers: list[str] | None,
    window: tuple[datetime, datetime] | None,
    coalesced: list[datetime] | None,
) -> str:
    told = [identifiers.instant(due)]
    if started_at is not None:
        told.append(f"started at {identifiers.instant(started_at)}")
    if triggers is not None:
        told.append(f"by {', '.join(triggers)}")
    if window is not None:
        told.append(f"window ({', '.join(map(identifiers.instant, window))}]")
    if coalesced is not None:
        told.append(f"for {', '.join(map(identifiers.instant, coalesced)) or 'no other'}")
    return " ".join(told)
