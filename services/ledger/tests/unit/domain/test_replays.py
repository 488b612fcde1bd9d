"""The pure part of replays: what is chosen, put together, hashed and begun."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pending_queue import arrival

from contracts.decisions import RunStatus
from contracts.triggers import MAX_BATCH_BYTES
from ledger.domain import replays
from ledger.domain.pending import Reason
from ledger.domain.plans import Mode
from ledger.domain.replays import Planned, Question, Standing, Start
from ledger.domain.routing import Place, RoutedEvent

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
QUESTION = Question("dev.events", NOON, NOON + timedelta(hours=1), (), Mode.MISSING, 20)


def planned(
    number: int, key: str = "k", *, most: int = 0, size: int = 10, value: bytes = b""
) -> Planned:
    event = RoutedEvent(
        place=Place("dev.events", 0, number),
        source="shop",
        event_id=f"e-{number}",
        type="paid",
        digest=hashlib.sha256(value).digest(),
        registry_revision=1,
        cause="replay:r",
        candidates=(),
    )
    gathers = (most, timedelta(seconds=5)) if most else None
    return Planned(event, arrival(number, Reason.LIMITED, key, size=size, gathers=gathers))


@pytest.mark.parametrize(
    ("waits", "runs", "found"),
    [
        (False, [], Standing.NO_RUN),
        (True, [RunStatus.FAILED], Standing.WAITING),
        (False, [RunStatus.FAILED], Standing.FAILED),
        # The newest one counts.
        (False, [RunStatus.COMPLETED, RunStatus.FAILED], Standing.HAS_RUN),
        (False, [RunStatus.FAILED, RunStatus.COMPLETED], Standing.FAILED),
        (False, [None, RunStatus.FAILED], Standing.HAS_RUN),
    ],
)
def test_what_an_event_has_come_to(
    *, waits: bool, runs: list[RunStatus | None], found: Standing
) -> None:
    assert replays.standing(waits=waits, runs=runs) is found


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        (Mode.MISSING, {Standing.NO_RUN}),
        (Mode.FAILED, {Standing.FAILED}),
        (Mode.ALL, set(Standing)),
    ],
)
def test_which_events_a_mode_wants(mode: Mode, wanted: set[Standing]) -> None:
    assert {found for found in Standing if replays.is_wanted(mode, found)} == wanted


@given(
    events=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([0, 2, 3]), st.integers(1, 5)),
        max_size=30,
    ),
    cut=st.integers(0, 30),
)
def test_a_plan_does_not_depend_on_its_pages(events: list[tuple[str, int, int]], cut: int) -> None:
    size = MAX_BATCH_BYTES // 7
    whole = [
        planned(n, key, most=most, size=times * size) for n, (key, most, times) in enumerate(events)
    ]
    together = replays.gather(whole, {}, next_ordinal=0)
    first = replays.gather(whole[:cut], {}, next_ordinal=0)
    latest = {(start.definition_id, start.key): start for start, _ in first}
    then = replays.gather(
        whole[cut:], latest, next_ordinal=len({start.ordinal for start, _ in first})
    )
    assert [start.ordinal for start, _ in together] == [
        start.ordinal for start, _ in [*first, *then]
    ]
    for start in {id(start): start for start, _ in together}.values():
        members = [one.arrival for of, one in together if of is start]
        assert start.events == len(members) <= max(1, start.batch_max_events)
        assert len(members) == 1 or start.bytes <= MAX_BATCH_BYTES
        assert {member.key for member in members} == {start.key}
        assert start.pending_id == members[0].pending_id


def test_the_hash_is_of_all_that_a_plan_says() -> None:
    begin = replays.first_link(QUESTION, "r", {0: (0, 9)})
    links = {
        replays.next_link(begin, replays.gather(events, {}, next_ordinal=0))
        for events in (
            [planned(1)],
            [planned(2)],
            [planned(1, value=b"other")],
            [planned(1), planned(2)],
            [planned(2), planned(1)],
        )
    }
    assert len(links) == 5
    assert begin != replays.first_link(QUESTION, "r", {0: (0, 8)})
    assert begin != replays.first_link(QUESTION, "s", {0: (0, 9)})


@given(st.integers(1, 1000))
def test_a_lot_keeps_the_rate(most: int) -> None:
    starts, pause = replays.lot(most)
    assert starts >= 1
    assert starts / pause.total_seconds() == pytest.approx(most, rel=1e-4)
    assert pause <= timedelta(seconds=1)


def test_no_more_is_under_way_than_there_is_room_for() -> None:
    starts = [Start(n, str(n), "d", "k", 600, events=600) for n in range(3)]
    assert replays.begun_now(starts, open_events=0) == starts[:1]
    assert replays.begun_now(starts, open_events=300) == starts[:1]
    assert replays.begun_now(starts, open_events=500) == []
    huge = Start(0, "0", "d", "k", 5000, events=5000)
    assert replays.begun_now([huge], open_events=0) == [huge]
