"""What waits: order, batches, limits, leases, releases."""

import asyncio
from datetime import timedelta

import pytest
from pending_queue import DEFINITION, LEASE, START, Queue, arrival, offsets

from contracts.routing import PendingOutcome
from contracts.triggers import MAX_BATCH_BYTES
from ledger.domain.pending import Choice, Limits, Reason
from ledger.service.pending import Member
from runtime.postgres import Postgres

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
OF_THREE = (3, 5 * SECOND)


@pytest.fixture
def queue(postgres: Postgres) -> Queue:
    return Queue(postgres)


async def release(queue: Queue, choice: Choice, revision: int = 2) -> int:
    return await queue.ledger.release(
        namespace="dev",
        definition_id=DEFINITION,
        choice=choice,
        revision=revision,
        actor="ann",
        reason="mended",
    )


async def waiting(queue: Queue, *keys: str) -> list[str]:
    found = await queue.ledger.find_waiting(
        namespace="dev", keys=[(DEFINITION, key) for key in keys]
    )
    return [keys[index] for index in found]


async def test_starts_of_a_key_are_handed_out_in_order_and_once(queue: Queue) -> None:
    await queue.arrive(arrival(1), arrival(2, key="other"), arrival(3))
    await queue.arrive(arrival(1), arrival(4))
    first = await queue.claim()
    assert [offsets(row) for row in first] == [[1], [2], [3], [4]]
    assert await queue.claim() == []
    assert await queue.confirm(first) == []
    assert await queue.started() == []
    assert queue.log.outcomes() == dict.fromkeys([1, 2, 3, 4], PendingOutcome.STARTED)


async def test_nothing_of_a_key_overtakes_what_is_handed_out(queue: Queue) -> None:
    await queue.arrive(arrival(1), arrival(2), arrival(3, key="other"))
    [first] = await queue.claim(limit=1)
    assert [offsets(row) for row in await queue.claim()] == [[3]]
    await queue.confirm([first])
    assert await queue.started() == [[2]]


async def test_what_is_not_confirmed_in_time_is_handed_out_again(queue: Queue) -> None:
    await queue.arrive(arrival(1), arrival(2))
    early = await queue.claim()
    queue.passes(LEASE)
    late = await queue.claim()
    assert [offsets(row) for row in late] == [[1], [2]]
    assert [row.attempts for row in late] == [2, 2]
    assert await queue.confirm(early) == [row.pending_id for row in early]
    assert queue.log.outcomes() == {}
    assert await queue.confirm(late) == []
    assert await queue.confirm(late) == [row.pending_id for row in late]


async def test_what_could_not_be_started_holds_its_key_for_a_moment(queue: Queue) -> None:
    await queue.arrive(arrival(1), arrival(2), arrival(3, key="other"))
    rows = await queue.claim()
    await queue.confirm(rows[:2], PendingOutcome.RETURNED)
    await queue.confirm(rows[2:])
    assert await queue.claim() == []
    queue.passes(timedelta(milliseconds=250))
    assert await queue.started() == [[1], [2]]


async def test_two_dispatchers_at_once_are_handed_different_starts(queue: Queue) -> None:
    await queue.arrive(*(arrival(n, key="") for n in range(60)))
    claims = await asyncio.gather(*(queue.claim(limit=10) for _ in range(8)))
    rows = [row for claimed in claims for row in claimed]
    while more := await queue.claim(limit=10):
        rows += more
    assert sorted(offsets(row)[0] for row in rows) == list(range(60))


async def test_a_batch_is_closed_by_count(queue: Queue) -> None:
    await queue.arrive(*(arrival(n, Reason.BATCH, gathers=OF_THREE) for n in range(5)))
    assert await queue.started() == [[0, 1, 2]]
    assert await queue.next_look() == START + 5 * SECOND
    await queue.arrive(arrival(5, Reason.BATCH, gathers=OF_THREE))
    assert await queue.started() == [[3, 4, 5]]


