"""Reading cron: what is taken, and what is refused with a way out."""

from datetime import date, timedelta

import pytest

from contracts.definitions import Calendar, Exclusion
from rules import cron
from rules.cron import MonthDays, WeekDays
from rules.errors import ScheduleError


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("*/20 * * * *", "minutes", (0, 20, 40)),
        ("1,2-4,50-58/4 * * * *", "minutes", (1, 2, 3, 4, 50, 54, 58)),
        ("4-4/2 * * * *", "minutes", (4,)),
        ("0 9-17/4 * * *", "hours", (9, 13, 17)),
        ("0 0 * JAN-mar *", "months", {1, 2, 3}),
        ("0 0 * * mon-fri", "weekdays", WeekDays(frozenset({1, 2, 3, 4, 5}))),
        ("0 0 * * fri-sun", "weekdays", WeekDays(frozenset({5, 6, 0}))),
        ("0 0 * * 7", "weekdays", WeekDays(frozenset({0}))),
        ("0 0 * * */2", "weekdays", WeekDays(frozenset({0, 2, 4, 6}))),
        ("0 0 L,L-3 * *", "days", MonthDays(before_last=frozenset({0, 3}))),
        (
            "0 0 1,15W,LW * *",
            "days",
            MonthDays(frozenset({1}), nearest=frozenset({15}), last_weekday=True),
        ),
        (
            "0 0 * * fri#2,7#1,MONL,5l",
            "weekdays",
            WeekDays(nth=frozenset({(5, 2), (0, 1)}), last=frozenset({1, 5})),
        ),
        ("*/15 0 0 * * *", "seconds", (0, 15, 30, 45)),
        ("0 0 * * *", "seconds", (0,)),
    ],
)
def test_a_field_holds_what_it_spells(text: str, field: str, expected: object) -> None:
    assert getattr(cron.parse(text), field) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("* * * *", "five fields"),
        ("0 0 0 * * * *", "five fields .* or six .* this has 7"),
        ("@daily", "five fields"),
        ("60 * * * *", "minute: 60 does not lie between 0 and 59"),
        ("* 24 * * *", "hour: 24"),
        ("* * 0 * *", "day of month: 0"),
        ("* * * 13 *", "month: 13"),
        ("* * * * 8", "day of week: 8"),
        ("* * * * monday", "day of week: cannot read 'monday'"),
        ("5/15 * * * *", "write 5-59/15 for '5/15'"),
        ("*/0 * * * *", "the step of"),
        ("*/90 * * * *", "the step of"),
        ("30-10 * * * *", "runs backwards"),
        ("0 0 L/2 * *", "day of month: cannot read 'l'"),
        ("0 0 L-31 * *", "no month has so many days before 'l-31'"),
        ("0 0 32W * *", "day of month: 32 does not lie"),
        ("0 0 1-5W * *", "cannot read '5w'"),
        ("0 0 * * L", "write satL for the last Saturday"),
        ("0 0 * * fri#6", "the first to the fifth"),
        ("0 0 * * fri#0", "the first to the fifth"),
        ("0 0 * * foo#1", "day of week: cannot read 'foo'"),
        ("0 L * * *", "hour: cannot read 'l'"),
        ("0 0 ? * *", r"write \* for '\?'"),
        ("60 0 0 * * *", "second: 60 does not lie"),
        ("61 25 * * 9", "minute: 61 .*; hour: 25 .*; day of week: 9 "),
        ("1,,2 * * * *", "cannot read ''"),
        ("*-5 * * * *", "cannot read"),
        ("\N{ARABIC-INDIC DIGIT ONE} * * * *", "cannot read"),
        ("0 0 31 2,4 *", "never due"),
        ("0 0 30 feb *", "never due"),
        ("0 0 31W 4 *", "never due"),
        ("0 0 L-30 2 *", "never due"),
    ],
)
def test_what_could_be_misread_is_refused(text: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        cron.parse(text)


def test_days_are_anded_when_one_field_begins_with_a_star_and_ored_otherwise() -> None:
    friday_13 = date(2026, 2, 13)
    friday, thirteenth = date(2026, 2, 6), date(2026, 1, 13)
    either, star, both = (cron.parse(f"0 0 {d}") for d in ("13 * fri", "13 * *", "*/13 * fri"))
    assert all(map(either.includes, (friday_13, friday, thirteenth)))
    assert [star.includes(day) for day in (friday_13, friday, thirteenth)] == [True, False, True]
    # */13 is the 1st, the 14th and the 27th.
    assert both.includes(date(2026, 2, 27))
    assert not any(map(both.includes, (friday_13, friday, thirteenth)))


def test_29_february_is_due_and_its_dates_skip_other_months() -> None:
    dates = cron.parse("0 0 29 2 *").dates(date(2026, 1, 1))
    assert [next(dates).year for _ in range(2)] == [2028, 2032]


@pytest.mark.parametrize(
    ("text", "month", "days"),
    [
        ("15W", (2026, 8), {14}),  # a Saturday
        ("16W", (2026, 8), {17}),  # a Sunday
        ("1W", (2026, 8), {3}),  # a Saturday, and the Friday before is in July
        ("31W", (2026, 5), {29}),  # a Sunday, and the Monday after is in June
        ("31W", (2026, 6), set()),
        ("30W", (2026, 6), {30}),
        ("LW", (2026, 2), {27}),  # the 28th is a Saturday
        ("LW", (2027, 2), {26}),  # a Sunday
        ("L", (2028, 2), {29}),
        ("L-1,L", (2026, 2), {27, 28}),
        ("L-30", (2026, 1), {1}),
        ("L-30", (2026, 2), set()),
    ],
)
def test_days_that_follow_from_the_month(text: str, month: tuple[int, int], days: set[int]) -> None:
    first = date(*month, 1)
    found = cron.parse(f"0 0 {text} * *").dates(first, first + timedelta(days=30))
    assert {day.day for day in found if day.month == first.month} == days


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("fri#1", {2}),
        ("5#5", {30}),
        ("mon#5", set()),
        ("friL", {30}),
        ("0L", {25}),
        ("mon#1,wed", {5, 7, 14, 21, 28}),
    ],
)
def test_days_of_the_week_that_follow_from_the_month(text: str, days: set[int]) -> None:
    october = cron.parse(f"0 0 * * {text}").dates(date(2026, 10, 1), date(2026, 10, 31))
    assert {day.day for day in october} == days


def test_all_fields_of_a_calendar_have_to_match_and_its_faults_are_told_together() -> None:
    first_monday = cron.of_calendar(Calendar(day_of_month="1-7", day_of_week="mon"))
    assert [day.day for day in first_monday.dates(date(2026, 6, 1), date(2026, 7, 31))] == [1, 6]
    bad = Exclusion(minute="60", day_of_month="32", year="1999")
    assert dict(cron.calendar_faults(bad)) == {
        "minute": "minute: 60 does not lie between 0 and 59",
        "dayOfMonth": "day of month: 32 does not lie between 1 and 31",
        "year": "year: 1999 does not lie between 2000 and 2100",
    }
    [(field, why)] = cron.calendar_faults(Calendar(day_of_month="30", month="feb"))
    assert (field, why) == ("dayOfMonth", "never due: no month of 'feb' has a day 30")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0 9 * * *", True), ("0 * * * *", False), ("*/5 0 9 * * *", False), ("0,30 0 9 * * *", True)],
)
def test_a_schedule_goes_by_the_clock_when_it_names_times_of_the_day(
    text: str, expected: object
) -> None:
    assert cron.parse(text).by_the_clock is expected
