"""The memory of settled events in a real Redis."""

import asyncio
import time
from datetime import timedelta

import pytest

from router.adapters import redis_seen
from router.adapters.redis_seen import RedisSeenEvents


@pytest.fixture
async def memory(redis_url):
    made = []

    def memory(url=redis_url, **kwargs):
        made.append(RedisSeenEvents(url, keep=timedelta(minutes=1), **kwargs))
        return made[-1]

    yield memory
    for subject in made:
        await subject.close()


async def test_a_digest_is_found_by_another_router_as_well(memory, unique_name, eventually):
    one, other = memory(), memory()
    assert await one.digest(unique_name, "s", "1") is None
    one.remember(unique_name, "s", "1", "abc")
    assert await one.digest(unique_name, "s", "1") == "abc"

    async def found():
        return await other.digest(unique_name, "s", "1") == "abc"

    await eventually(found)
    assert await other.digest(unique_name, "s", "2") is None


async def test_many_questions_at_once_get_their_own_answers(memory, unique_name, eventually):
    subject = memory()
    for number in range(100):
        subject.remember(unique_name, "s", str(number), f"d{number}")
    await eventually(lambda: not subject._unwritten)
    found = await asyncio.gather(*(subject.digest(unique_name, "s", str(n)) for n in range(101)))
    assert found == [*(f"d{n}" for n in range(100)), None]


@pytest.mark.parametrize("fault", ["cut", "hush"])
async def test_a_redis_that_fails_is_a_miss_within_the_budget_and_then_left_alone(
    memory, proxy, redis_url, fault, unique_name
):
    now, misses = [0.0], []
    between = await proxy(redis_url.removeprefix("redis://").partition("/")[0])
    subject = memory(
        f"redis://{between.address}/0", clock=lambda: now[0], on_miss=lambda: misses.append(1)
    )
    getattr(between, fault)()
    began = time.monotonic()
    assert await subject.digest(unique_name, "s", "1") is None
    assert time.monotonic() - began < 0.5
    assert len(misses) == 1
    for _ in range(50):
        assert await subject.digest(unique_name, "s", "1") is None
        subject.remember(unique_name, "s", "1", "abc")
    assert len(misses) == 1
    await between.mend()
    now[0] += redis_seen.REST_S + 0.1
    subject.remember(unique_name, "s", "1", "abc")
    assert await subject.digest(unique_name, "s", "1") == "abc"
