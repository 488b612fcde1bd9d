"""Streams that wait, and for how long."""

from outbox_relay.domain.holds import FIRST_WAIT_S, LONGEST_WAIT_S, Holds

A = ("dev", "a")


def test_a_held_stream_waits_and_then_does_not():
    holds = Holds()
    holds.add({A: "refused"}, now=0.0)
    assert holds.waiting(now=FIRST_WAIT_S / 2) == {A}
    assert holds.waiting(now=FIRST_WAIT_S + 0.1) == frozenset()


def test_each_refusal_doubles_the_wait_up_to_a_bound():
    holds = Holds()
    for _ in range(20):
        holds.add({A: "refused"}, now=0.0)
    assert holds.waiting(now=LONGEST_WAIT_S - 0.1) == {A}
    assert holds.waiting(now=LONGEST_WAIT_S + 0.1) == frozenset()


def test_a_published_stream_begins_anew():
    holds = Holds()
    holds.add({A: "refused"}, now=0.0)
    holds.add({A: "refused"}, now=0.0)
    holds.release(A)
    holds.add({A: "refused"}, now=0.0)
    assert holds.waiting(now=FIRST_WAIT_S + 0.1) == frozenset()
