"""The pure part of what waits: batches, releases, what is handed out."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from pending_queue import START, arrival

from contracts.triggers import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from ledger.domain import pending
from ledger.domain.pending import Choice, Claimable, Gathering, HeldStart, Reason

KEYS = st.sampled_from(["a", "b", ""])
SIZES = st.sampled_from([1, 1000, MAX_BATCH_BYTES // 3, MAX_BATCH_BYTES])
WAIT = timedelta(seconds=5)


@given(
    arrivals=st.lists(st.tuples(KEYS, SIZES, st.sampled_from(Reason)), max_size=30),
    most=st.integers(2, 5),
    open_events=st.integers(1, 4),
)
def test_each_event_is_in_one_start_and_batches_keep_their_bounds(
    arrivals: list[tuple[str, int, Reason]], most: int, open_events: int
) -> None:
    gathering = {"a": Gathering("open", min(open_events, most - 1), 10)}
    planned = pending.plan(
        (
            arrival(n, reason, key, size=size, gathers=(most, WAIT))
            for n, (key, size, reason) in enumerate(arrivals)
        ),
        gathering,
        released=(0, None),
        at=START,
    )
    assert [event.origin.offset for _, event in planned.events] == list(range(len(arrivals)))
    assert {pending_id for pending_id, _ in planned.events} <= planned.starts.keys()
    open_keys = []
    for start in planned.starts.values():
        members = [event for pending_id, event in planned.events if pending_id == start.pending_id]
        before = gathering["a"].events if not start.new else 0
        assert start.events == before + len(members)
        assert len({event.key for event in members}) <= 1
        assert start.events <= most
        assert start.events == 1 or start.bytes <= MAX_BATCH_BYTES
        assert start.as_one_run == (start.reason in {Reason.BATCH, Reason.REPLAY})
        if start.gathering:
            open_keys.append(members[0].key)
            assert start.events < most
    assert len(open_keys) == len(set(open_keys)), "two batches of a key gather"


@given(
    held=st.lists(st.tuples(KEYS, st.integers(1, 600), SIZES), max_size=20),
    most=st.integers(2, MAX_BATCH_EVENTS),
)
def test_what_is_put_together_keeps_order_and_bounds(
    held: list[tuple[str, int, int]], most: int
) -> None:
    starts = [HeldStart(str(n), key, e, size, most) for n, (key, e, size) in enumerate(held)]
    groups = pending.together(starts, by=lambda start: start.key)
    together = [int(start.pending_id) for group in groups for start in group]
    assert sorted(together) == list(range(len(starts)))
    for group in groups:
        assert len({start.key for start in group}) == 1
        assert [int(one.pending_id) for one in group] == sorted(int(o.pending_id) for o in group)
        assert len(group) == 1 or sum(start.events for start in group) <= most
        assert len(group) == 1 or sum(start.bytes for start in group) <= MAX_BATCH_BYTES
    for key in ("a", "b"):
        of_key = [int(one.pending_id) for group in groups for one in group if one.key == key]
        assert of_key == sorted(of_key)


@given(
    starts=st.lists(st.tuples(KEYS, st.integers(0, 2), st.integers(0, 2)), max_size=20),
    most=st.integers(0, 3),
    left=st.integers(0, 10),
    limit=st.integers(1, 10),
)
def test_nothing_is_handed_out_past_a_limit_or_past_its_key(
    starts: list[tuple[str, int, int]], most: int, left: int, limit: int
) -> None:
    claimable = [
        Claimable(str(n), key, 10, attempts, open_runs={"a": 0, "b": 1, "": 2}[key])
        for n, (key, attempts, _) in enumerate(starts)
    ]
    out = pending.handed_out(
        claimable, max_open_runs=most, starts_left=left, limit=limit, bytes_limit=75
    )
    assert len(out) <= limit
    assert sum(start.bytes for start in out) <= max(75, 10)
    assert sum(start.attempts == 0 for start in out) <= left
    for key in ("a", "b"):
        of_key = [start for start in claimable if start.key == key]
        assert [one for one in out if one.key == key] == of_key[: sum(o.key == key for o in out)]
    if most:
        for key, open_runs in (("a", 0), ("b", 1), ("", 2)):
            assert sum(one.key == key for one in out) <= max(0, most - open_runs)


def test_the_first_is_handed_out_whatever_its_size() -> None:
    large = Claimable("1", "", 10_000, 0, 0)
    out = pending.handed_out([large, large], max_open_runs=0, starts_left=9, limit=9, bytes_limit=1)
    assert out == [large]


def test_late_held_events_follow_the_choice() -> None:
    late = arrival(1, Reason.HELD, revision=1)
    for choice, due, alone in ((Choice.START, True, True), (Choice.COMPRESS, True, False)):
        planned = pending.plan([late], {}, released=(2, choice), at=START)
        [start] = planned.starts.values()
        assert (start.due_at == START, start.as_one_run) == (due, not alone)
    planned = pending.plan([late], {}, released=(2, Choice.DISCARD), at=START)
    assert (planned.starts, planned.discarded) == ({}, [late])


def test_tries_rest_for_longer_each_time_and_not_for_ever() -> None:
    pauses = [(pending.retry_at(n, START) - START).total_seconds() for n in (1, 2, 3, 8, 50)]
    assert pauses == [0.25, 0.5, 1.0, 30.0, 30.0]
