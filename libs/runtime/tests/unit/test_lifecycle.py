"""The life of a process: order of start and stop, signals, failures."""

import asyncio
import os
import signal
from datetime import timedelta

import pytest

from runtime.httpserver import Health
from runtime.lifecycle import Process


class Part:
    def __init__(self, name, log, *, hang=False, broken=False):
        self.name = name
        self.log = log
        self.hang = hang
        self.broken = broken

    async def start(self):
        self.log.append(f"start {self.name}")
        if self.hang:
            await asyncio.Event().wait()

    async def stop(self):
        self.log.append(f"stop {self.name}")
        if self.broken:
            raise OSError("broken")


class Background(Part):
    def __init__(self, name, log):
        super().__init__(name, log)
        self.end = asyncio.Event()

    async def wait(self):
        await self.end.wait()
        raise OSError("gone")


def process(parts, health):
    return Process(parts, health=health, grace=timedelta(seconds=1))


async def until_serving(health):
    async with asyncio.timeout(5):
        while await health.problems():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_in_reverse_order(number):
    log, health = [], Health()
    running = asyncio.create_task(process([Part("a", log), Part("b", log)], health).run())
    await until_serving(health)
    os.kill(os.getpid(), number)
    await running
    assert log == ["start a", "start b", "stop b", "stop a"]
    assert await health.problems()


async def test_a_signal_ends_a_start_that_waits():
    log, health = [], Health()
    running = asyncio.create_task(
        process([Part("a", log), Part("b", log, hang=True)], health).run()
    )
    async with asyncio.timeout(5):
        while "start b" not in log:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert log == ["start a", "start b", "stop a"]


async def test_a_failure_in_the_background_ends_the_process():
    log, health = [], Health()
    part = Background("b", log)
    running = asyncio.create_task(process([Part("a", log), part], health).run())
    await until_serving(health)
    part.end.set()
    with pytest.raises(OSError, match="gone"):
        await running
    assert log[-2:] == ["stop b", "stop a"]


async def test_a_part_that_cannot_stop_does_not_keep_the_others():
    log, health = [], Health()
    running = asyncio.create_task(
        process([Part("a", log), Part("b", log, broken=True)], health).run()
    )
    await until_serving(health)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert log[-1] == "stop a"
