"""What waits to be looked at: once, changes first, and never by two at a time."""

import asyncio
from typing import Any

import pytest

from registry.service.backlog import Backlog


class Clock:
    """A time that stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Any:
    return Clock()


@pytest.fixture
def backlog(clock: Clock) -> Any:
    return Backlog(clock)


async def test_changes_go_first_and_each_waits_once(backlog: Backlog) -> None:
    for definition_id in ("a", "b", "c", "b"):
        backlog.add(definition_id)
    backlog.add("c", changed=True)
    assert len(backlog) == 3
    assert [(await backlog.take()).definition_id for _ in range(3)] == ["c", "a", "b"]


async def test_what_is_looked_at_waits_for_the_end_of_that_when_it_comes_again(
    backlog: Backlog,
) -> None:
    backlog.add("a")
    job = await backlog.take()
    backlog.add("a", changed=True)
    second = asyncio.create_task(backlog.take())
    backlog.add("b")
    assert (await second).definition_id == "b"
    third = asyncio.create_task(backlog.take())
    await asyncio.sleep(0)
    assert not third.done()
    backlog.done(job)
    assert (await third).definition_id == "a"


async def test_thorough_look_is_not_lost_by_a_change_that_comes_before_it(
    backlog: Backlog,
) -> None:
    backlog.add("a", thorough=True)
    backlog.add("a", changed=True)
    assert (await backlog.take()).thorough


async def test_age_is_that_of_the_oldest_that_was_changed_or_is_looked_at(
    backlog: Backlog, clock: Clock
) -> None:
    assert backlog.age_s() == 0.0
    backlog.add("other")
    clock.now = 5.0
    backlog.add("a", changed=True)
    clock.now = 8.0
    assert backlog.age_s() == 3.0
    job = await backlog.take()
    backlog.done(job, again=True)
    backlog.add("a", changed=True)
    clock.now = 9.0
    # It was changed no later for being tried again.
    assert backlog.age_s() == 4.0
    backlog.done(await backlog.take())
    assert backlog.age_s() == 0.0
