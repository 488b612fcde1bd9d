"""How rows of due times are told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ledger.domain import stretches
from ledger.domain.due import DueRow
from ledger.domain.stretches import Pause
from rules.policy import DueOutcome

START = datetime(2026, 3, 2, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def rows(count: int, outcome: DueOutcome = DueOutcome.SKIPPED, *, first: int = 1) -> list[DueRow]:
    return [
        DueRow(at(first + n), ["tick"], outcome, f"row {n}", None, 1, "a-tq") for n in range(count)
    ]


def test_a_long_stretch_is_its_first_row_with_the_last_one_and_how_many() -> None:
    long = rows(stretches.SHORTEST)
    [told] = stretches.gathered(long, cursor=START)
    assert (told.due_at, told.last_due_at, told.count) == (at(1), at(100), 100)
    assert told.reason == "row 0 (the first of 100)"
    assert stretches.gathered(long[1:], cursor=START) == long[1:]


def test_a_stretch_ends_where_something_else_came() -> None:
    run = rows(1, DueOutcome.RUN, first=201)
    told = stretches.gathered([*rows(200), *run, *rows(150, first=202)], cursor=START)
    assert [(row.outcome, row.count) for row in told] == [
        (DueOutcome.SKIPPED, 200),
        (DueOutcome.RUN, 1),
        (DueOutcome.SKIPPED, 150),
    ]


def test_what_runs_or_waits_has_a_row_each() -> None:
    for outcome in (DueOutcome.RUN, DueOutcome.WAITING):
        assert len(stretches.gathered(rows(150, outcome), cursor=START)) == 150


def test_what_waited_keeps_its_rows_since_others_may_lie_between() -> None:
    told = stretches.gathered(rows(300, DueOutcome.DROPPED), cursor=at(120))
    assert [row.count for row in told] == [1] * 120 + [180]
    assert told[-1].due_at == at(121)


def test_of_another_version_or_trigger_is_another_stretch() -> None:
    edited = [replace(row, definition_version=2) for row in rows(100, first=101)]
    told = stretches.gathered([*rows(100), *edited], cursor=START)
    assert [(row.definition_version, row.count) for row in told] == [(1, 100), (2, 100)]


def test_a_pause_holds_what_falls_due_after_it_began_and_until_it_is_over() -> None:
    pause = Pause(at(2), "ana", "a holiday", at(4))
    told = stretches.with_pauses([*rows(5), *rows(1, DueOutcome.RUN, first=3)], [pause])
    assert [row.outcome for row in told] == [
        *(DueOutcome.SKIPPED, DueOutcome.SKIPPED, DueOutcome.DISABLED, DueOutcome.DISABLED),
        *(DueOutcome.SKIPPED, DueOutcome.RUN),
    ]
    assert told[2].reason == "row 2; paused by ana (a holiday)"
    assert not Pause(at(2), "ana", "why").holds(at(2))
    assert Pause(at(2), "ana", "why").holds(at(9))
