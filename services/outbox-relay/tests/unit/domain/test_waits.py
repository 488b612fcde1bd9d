"""What is kept back, and for how long."""

from outbox_relay.domain.rows import PendingRow
from outbox_relay.domain.waits import FIRST_WAIT_S, LONGEST_WAIT_S, Waits


def row(position, stream="a", topic="t"):
    return PendingRow(position, "dev", stream, topic, stream, "[]", b"x", None)


def test_a_parked_event_keeps_back_its_stream_and_no_other():
    waits = Waits()
    waits.park(("dev", "a"))
    assert waits.free([row(1, "a"), row(2, "b")]) == [row(2, "b")]


def test_a_stream_is_free_again_when_the_outbox_says_so():
    waits = Waits()
    waits.park(("dev", "a"))
    assert not waits.know_parked([("dev", "a"), ("dev", "b")])
    assert waits.know_parked([("dev", "b")])
    assert waits.free([row(1, "a"), row(2, "b")]) == [row(1, "a")]


def test_a_missing_topic_keeps_back_its_rows_until_it_is_tried_again():
    waits = Waits()
    assert waits.hold("t", "missing", now=10.0)
    assert not waits.hold("t", "missing", now=10.0)
    assert waits.free([row(1), row(2, topic="u")]) == [row(2, topic="u")]
    assert not waits.due(now=10.0)
    assert waits.due(now=10.0 + FIRST_WAIT_S)
    waits.retry()
    assert waits.free([row(1)]) == [row(1)]


def test_waits_for_a_topic_grow_to_a_limit_and_begin_anew_after_success():
    waits = Waits()
    now = 0.0
    for _ in range(20):
        waits.hold("t", "missing", now=now)
        now += LONGEST_WAIT_S
        assert waits.due(now=now)
        waits.retry()
    waits.hold("t", "missing", now=now)
    assert not waits.due(now=now + FIRST_WAIT_S)
    waits.retry()
    waits.sent()
    waits.hold("t", "missing", now=now)
    assert waits.due(now=now + FIRST_WAIT_S)
