"""Reading cron: what is taken, and what is refused with a way out."""

from datetime import date

import pytest

from rules import cron
from rules.errors import ScheduleError


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("*/20 * * * *", "minutes", (0, 20, 40)),
        ("1,2-4,50-58/4 * * * *", "minutes", (1, 2, 3, 4, 50, 54, 58)),
        ("4-4/2 * * * *", "minutes", (4,)),
        ("0 9-17/4 * * *", "hours", (9, 13, 17)),
        ("0 0 * JAN-mar *", "months", {1, 2, 3}),
        ("0 0 * * mon-fri", "weekdays", {1, 2, 3, 4, 5}),
        ("0 0 * * fri-sun", "weekdays", {5, 6, 0}),
        ("0 0 * * 7", "weekdays", {0}),
        ("0 0 * * */2", "weekdays", {0, 2, 4, 6}),
    ],
)
def test_a_field_holds_what_it_spells(text: str, field: str, expected: object) -> None:
    assert getattr(cron.parse(text), field) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("* * * *", "five fields"),
        ("0 0 * * * *", "five fields .* this has 6"),
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
        ("0 0 L * *", "day of month: cannot read 'l'"),
        ("0 0 * * 1#2", "day of week: cannot read '1#2'"),
        ("0 0 15W * *", "cannot read '15w'"),
        ("0 0 ? * *", "cannot read"),
        ("1,,2 * * * *", "cannot read ''"),
        ("*-5 * * * *", "cannot read"),
        ("\N{ARABIC-INDIC DIGIT ONE} * * * *", "cannot read"),
        ("0 0 31 2,4 *", "never due"),
        ("0 0 30 feb *", "never due"),
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
