"""A rate is never exceeded, whatever is asked for and when."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.rates import Rate, Taken

START = datetime(2026, 3, 2, tzinfo=UTC)
STEPS = st.lists(st.tuples(st.floats(0, 90), st.integers(0, 5)), max_size=60)


@given(steps=STEPS, count=st.integers(1, 6), window=st.integers(1, 120))
def test_no_window_ever_has_more_than_the_count(
    steps: list[tuple[float, int]], count: int, window: int
) -> None:
    rate = Rate(count, timedelta(seconds=window))
    taken: Taken = []
    at: list[datetime] = []
    now = START
    for pause, wanted in steps:
        now += timedelta(seconds=pause)
        number = min(wanted, rate.left(taken, now))
        taken = rate.take(taken, number, now)
        at += [now] * number
    for first in at:
        assert sum(first <= other < first + rate.window for other in at) <= count


@given(steps=STEPS, count=st.integers(1, 6))
def test_more_is_allowed_when_it_says_so(steps: list[tuple[float, int]], count: int) -> None:
    rate = Rate(count, timedelta(minutes=1))
    taken: Taken = []
    now = START
    for pause, wanted in steps:
        now += timedelta(seconds=pause)
        taken = rate.take(taken, min(wanted, rate.left(taken, now)), now)
    again = rate.left_again(taken, now)
    assert rate.left(taken, again) > 0
    # A slot later than the window, at most.
    assert again <= now + rate.window + rate.window / 60
    assert len(taken) <= 62


def test_a_rate_that_was_made_slower_counts_what_was_handed_out_before() -> None:
    fast, slow = Rate(10, timedelta(seconds=1)), Rate(10, timedelta(hours=1))
    taken = fast.take([], 10, START)
    assert slow.left(taken, START + timedelta(minutes=59)) == 0
