"""Jitter: always the same, evenly spread, and no part of what identifies a due time."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import every, moments, utc

from rules import jitter

NOON = utc("2026-03-02T12:00")


def test_a_due_time_has_always_the_same_delay() -> None:
    # Recorded: whoever changes it moves every run that waits.
    schedule = every("1h", jitter="10m")
    delays = [
        jitter.delay(definition, trigger, schedule, NOON + timedelta(hours=hour))
        for definition, trigger, hour in (
            ("a", "t", 0),
            ("b", "t", 0),
            ("a", "u", 0),
            ("a", "t", 1),
        )
    ]
    assert [delay / timedelta(milliseconds=1) for delay in delays] == [
        370781.0,
        543442.0,
        103108.0,
        367543.0,
    ]
    assert len(set(delays)) == 4


@settings(deadline=None)
@given(st.text(min_size=1), moments, st.integers(1, 3600))
def test_a_delay_lies_between_nothing_and_the_jitter(name: str, due: object, seconds: int) -> None:
    schedule = every("2h", jitter=f"{seconds}s")
    delay = jitter.delay(name, name, schedule, due)  # type: ignore[arg-type]
    assert timedelta(0) <= delay <= timedelta(seconds=seconds)
    assert delay % timedelta(milliseconds=1) == timedelta(0)


def test_many_definitions_of_one_time_are_spread_evenly() -> None:
    schedule = every("1h", jitter="60s")
    delays = [jitter.delay(f"definition.{n}", "t", schedule, NOON) for n in range(3000)]
    in_tenths = [0] * 10
    for delay in delays:
        in_tenths[min(int(delay / timedelta(seconds=6)), 9)] += 1
    assert min(in_tenths) > 230
    assert max(in_tenths) < 370


def test_triggers_due_at_one_instant_are_taken_up_together_at_the_first() -> None:
    schedules = {"a": every("1h", jitter="10m"), "b": every("1h")}
    assert jitter.taken_up("d", schedules, ["a", "b"], NOON) == NOON
    alone = jitter.taken_up("d", schedules, ["a"], NOON)
    assert alone == NOON + jitter.delay("d", "a", schedules["a"], NOON)
    assert jitter.longest(schedules) == timedelta(minutes=10)