async def test_a_batch_is_closed_by_the_time_since_its_first_event(queue: Queue) -> None:
    await queue.arrive(arrival(0, Reason.BATCH, gathers=OF_THREE))
    queue.passes(4 * SECOND)
    await queue.arrive(arrival(1, Reason.BATCH, gathers=OF_THREE))
    assert await queue.started() == []
    queue.passes(SECOND)
    assert await queue.started() == [[0, 1]]
    await queue.arrive(arrival(2, Reason.BATCH, gathers=OF_THREE))
    assert await queue.started() == []


async def test_a_batch_is_closed_by_the_size_of_its_events(queue: Queue) -> None:
    third = MAX_BATCH_BYTES // 3
    hundred = (100, MINUTE)
    await queue.arrive(*(arrival(n, Reason.BATCH, gathers=hundred, size=third) for n in range(4)))
    assert await queue.started() == [[0, 1, 2]]


async def test_each_key_has_a_batch_of_its_own(queue: Queue) -> None:
    for n in range(6):
        await queue.arrive(arrival(n, Reason.BATCH, f"k{n % 2}", gathers=OF_THREE))
    assert await queue.started() == [[0, 2, 4], [1, 3, 5]]


async def test_a_batch_that_was_handed_out_takes_no_more(queue: Queue) -> None:
    await queue.arrive(arrival(0, Reason.BATCH, gathers=OF_THREE))
    queue.passes(5 * SECOND)
    [row] = await queue.claim()
    await queue.arrive(arrival(1, Reason.BATCH, gathers=OF_THREE))
    queue.passes(LEASE)
    [again, next_one] = await queue.claim()
    assert (again.pending_id, offsets(again)) == (row.pending_id, [0])
    assert offsets(next_one) == [1]


async def test_events_left_out_of_a_batch_have_an_outcome_of_their_own(queue: Queue) -> None:
    await queue.arrive(*(arrival(n, Reason.BATCH, gathers=OF_THREE) for n in range(3)))
    rows = await queue.claim()
    await queue.confirm(rows, members={1: Member(1, PendingOutcome.FILTERED, clause="when")})
    assert queue.log.outcomes() == {
        0: PendingOutcome.STARTED,
        1: PendingOutcome.FILTERED,
        2: PendingOutcome.STARTED,
    }


async def test_what_is_held_waits_for_its_release(queue: Queue) -> None:
    await queue.arrive(arrival(1, Reason.HELD), arrival(2, Reason.HELD, "other"))
    queue.passes(MINUTE)
    assert await queue.next_look() is None
    assert await waiting(queue, "k", "other", "third") == ["k", "other"]
    assert await release(queue, Choice.START) == 2
    assert await queue.started() == [[1], [2]]
    assert await waiting(queue, "k", "other", "third") == []


async def test_new_events_of_a_key_queue_behind_what_is_held(queue: Queue) -> None:
    await queue.arrive(arrival(1, Reason.HELD), arrival(2, Reason.HELD))
    # The router knows that it was enabled, the release is still to come.
    await queue.arrive(arrival(3, revision=2))
    assert await queue.started() == []
    await release(queue, Choice.START)
    await queue.arrive(arrival(4, revision=2))
    assert await queue.started() == [[1], [2], [3], [4]]


async def test_held_events_are_compressed_to_one_run_before_all_new_ones(queue: Queue) -> None:
    await queue.arrive(*(arrival(n, Reason.HELD, f"k{n}") for n in range(4)))
    await queue.arrive(arrival(4, key="k1", revision=2), arrival(5, key="k9", revision=2))
    assert await release(queue, Choice.COMPRESS) == 4
    assert await waiting(queue, "k0", "k3", "k77") == ["k0", "k3", "k77"]
    rows = await queue.claim()
    # The event of a key that never waited was not behind it, and is so now.
    assert [offsets(row) for row in rows] == [[0, 1, 2, 3]]
    assert rows[0].as_one_run
    assert await queue.claim() == []
    await queue.confirm(rows)
    assert await queue.started() == [[4], [5]]


