"""The memory of settled events in a real Redis."""

import time
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import pytest
from redis.asyncio import Redis

from router.adapters import redis_seen
from router.adapters.redis_seen import RedisSeenEvents
from router.errors import TransientError
from router.ports import Seen
from runtime import secretfiles


@pytest.fixture
async def memory(redis_url):
    made = []

    def memory(url=redis_url, **kwargs):
        made.append(RedisSeenEvents(url, keep=timedelta(minutes=1), **kwargs))
        return made[-1]

    yield memory
    for subject in made:
        await subject.close()


async def digest(memory, namespace, event_id):
    (found,) = await memory.recall(namespace, [("s", event_id)])
    return None if found is None else found.digest


async def test_what_an_earlier_release_remembered_is_of_no_revision(memory, unique_name):
    subject = memory()
    await subject._redis.set(redis_seen._key(unique_name, "s", "1"), "abc", px=60_000)
    assert await subject.recall(unique_name, [("s", "1")]) == [Seen("abc", 0)]


async def test_a_digest_is_found_by_another_router_as_well(memory, unique_name, eventually):
    one, other = memory(), memory()
    assert await digest(one, unique_name, "1") is None
    one.remember(unique_name, "s", "1", digest="abc", revision=7)
    assert await digest(one, unique_name, "1") == "abc"

    async def found():
        return await digest(other, unique_name, "1") == "abc"

    await eventually(found)
    assert await digest(other, unique_name, "2") is None


async def test_many_questions_at_once_get_their_own_answers(memory, unique_name, eventually):
    subject = memory()
    count = 2 * redis_seen.MAX_WRITTEN + 1
    for number in range(count):
        subject.remember(unique_name, "s", str(number), digest=f"d{number}", revision=number)
    await eventually(lambda: not subject._unwritten)
    found = await subject.recall(unique_name, [("s", str(n)) for n in range(count + 1)])
    assert found == [*(Seen(f"d{n}", n) for n in range(count)), None]


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
    assert await digest(subject, unique_name, "1") is None
    assert time.monotonic() - began < 0.5
    assert len(misses) == 1
    for _ in range(50):
        assert await digest(subject, unique_name, "1") is None
        subject.remember(unique_name, "s", "1", digest="abc", revision=7)
    assert len(misses) == 1
    await between.mend()
    now[0] += redis_seen.REST_S + 0.1
    subject.remember(unique_name, "s", "1", digest="abc", revision=7)
    assert await digest(subject, unique_name, "1") == "abc"


async def test_each_connection_asks_for_the_password_of_now(
    memory, redis_url, unique_name, tmp_path
):
    secret = tmp_path / "password"
    secret.write_text("first\n")
    rights = {"enabled": True, "keys": ["*"], "commands": ["+@all"]}
    host = urlsplit(redis_url)
    url = urlunsplit(host._replace(netloc=f"{unique_name}@{host.netloc}"))
    async with Redis.from_url(redis_url) as admin:
        await admin.acl_setuser(unique_name, passwords=["+first"], **rights)
        try:
            subject = memory(url, password=secretfiles.reader(secret))
            await subject.ready()
            await admin.acl_setuser(unique_name, reset=True, passwords=["+second"], **rights)
            await subject._redis.connection_pool.disconnect()
            with pytest.raises(TransientError, match="invalid username-password"):
                await subject.ready()
            secret.unlink()
            with pytest.raises(TransientError, match=f"{secret} cannot be read"):
                await subject.ready()
            secret.write_text("second\n")
            await subject.ready()
        finally:
            await admin.acl_deluser(unique_name)
