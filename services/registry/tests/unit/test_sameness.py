"""Sameness: what is only written differently is the same, and nothing else is."""

from typing import Any

import pytest

from contracts.definitions import Schedule
from registry.domain import sameness

SKIP = {"policy": "skip", "tolerance": "1m"}


def schedule(**fields: Any) -> Schedule:
    return Schedule.model_validate({"missedRuns": SKIP, **fields})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a>1", " a\n> 1 "),
        ("a && b // why", "a&&b"),
        ("size( x ) in [1,2]", "size(x) in [ 1, 2 ]"),
    ],
)
def test_white_space_and_comments_of_expressions_mean_nothing(before: str, after: str) -> None:
    assert sameness.same_expression(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a > 1", "a >= 1"),
        ("a > = 1", "a >= 1"),
        ("'a b'", "'ab'"),
        ("'//a'", "'//b'"),
        ("r'\\' + ' a'", "r'\\' + 'a'"),
        ('"""a  b"""', '"""a b"""'),
        ("'it\\'s  x'", "'it\\'s x'"),
        ("a in b", "ain b"),
        ("1 1", "11"),
    ],
)
def test_everything_else_in_expressions_means_something(before: str, after: str) -> None:
    assert not sameness.same_expression(before, after)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("0 * * * *", "0  *  * * *", True),
        ("*/15 * * * *", "0,15,30,45 * * * *", True),
        ("*/15 9 * * *", "0,15,30,45 9 * * *", False),
        ("0,30 9 * * *", "30,0 9 * * *", True),
        ("0 9 * * mon-fri", "0 9 * * 1-5", True),
        ("0 9 * * 7", "0 9 * * 0", True),
        ("0 9 * * 1", "0 9 * * 2", False),
        ("not cron at all", "not cron at all", True),
        ("not cron at all", "neither is this one", False),
    ],
)
def test_cron_is_compared_by_what_it_names(before: str, after: str, *, same: bool) -> None:
    assert sameness.same_cron(before, after) is same


def test_schedules_are_due_at_other_times_by_their_source_and_zone_only() -> None:
    hourly = schedule(cron="0 * * * *")
    assert sameness.same_due_times(hourly, schedule(cron="0 * * * *", overlap="allowAll"))
    assert not sameness.same_due_times(hourly, schedule(cron="0 * * * *", timezone="Asia/Tokyo"))
    assert not sameness.same_due_times(hourly, schedule(every="1h"))
    assert sameness.same_due_times(schedule(every="60m"), schedule(every="PT1H"))


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"required": ["a", "b"]}, {"required": ["b", "a"]}, True),
        ({"enum": [1, "a"]}, {"enum": ["a", 1]}, True),
        ({"properties": {"a": {"type": ["null", "string"]}}},) * 2 + (True,),
        ({"prefixItems": [{}, {"type": "null"}]}, {"prefixItems": [{"type": "null"}, {}]}, False),
        ({"const": [1, 2]}, {"const": [2, 1]}, False),
        ({"default": {"enum": [1, 2]}}, {"default": {"enum": [2, 1]}}, False),
        ({"default": True}, {"default": 1}, False),
    ],
)
def test_schemas_are_compared_without_the_order_of_what_has_none(
    before: Any, after: Any, *, same: bool
) -> None:
    assert sameness.same_schema(before, after) is same


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"a": [1, 2]}, {"a": [2, 1]}, True),
        ({"a": [{"anything-but": ["x", "y"]}]}, {"a": [{"anything-but": ["y", "x"]}]}, True),
        ({"a": [{"numeric": [">", 1]}]}, {"a": [{"numeric": [1, ">"]}]}, False),
        ({"a": [1]}, {"a": [True]}, False),
    ],
)
def test_patterns_are_compared_without_the_order_of_alternatives(
    before: Any, after: Any, *, same: bool
) -> None:
    assert sameness.same_pattern(before, after) is same


def test_patterns_that_others_cover_add_nothing() -> None:
    assert sameness.least(["a.*", "a.b", "b", "a.b*", "b"]) == ["a.*", "b"]
    assert sameness.least(["*", "a"]) == ["*"]
    assert sameness.least(["a*", "a*"]) == ["a*"]