async def test_held_events_are_discarded_and_newer_ones_are_not(queue: Queue) -> None:
    await queue.arrive(arrival(1, Reason.HELD), arrival(2, revision=2))
    assert await release(queue, Choice.DISCARD) == 1
    assert await queue.started() == [[2]]
    told = {origin.offset: told for (_, origin), told in queue.log.told.items()}
    assert told[1].outcome is PendingOutcome.DISCARDED
    assert told[1].detail == "discarded when the definition was enabled by ann: mended"
    assert await queue.next_look() is None


async def test_a_release_is_done_once(queue: Queue) -> None:
    await queue.arrive(arrival(1, Reason.HELD))
    assert await release(queue, Choice.START) == 1
    # Disabled again: this one waits for another release than the one that is repeated.
    await queue.arrive(arrival(2, Reason.HELD, "other", revision=3))
    assert await release(queue, Choice.DISCARD) == 0
    assert await queue.started() == [[1]]
    assert await release(queue, Choice.START, revision=4) == 1
    assert await queue.started() == [[2]]


@pytest.mark.parametrize(
    ("choice", "runs"),
    [(Choice.START, [[1]]), (Choice.COMPRESS, [[1]]), (Choice.DISCARD, [])],
)
async def test_what_was_held_against_an_earlier_state_follows_the_release(
    queue: Queue, choice: Choice, runs: list[list[int]]
) -> None:
    await release(queue, choice)
    await queue.arrive(arrival(1, Reason.HELD, revision=1))
    assert await queue.started() == runs
    if not runs:
        assert queue.log.outcomes() == {1: PendingOutcome.DISCARDED}


async def test_held_events_of_a_definition_that_gathers_are_gathered(queue: Queue) -> None:
    await queue.arrive(*(arrival(n, Reason.HELD, f"k{n % 2}", gathers=OF_THREE) for n in range(8)))
    await release(queue, Choice.START)
    assert await queue.started() == [[0, 2, 4], [1, 3, 5], [6], [7]]


async def test_what_is_found_disabled_is_held_again(queue: Queue) -> None:
    await queue.arrive(arrival(1), arrival(2))
    rows = await queue.claim()
    await queue.confirm(rows, PendingOutcome.HELD, definition_revision=3)
    queue.passes(MINUTE)
    assert await queue.started() == []
    assert queue.log.outcomes() == {1: PendingOutcome.HELD, 2: PendingOutcome.HELD}
    await release(queue, Choice.START, revision=4)
    assert await queue.started() == [[1], [2]]


async def test_a_dispatcher_that_has_not_heard_of_the_release_holds_nothing(queue: Queue) -> None:
    await queue.arrive(arrival(1, Reason.HELD))
    await release(queue, Choice.START)
    await queue.confirm(await queue.claim(), PendingOutcome.HELD, definition_revision=1)
    queue.passes(SECOND)
    assert await queue.started() == [[1]]


async def test_only_so_many_runs_are_open_at_a_time(queue: Queue, postgres: Postgres) -> None:
    limits = Limits(max_open_runs=2)
    await queue.arrive(*(arrival(n, key=key, limits=limits) for n, key in enumerate("aaaab")))
    rows = await queue.claim()
    assert [offsets(row) for row in rows] == [[0], [1], [4]]
    assert await queue.claim() == []
    await queue.confirm(rows)
    assert await queue.claim() == []
    assert await queue.next_look() == START + timedelta(milliseconds=250)
    await close_run(postgres, DEFINITION + ":batch:" + rows[0].pending_id)
    queue.passes(timedelta(milliseconds=250))
    assert [offsets(row) for row in await queue.claim()] == [[2]]


