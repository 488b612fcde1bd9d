"""A process that dies at any fault point loses nothing and does nothing twice."""

import asyncio
import functools
from datetime import date, timedelta

import crashpoints
import crashpoints_stimuli
import pytest
import scenario
import workload
from arming import Arm
from crashpoints import of
from crashpoints_stimuli import PATIENCE, STIMULI
from waiting import until

EVENTS, DUPLICATES = 20, 6
SECONDS, SLOWLY = 2.0, 12.0
FIRST = date(2026, 1, 1)


@of(*STIMULI)
@pytest.mark.timeout(300)
async def test_a_crash_loses_nothing_and_repeats_nothing(
    crashing, tmp_path, history, source, point
):
    with Arm(crashing, point, tmp_path / "died") as armed:
        async with crashpoints_stimuli.people(crashing, source) as people:
            outcome = await scenario.run(
                crashing,
                source=source,
                records=workload.plan(1, source, events=EVENTS, duplicates=DUPLICATES),
                seconds=SLOWLY if point.stimulus in {"orders_slowly", "held"} else SECONDS,
                history=history,
                alongside=functools.partial(STIMULI[point.stimulus], people),
                settle_s=PATIENCE,
            )
        assert await until(armed.died, seconds=5), f"{point.name} was never reached"
    (crash,) = crashing.crashes(point.process)[armed.crashes :]
    assert crash.signal == "SIGKILL"
    await asyncio.to_thread(crashing.wait_ready, point.process)
    assert outcome.violations == []
    assert len(outcome.sent) == EVENTS + DUPLICATES + workload.MALFORMED + 2 * workload.beside(
        EVENTS
    )


def test_every_fault_point_has_its_stimulus():
    unknown = {point.stimulus for point in crashpoints.all_points()} - STIMULI.keys()
    assert unknown <= {
        "rebuild",
        "producer",
        "consumer",
        "skip",
        "visited",
        "sensitive",
        "built_in",
    }


def test_samples_come_to_every_point_and_are_spread_over_all_processes():
    points = crashpoints.all_points()
    seen = set()
    for day in range(len(points)):
        sample = crashpoints.chosen(points, "", FIRST + timedelta(days=day))
        assert len(set(sample)) == crashpoints.SAMPLE
        assert len({point.process for point in sample}) >= 5
        seen.update(sample)
    assert seen == set(points)


def test_points_are_chosen_by_number_and_by_name():
    points = crashpoints.all_points()
    assert crashpoints.chosen(points, "all", FIRST) == points
    assert len(crashpoints.chosen(points, "3", FIRST)) == 3
    relay = crashpoints.chosen(points, "relay.*", FIRST)
    assert {point.process for point in relay} == {"outbox-relay"}
    with pytest.raises(AssertionError, match="no fault point"):
        crashpoints.chosen(points, "relay.nowhere", FIRST)
