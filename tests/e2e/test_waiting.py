"""What waits, on the whole suite: held, gathered, limited; while the router is killed, too."""

import itertools
from datetime import timedelta

import pytest
from letters import GATHERED, HELD, LIMITED, RATED
from waiting import until


@pytest.mark.timeout(400)
async def test_held_events_are_started_in_order_and_new_ones_behind_them(letters, backbone):
    backbone("disable", HELD, "--reason", "broken")
    assert await until(letters.a_letter_is_held, seconds=30)
    held = letters.send(*(f"held-{n % 3}" for n in range(12)))
    await letters.decided()
    assert {one["reason"] for one in letters.pending(HELD)} == {"held"}
    backbone("enable", HELD, "--held", "start", "--reason", "mended")
    # While they are started, under the eyes of a router that dies of it.
    new = letters.send(*(f"held-{n % 3}" for n in range(12)))
    letters.suite.kill("router")
    new += letters.send(*(f"held-{n % 3}" for n in range(12)))
    await letters.are_in_runs(HELD, [*held, *new])
    assert {len(run) for run in await letters.runs(HELD)} == {1}
    assert (await letters.outcomes(HELD)).keys() <= {("started", True), ("started", False)}
    started = [number for run in await letters.by_their_starts(HELD) for number in run.numbers]
    for person in ("held-0", "held-1", "held-2"):
        of_one = [number for number in started if letters.sent_to[number] == person]
        assert of_one == sorted(of_one), person


@pytest.mark.timeout(400)
async def test_held_events_are_compressed_or_discarded(letters, backbone):
    backbone("disable", HELD, "--reason", "broken")
    assert await until(letters.a_letter_is_held, seconds=30)
    held = letters.send(*(f"held-{n}" for n in range(5)))
    await letters.decided()
    backbone("enable", HELD, "--held", "compress", "--reason", "mended")
    await letters.are_in_runs(HELD, held)
    [compressed] = [run for run in await letters.runs(HELD) if len(run) > 1]
    assert set(compressed) >= set(held)

    backbone("disable", HELD, "--reason", "broken again")
    assert await until(letters.a_letter_is_held, seconds=30)
    letters.send("held-1", "held-2")
    await letters.decided()
    backbone("enable", HELD, "--held", "discard", "--reason", "of no use by now")

    async def all_discarded():
        outcomes = await letters.outcomes(HELD)
        return outcomes["discarded", True] >= 3 and not outcomes["held", False]

    assert await until(all_discarded, seconds=60)
    assert letters.pending(HELD) == []


@pytest.mark.timeout(400)
async def test_each_gathered_event_is_in_one_run_though_the_router_is_killed(letters):
    numbers = []
    for turn in range(4):
        numbers += letters.send(*(f"gathered-{n % 3}" for n in range(25)))
        if turn % 2:
            letters.suite.kill("router")
        else:
            letters.forget()
    await letters.are_in_runs(GATHERED, numbers)
    runs = await letters.runs(GATHERED)
    assert max(map(len, runs)) <= 7
    assert len(runs) < len(numbers) / 2
    for run in runs:
        assert len({letters.sent_to[number] for number in run}) == 1, "of one key each"
        assert run == sorted(run)


@pytest.mark.timeout(400)
async def test_limited_events_are_started_one_after_the_other(letters):
    numbers = letters.send(*("limited-a" for _ in range(8)))
    await letters.are_in_runs(LIMITED, numbers)
    runs = await letters.by_their_starts(LIMITED)
    assert [number for run in runs for number in run.numbers] == numbers
    for earlier, later in itertools.pairwise(runs):
        assert earlier.closed_at <= later.started_at, "two runs were open at a time"


COUNT, WINDOW = 8, timedelta(seconds=5)
"""Of e2e.letters-rated, with two open runs of a person."""
LATE = timedelta(seconds=2.5)
"""A start is made at most so long after it was handed out, which is what the rate counts."""


@pytest.mark.timeout(400)
async def test_no_window_has_more_runs_than_allowed_and_no_person_more_open_ones(letters):
    # All of the first person's come first: only the limit of a person lets others in between.
    numbers = letters.send(
        *("rated-0" for _ in range(8)), *(f"rated-{1 + n % 3}" for n in range(24))
    )
    await letters.are_in_runs(RATED, numbers)
    runs = await letters.by_their_starts(RATED)
    starts = [run.started_at for run in runs]
    for first in range(len(starts)):
        for last in range(first + COUNT, len(starts)):
            windows = (last - first) // COUNT
            assert starts[last] - starts[first] >= windows * WINDOW - LATE, starts
    most = 0
    for person in ("rated-0", "rated-1", "rated-2", "rated-3"):
        of_one = [run for run in runs if letters.sent_to[run.numbers[0]] == person]
        assert [run.numbers[0] for run in of_one] == sorted(run.numbers[0] for run in of_one)
        for run in of_one:
            begun = [one for one in of_one if one.started_at <= run.started_at]
            most = max(most, sum(one.closed_at > run.started_at for one in begun))
    assert most == 2, "the limit is reached, and no more"