async def test_a_start_whose_lease_ran_out_takes_one_place_only(
    queue: Queue,
) -> None:
    limits = Limits(max_open_runs=1)
    await queue.arrive(*(arrival(n, limits=limits, key="") for n in range(3)))
    [row] = await queue.claim()
    queue.passes(LEASE)
    [again] = await queue.claim()
    assert again.pending_id == row.pending_id
    await queue.confirm([again], PendingOutcome.RETURNED)
    # It may have been started, and so it keeps its place.
    assert await queue.claim() == []


async def test_only_so_many_runs_are_handed_out_in_any_window(queue: Queue) -> None:
    limits = Limits(max_runs=3, max_runs_window=MINUTE)
    await queue.arrive(*(arrival(n, key=f"k{n}", limits=limits) for n in range(7)))
    assert await queue.started() == [[0], [1], [2]]
    at = await queue.next_look()
    assert at is not None
    assert START + MINUTE <= at <= START + MINUTE + 2 * SECOND
    queue.passes(at - START - timedelta(milliseconds=1))
    assert await queue.started() == []
    queue.passes(timedelta(milliseconds=1))
    assert await queue.started() == [[3], [4], [5]]


async def test_what_is_handed_out_again_counts_once_against_the_rate(queue: Queue) -> None:
    limits = Limits(max_runs=1, max_runs_window=timedelta(hours=1))
    await queue.arrive(arrival(1, limits=limits), arrival(2, limits=limits))
    await queue.claim()
    queue.passes(LEASE)
    assert await queue.started() == [[1]]


async def test_the_oldest_is_given_up_when_too_many_wait(queue: Queue) -> None:
    limits = Limits(max_waiting=3)
    await queue.arrive(*(arrival(n, Reason.HELD, limits=limits) for n in range(5)))
    assert queue.log.outcomes() == {0: PendingOutcome.DISCARDED, 1: PendingOutcome.DISCARDED}
    await release(queue, Choice.COMPRESS)
    assert await queue.started() == [[2, 3, 4]]


async def test_what_has_waited_for_too_long_is_given_up(queue: Queue) -> None:
    await queue.arrive(arrival(1, Reason.HELD))
    queue.passes(timedelta(days=4))
    await queue.arrive(arrival(2, Reason.HELD))
    queue.passes(timedelta(days=3, seconds=1))
    assert await queue.claim() == []
    assert queue.log.outcomes() == {1: PendingOutcome.DISCARDED}
    [told] = queue.log.told.values()
    assert told.detail == "it waited for longer than 7 days"


async def test_definitions_wait_apart(queue: Queue) -> None:
    await queue.arrive(
        arrival(1, Reason.HELD),
        arrival(2, definition_id="other"),
        arrival(1, definition_id="other"),
    )
    assert await queue.started() == [[2], [1]]


async def test_what_waits_is_listed_oldest_first(queue: Queue) -> None:
    await queue.arrive(arrival(1, Reason.HELD), arrival(2, key="b"), arrival(3, key="c"))
    rows = await queue.ledger.page(
        namespace="dev", after=None, definition_id=DEFINITION, reason=None, limit=2
    )
    assert [(row.reason, row.key, row.due_at) for row in rows] == [
        ("held", "k", None),
        ("limited", "b", START),
    ]
    [last] = await queue.ledger.page(
        namespace="dev", after=rows[-1].position, definition_id=None, reason="limited", limit=9
    )
    assert last.key == "c"


async def close_run(postgres: Postgres, run_id: str) -> None:
    """Let a run be recorded and closed, as far as limits look at runs."""
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            """
            INSERT INTO runs (
                namespace, run_id, position, definition_id, definition_version, trigger_kind,
                trigger_key, trigger_names, trigger_sha256, status, tasks, open_automated,
                open_human, failed_tasks, workflow_run_id, recorded_at, closed_at, correlation_id,
                hops
            ) VALUES (
                'dev', $1, 1, $2, 1, 'batch', 'batch:x', '{}', '', 'completed', 0, 0, 0, 0, 'w',
                now(), now(), 'c', 0
            )
            """,
            run_id,
            DEFINITION,
        )
