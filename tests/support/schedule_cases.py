"""Schedules for property tests: crons of every kind, zones whose clocks do odd things, moments."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from contracts.definitions import Schedule

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
MISSED = {"policy": "skip", "tolerance": "1h"}


def cron(text: str, timezone: str = "UTC", **fields: Any) -> Schedule:
    return Schedule.model_validate(
        {"cron": text, "timezone": timezone, "missedRuns": MISSED, **fields}
    )


def every(period: str, **fields: Any) -> Schedule:
    return Schedule.model_validate({"every": period, "missedRuns": MISSED, **fields})


def calendars(*given: dict[str, str], **fields: Any) -> Schedule:
    return Schedule.model_validate({"calendars": list(given), "missedRuns": MISSED, **fields})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # Ranges of one number are left out: the other reader takes 4-4/2 for 4-59/2.
    pairs = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1])
    ranges = pairs.map(lambda pair: f"{pair[0]}-{pair[1]}")
    step = st.integers(1, max(high // 2, 1))
    return st.one_of(
        st.just("*"),
        st.lists(number.map(str), min_size=1, max_size=3).map(",".join),
        ranges,
        st.tuples(st.just("*") | ranges, step).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    )


crons = st.tuples(
    numbers(0, 59), numbers(0, 23), numbers(1, 28), numbers(1, 12), numbers(0, 6)
).map(" ".join)
moments = st.datetimes(
    min_value=datetime(2015, 1, 1),  # noqa: DTZ001 - hypothesis takes bounds without a zone
    max_value=datetime(2035, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
zones = st.sampled_from(
    [
        "UTC",
        BERLIN,
        NEW_YORK,
        "Africa/Casablanca",
        "America/St_Johns",
        "Antarctica/Casey",
        "Antarctica/Troll",
        "Asia/Kathmandu",
        "Asia/Tehran",
        "Australia/Lord_Howe",
        "Europe/London",
        "Pacific/Apia",
        "Pacific/Chatham",
        "America/Sao_Paulo",
    ]
)

days_of_month = st.one_of(numbers(1, 28), st.sampled_from(["L", "LW", "L,15", "1,LW"]))
days_of_week = st.one_of(numbers(0, 6), st.sampled_from(["5L", "1#2", "0#5", "2,4#1", "7L,3"]))
shared_crons = st.tuples(
    numbers(0, 59), numbers(0, 59), numbers(0, 23), days_of_month, numbers(1, 12), days_of_week
).map(" ".join)
"""Of six fields, in the part of the language that another reader has too."""

all_days_of_month = days_of_month | st.sampled_from(["15W", "1W,31W", "L-2", "30W"])
all_crons = st.tuples(
    numbers(0, 59), numbers(0, 23), all_days_of_month, numbers(1, 12), days_of_week
).map(" ".join)

exclusions = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "minute": numbers(0, 59),
            "hour": numbers(0, 23),
            # A calendar of February alone that asks for its 30th is refused.
            "dayOfMonth": all_days_of_month.filter(lambda days: days != "30W"),
            "month": numbers(1, 12),
            "dayOfWeek": days_of_week,
            "year": st.sampled_from(["2020-2026", "2021,2023", "*"]),
        },
    ),
    max_size=4,
)
