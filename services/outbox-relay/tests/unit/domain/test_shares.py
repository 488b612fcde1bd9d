"""Relays come to even shares, whoever comes and goes."""

import pytest

from outbox_relay.domain.shares import SHARDS, Change, change


def test_one_relay_takes_everything():
    assert change(members=1, mine=(), others=()).take == frozenset(range(SHARDS))


def test_a_second_relay_is_given_half():
    first = change(members=2, mine=range(SHARDS), others=())
    assert len(first.give) == SHARDS // 2
    kept = set(range(SHARDS)) - first.give
    assert change(members=2, mine=(), others=kept).take == first.give


def test_a_share_that_fits_is_left_alone():
    nothing = Change(give=frozenset(), take=frozenset())
    assert change(members=2, mine=range(8), others=range(8, 16)) == nothing


@pytest.mark.parametrize("members", range(1, 20))
def test_all_shards_are_led_and_the_shares_are_even(members):
    led = [set() for _ in range(members)]
    led[0] = set(range(SHARDS))
    for _ in range(2):
        for mine in led:
            others = set().union(*(other for other in led if other is not mine))
            step = change(members=members, mine=mine, others=others)
            mine.difference_update(step.give)
            mine.update(step.take)
    assert set().union(*led) == set(range(SHARDS))
    assert sum(len(mine) for mine in led) == SHARDS
    assert max(len(mine) for mine in led) <= -(-SHARDS // members)
