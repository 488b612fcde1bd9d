"""Ranges that come and go, and the numbers that they hold."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from rules.matching.intervals import Intervals, position
from rules.patterns import Range

NUMBERS = (
    st.integers(-20, 20)
    | st.floats(-20, 20)
    | st.floats(allow_nan=False)
    | st.integers(2**53 - 2, 2**53 + 6)
    | st.sampled_from([10**400, -(10**400), 0.0, -0.0, 2**63, 5e-324])
)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    low, high = sorted([draw(NUMBERS), draw(NUMBERS)])
    low_included, high_included = draw(st.booleans()), draw(st.booleans())
    match draw(st.sampled_from(["both", "both", "low", "high"])):
        case "low":
            return Range(low=low, low_included=low_included)
        case "high":
            return Range(high=high, high_included=high_included)
        case _:
            if low == high:
                return Range(low, high, low_included=True, high_included=True)
            return Range(low, high, low_included=low_included, high_included=high_included)


@given(NUMBERS, NUMBERS)
def test_positions_are_in_the_order_of_the_numbers(one: float, other: float) -> None:
    if one < other:
        assert position(one) <= position(other)
    if one == other:
        assert position(one) == position(other)
    assert 0 <= position(one) < 2**64


@settings(deadline=None)
@given(st.lists(st.tuples(ranges(), st.booleans()), max_size=25), st.lists(NUMBERS, max_size=4))
def test_the_ranges_that_hold_a_number_are_found(
    changes: list[tuple[Range, bool]], numbers: list[float]
) -> None:
    intervals: Intervals[Range] = Intervals()
    kept: list[Range] = []
    for range_, again in changes:
        if range_ not in kept:
            intervals.add(range_, range_)
            kept.append(range_)
        elif not again:
            intervals.discard(range_)
            kept.remove(range_)
    bounds = [bound for range_ in kept for bound in (range_.low, range_.high) if bound is not None]
    for number in [*numbers, *bounds]:
        found: list[Range] = []
        intervals.collect(number, found)
        assert sorted(map(repr, found)) == sorted(repr(r) for r in kept if r.holds(number))
    assert len(intervals) == len(kept)
    for range_ in kept:
        assert intervals.get(range_) == range_
        assert intervals.count(range_) >= 0
        intervals.discard(range_)
    assert (len(intervals), intervals._blocks, intervals._narrow) == (0, {}, {})


def test_no_range_holds_what_is_no_number() -> None:
    intervals: Intervals[str] = Intervals()
    intervals.add(Range(low=0), "from")
    intervals.add(Range(high=0), "until")
    intervals.add(Range(0, 1), "between")
    found: list[str] = []
    intervals.collect(math.nan, found)
    assert found == []


def test_what_a_number_costs_is_what_holds_it() -> None:
    # All begin before it and none ends after it, or the other way round.
    intervals: Intervals[int] = Intervals()
    for number in range(1, 2000):
        intervals.add(Range(-number, number / 4000, low_included=True), number)
        intervals.add(Range(0.6, 0.6 + number), -number)
    found: list[int] = []
    intervals.collect(0.55, found)
    assert found == []
    intervals.collect(0.49975, found)
    assert found == []
