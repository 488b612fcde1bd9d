"""Pages of dead letters: one order, however they were fetched, and nothing twice or left out."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain import dead_letter_pages, dead_letters
from router.domain.dead_letter_pages import Line
from router.domain.records import Record
from router.errors import RequestInvalidError


def letter(partition, offset, time):
    return dead_letters.read(Record("t", partition, offset, time, None, b"{}", ()))


def lines_of(times):
    return {
        partition: [letter(partition, offset, time) for offset, time in enumerate(each)]
        for partition, each in enumerate(times)
    }


TOPICS = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=4).map(lines_of)


def places(letters):
    return [one.place for one in letters]


def in_one_go(lines):
    return list(
        dead_letter_pages.merged({p: Line(each, complete=True) for p, each in lines.items()})
    )


@given(TOPICS)
def test_the_order_is_that_of_time_and_of_each_partition(lines):
    merged = in_one_go(lines)
    assert sorted(places(merged)) == sorted(p for each in lines.values() for p in places(each))
    for partition, each in lines.items():
        assert [one for one in merged if one.partition == partition] == each
    if all(each == sorted(each, key=lambda one: one.parked_at_ms) for each in lines.values()):
        assert merged == sorted(merged, key=lambda one: (one.parked_at_ms, *one.place))


@given(TOPICS, st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_pages_of_any_size_give_the_same_order(lines, sizes):
    left = dict.fromkeys(lines, 0)
    found = []
    for turn in range(100):
        most = sizes[turn % len(sizes)]
        fetched = {
            p: Line(each[left[p] : left[p] + most], len(each) - left[p] <= most)
            for p, each in lines.items()
            if left[p] < len(each)
        }
        if not fetched:
            break
        page = list(dead_letter_pages.merged(fetched))
        assert page
        for one in page:
            left[one.partition] = one.offset + 1
        found += page
    assert found == in_one_go(lines)


def test_nothing_is_certain_before_every_partition_has_shown_something():
    lines = {0: Line([letter(0, 0, 1)], complete=True), 1: Line([], complete=False)}
    assert list(dead_letter_pages.merged(lines)) == []


def test_a_token_says_what_is_left_and_is_empty_at_the_end():
    left = {0: (3, 7), 11: (4, 4)}
    token = dead_letter_pages.token(left, "dev", "empty")
    assert dead_letter_pages.stretches(token, "dev", "empty") == left
    assert dead_letter_pages.token({0: (7, 7)}, "dev") == ""
    assert dead_letter_pages.stretches("", "dev") is None


@pytest.mark.parametrize(
    "token", ["x", "{}", base64.urlsafe_b64encode(b'["m",{"0":[1]}]').decode(), "\u00e4"]
)
def test_a_token_that_is_none_is_refused(token):
    with pytest.raises(RequestInvalidError, match="not one of this service"):
        dead_letter_pages.stretches(token, "dev")


def test_a_token_of_another_filter_is_refused():
    with pytest.raises(RequestInvalidError, match="other filters"):
        dead_letter_pages.stretches(dead_letter_pages.token({0: (0, 1)}, "dev"), "prod")
