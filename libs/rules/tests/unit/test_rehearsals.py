"""Rehearsals: the same accounting as in the ledger, with a clock that is moved by hand."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import utc

from contracts.definitions import ActivityDefinition
from contracts.scheduletests import Case
from rules import jitter, policy, rehearsal_verdicts, rehearsals, schedules
from rules.policy import DueOutcome
from rules.rehearsals import Rehearsal, RehearsalError

NOON = utc("2026-03-02T12:00")
COMPRESS = {"policy": "compress", "window": "24h"}
SKIP = {"policy": "skip", "tolerance": "1m"}


def definition(**triggers: dict[str, Any]) -> ActivityDefinition:
    task = {"type": "automated", "handler": "send", "taskQueue": "mail-tq"}
    return ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "billing.hourly", "namespace": "dev", "owner": "billing"},
            "spec": {
                "taskQueue": "billing-tq",
                "triggers": [{"name": name, "schedule": one} for name, one in triggers.items()],
                "rules": [{"name": "r", "task": task}],
            },
        }
    )


def hourly(missed: dict[str, Any], **fields: Any) -> ActivityDefinition:
    return definition(hourly={"every": "1h", "missedRuns": missed, "overlap": "allowAll", **fields})


def case(hours: float, expect: dict[str, Any] | None = None, **given_: Any) -> Case:
    return Case.model_validate(
        {
            "name": "a",
            "from": NOON,
            "until": NOON + timedelta(hours=hours),
            "given": given_,
            "expect": expect or {"counts": {}},
        }
    )


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def told(found: list[rehearsals.Happened]) -> list[tuple[float, str, float]]:
    hour = timedelta(hours=1)
    return [
        ((one.row.due_at - NOON) / hour, str(one.row.outcome), (one.decided_at - NOON) / hour)
        for one in found
    ]


def test_each_due_time_runs_when_it_comes() -> None:
    found = rehearsals.rehearse(hourly(COMPRESS), case(3))
    assert told(found) == [(1, "run", 1), (2, "run", 2), (3, "run", 3)]


@pytest.mark.parametrize(
    "given_",
    [
        {"outages": [{"of": "temporal", "from": at(0.5), "to": at(3.5)}]},
        {"outages": [{"of": "workers", "from": at(0.5), "to": at(2)},
                     {"of": "ledger", "from": at(1.5), "to": at(3.5)}]},
        {"disabled": [{"from": at(0.5), "to": at(3.5)}]},
        {"createdAt": at(3.5)},
    ],
)  # fmt: skip
def test_every_cause_is_judged_by_the_same_policy(given_: dict[str, Any]) -> None:
    found = rehearsals.rehearse(hourly(COMPRESS), case(4, **given_))
    assert told(found) == [
        (1, "coalesced", 3.5), (2, "coalesced", 3.5), (3, "run", 3.5), (4, "run", 4),
    ]  # fmt: skip
    skipped = rehearsals.rehearse(hourly(SKIP), case(4, **given_))
    # What is told apart is whose doing it was that nothing ran.
    late = "disabled" if "disabled" in given_ else "skipped"
    assert [one.row.outcome for one in skipped] == [late] * 3 + ["run"]


def test_what_is_due_when_an_outage_begins_is_missed_and_at_its_end_is_not() -> None:
    outage = [{"of": "temporal", "from": at(1), "to": at(2)}]
    found = rehearsals.rehearse(hourly(SKIP), case(2, outages=outage))
    assert told(found) == [(1, "skipped", 2), (2, "run", 2)]


def test_an_outage_that_does_not_end_leaves_due_times_open() -> None:
    outage = [{"of": "ledger", "from": at(1.5), "to": at(9)}]
    assert told(rehearsals.rehearse(hourly(COMPRESS), case(3, outages=outage))) == [(1, "run", 1)]


def test_a_run_that_is_open_overlaps_the_next() -> None:
    found = rehearsals.rehearse(hourly(COMPRESS, overlap="skip"), case(4, runsLast="90m"))
    assert [str(one.row.outcome) for one in found] == ["run", "overlapped", "run", "overlapped"]
    # One that ends as the next is due is out of its way.
    found = rehearsals.rehearse(hourly(COMPRESS, overlap="skip"), case(4, runsLast="1h"))
    assert {one.row.outcome for one in found} == {DueOutcome.RUN}


def test_what_waits_runs_when_the_run_before_it_has_ended() -> None:
    found = rehearsals.rehearse(hourly(COMPRESS, overlap="bufferOne"), case(4.5, runsLast="75m"))
    assert told(found) == [
        (1, "run", 1), (2, "run", 2.25), (3, "run", 3.5), (4, "waiting", 4),
    ]  # fmt: skip
    catching_up = {"policy": "catchUp", "window": "24h", "limit": 10}
    found = rehearsals.rehearse(hourly(catching_up, overlap="bufferAll"), case(3, createdAt=at(3)))
    assert told(found) == [(1, "run", 3), (2, "run", 3), (3, "run", 3)]


def test_what_waits_is_looked_at_when_an_outage_is_over() -> None:
    away = [{"of": "workers", "from": at(2.25), "to": at(3.5)}]
    buffering = hourly(COMPRESS, overlap="bufferOne")
    found = rehearsals.rehearse(buffering, case(3.75, runsLast="90m", outages=away))
    assert told(found) == [(1, "run", 1), (2, "coalesced", 3.5), (3, "run", 3.5)]


def test_the_newest_cancels_what_is_open() -> None:
    cancelling = hourly(COMPRESS, overlap="cancelOther")
    assert told(rehearsals.rehearse(cancelling, case(2, runsLast="9h"))) == [
        (1, "run", 1), (2, "run", 2),
    ]  # fmt: skip
    both = definition(
        cancel={"every": "2h", "missedRuns": COMPRESS, "overlap": "cancelOther"},
        skip={"cron": "30 * * * *", "missedRuns": COMPRESS, "overlap": "skip"},
    )
    # The run of 14:00 lasts an hour, although that of 12:30 would have gone on until 21:30.
    found = rehearsals.rehearse(both, case(2.75, runsLast="9h"))
    assert told(found) == [
        (0.5, "run", 0.5), (1.5, "overlapped", 1.5), (2, "run", 2), (2.5, "overlapped", 2.5),
    ]  # fmt: skip


def test_jitter_delays_what_is_taken_up_and_keeps_the_due_time() -> None:
    jittered = hourly(SKIP, jitter="30m")
    found = rehearsals.rehearse(jittered, case(5.75))
    assert [one.row.due_at for one in found] == [at(hour) for hour in range(1, 6)]
    for one in found:
        delay = jitter.delay(
            "billing.hourly", "hourly", jittered.schedules["hourly"], one.row.due_at
        )
        assert one.decided_at == one.row.due_at + delay
        assert one.row.outcome is DueOutcome.RUN
        assert delay > timedelta(minutes=1)


def test_the_clock_is_moved_by_hand() -> None:
    rehearsal = Rehearsal(hourly(COMPRESS), at=NOON)
    rehearsal.pass_until(at(1))
    rehearsal.fall_asleep()
    rehearsal.pass_until(at(3.5))
    assert rehearsal.now == at(3.5)
    rehearsal.wake()
    assert told(rehearsal.happened) == [(1, "run", 1), (2, "coalesced", 3.5), (3, "run", 3.5)]


def test_too_many_due_times_are_refused() -> None:
    often = definition(often={"every": "1s", "missedRuns": SKIP})
    with pytest.raises(RehearsalError, match="more than 20000 due times"):
        rehearsals.rehearse(often, case(24, outages=[{"of": "ledger", "from": at(0), "to": at(9)}]))


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), max_size=4),
    st.sampled_from([COMPRESS, SKIP, {"policy": "catchUp", "window": "2h", "limit": 3}]),
    st.sampled_from([None, "5m"]),
)
def test_every_due_time_has_one_outcome_whatever_is_away(
    outages: list[tuple[int, int]], missed: dict[str, Any], spread: str | None
) -> None:
    fields = {} if spread is None else {"jitter": spread}
    given_definition = definition(
        a={"every": "7m", "missedRuns": missed, "overlap": "allowAll", **fields},
        b={"cron": "*/10 * * * *", "missedRuns": missed, "overlap": "allowAll"},
    )
    away = [
        {"of": "temporal", "from": at(begin / 60), "to": at((begin + length) / 60)}
        for begin, length in outages
    ]
    # The last outage ends after 500 minutes at most.
    found = rehearsals.rehearse(given_definition, case(9, outages=away))
    dues = {
        due
        for schedule in given_definition.schedules.values()
        for due in schedules.due_times(schedule, after=NOON, until=at(8.8))
    }
    accounted = [one.row.due_at for one in found]
    assert accounted == sorted(set(accounted))
    assert dues <= set(accounted)
    assert all(one.decided_at >= one.row.due_at for one in found)


def test_a_test_that_is_met_has_no_differences() -> None:
    expect = {
        "runs": [
            {"due": at(3), "startedAt": at(3.5), "triggers": ["hourly"],
             "window": {"start": at(0), "end": at(3)}, "coalesced": [at(1), at(2)]},
            {"due": at(4)},
        ],
        "outcomes": [{"due": at(hour), "outcome": "coalesced"} for hour in (1, 2)],
        "counts": {"run": 2, "coalesced": 2, "dropped": 0},
    }  # fmt: skip
    one = case(4, expect, createdAt=at(3.5))
    assert rehearsal_verdicts.differences(one, rehearsals.rehearse(hourly(COMPRESS), one)) == []


def test_differences_say_what_was_expected_and_what_is_there() -> None:
    expect = {
        "runs": [{"due": at(1)}, {"due": at(3), "window": {"start": at(2), "end": at(3)}}],
        "outcomes": [{"due": at(2), "outcome": "dropped"}],
        "counts": {"run": 3},
    }
    one = case(4, expect, createdAt=at(3.5))
    assert rehearsal_verdicts.differences(one, rehearsals.rehearse(hourly(COMPRESS), one)) == [
        "- run 2026-03-02T13:00:00Z",
        "- run 2026-03-02T15:00:00Z window (2026-03-02T14:00:00Z, 2026-03-02T15:00:00Z]",
        "+ run 2026-03-02T15:00:00Z window (2026-03-02T12:00:00Z, 2026-03-02T15:00:00Z]",
        "+ run 2026-03-02T16:00:00Z started at 2026-03-02T16:00:00Z by hourly "
        "window (2026-03-02T15:00:00Z, 2026-03-02T16:00:00Z] for no other",
        "+ due 2026-03-02T13:00:00Z coalesced: "
        "hourly: compressed into the run of 2026-03-02T15:00:00Z",
        "- due 2026-03-02T14:00:00Z dropped",
        "+ due 2026-03-02T14:00:00Z coalesced: "
        "hourly: compressed into the run of 2026-03-02T15:00:00Z",
        "- 3 run",
        "+ 2 run",
    ]


def test_rehearsals_know_no_other_policy() -> None:
    """What a rehearsal decides at once is what one call of the policy decides."""
    schedule = hourly({"policy": "catchUp", "window": "3h", "limit": 2})
    one = case(6, createdAt=at(6))
    accounted = policy.account(
        definition_id="billing.hourly", schedules=schedule.schedules, cursor=NOON, now=at(6),
        open_run=False,
    )  # fmt: skip
    assert [found.row for found in rehearsals.rehearse(schedule, one)] == list(accounted.rows)
