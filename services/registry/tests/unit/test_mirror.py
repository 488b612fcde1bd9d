"""The mirror: current within its bounds, and one question for all who ask."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain.resources import Change, Key, Resource
from registry.service.changes import Changes
from registry.service.mirror import Mirrors, RevisionPoll
from runtime.errors import DatabaseUnavailableError

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def resource(resource_id: str, revision: int) -> Resource:
    key = Key(ResourceKind.PRODUCER, resource_id)
    change = Change(revision, key, ChangeKind.APPLIED, 1, ResourceState.ACTIVE, NOON, "a", "r")
    return Resource("dev", key, 1, b"{}", "", change, change, 1)


class FakeStore:
    """What a mirror reads, by revision, and how often it was asked."""

    def __init__(self) -> None:
        self.current: list[Resource] = []
        self.away = False
        self.asked = self.read = 0
        self.page = 500
        self.before_answer: Callable[[], Awaitable[Any]] | None = None

    async def revision(self, namespace: str) -> int:
        self.asked += 1
        if self.away:
            raise DatabaseUnavailableError("away")
        newest = max((item.revision for item in self.current), default=0)
        if self.before_answer is not None:
            await self.before_answer()
        return newest if namespace == "dev" else 0

    async def changed(
        self, namespace: str, *, after_revision: int, limit: int, max_bytes: int
    ) -> list[Resource]:
        self.read += 1
        found = sorted(self.current, key=lambda item: item.revision)
        return [item for item in found if item.revision > after_revision][: min(limit, self.page)]


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def mirrors(store: Any) -> Mirrors:
    return Mirrors(store, Changes(), namespaces=["dev", "stage"])


async def test_heads_are_read_once_and_confirmed_for_a_while(
    store: FakeStore, mirrors: Mirrors
) -> None:
    store.current = [resource("a", 1), resource("b", 2)]
    for _ in range(5):
        assert (await mirrors.heads("dev")).revision == 2
    assert (store.asked, store.read) == (1, 1)
    mirrors._confirmed["dev"] -= 2.1
    await mirrors.heads("dev")
    assert (store.asked, store.read) == (2, 1)
    assert (await mirrors.heads("stage")).revision == 0


async def test_namespace_of_many_pages_is_read_until_nothing_is_left(
    store: FakeStore, mirrors: Mirrors
) -> None:
    store.current, store.page = [resource(f"r{n}", n) for n in range(1, 8)], 3
    assert len((await mirrors.heads("dev")).snapshot()) == 7
    assert mirrors.changes.newest("dev") == 7


async def test_all_who_ask_at_once_share_a_question_that_was_put_after_they_asked(
    store: FakeStore, mirrors: Mirrors
) -> None:
    answer, entered = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        entered.set()
        await answer.wait()

    store.before_answer = slow
    first = asyncio.create_task(mirrors.refresh("dev"))
    await entered.wait()
    # The first question has been answered by the database: what is stored now is not in it.
    store.current = [resource("a", 1)]
    later = [asyncio.create_task(mirrors.refresh("dev")) for _ in range(10)]
    await asyncio.sleep(0)
    answer.set()
    await first
    for heads in await asyncio.gather(*later):
        assert heads.revision == 1
    assert store.asked == 2


async def test_who_gives_up_waiting_leaves_the_others_their_answer(
    store: FakeStore, mirrors: Mirrors
) -> None:
    answer = asyncio.Event()
    store.before_answer = answer.wait
    impatient = asyncio.create_task(mirrors.heads("dev"))
    await asyncio.sleep(0)
    impatient.cancel()
    patient = asyncio.create_task(mirrors.heads("stage"))
    await asyncio.sleep(0)
    answer.set()
    assert (await patient).revision == 0
    assert (await mirrors.heads("dev")).revision == 0


async def test_own_change_is_known_at_once_unless_something_lies_between(
    store: FakeStore, mirrors: Mirrors
) -> None:
    await mirrors.heads("dev")
    mirrors.absorb("dev", [resource("a", 1), resource("b", 2)])
    assert mirrors.known("dev").revision == mirrors.changes.newest("dev") == 2
    mirrors.absorb("dev", [resource("d", 4)])
    assert mirrors.known("dev").revision == 2
    store.current = [resource("a", 1), resource("b", 2), resource("c", 3), resource("d", 4)]
    assert (await mirrors.refresh("dev")).revision == 4


async def test_answer_that_is_older_than_an_own_change_loses_nothing(
    store: FakeStore, mirrors: Mirrors
) -> None:
    await mirrors.heads("dev")

    async def own_change() -> None:
        store.current = [resource("a", 1)]
        mirrors.absorb("dev", store.current)

    store.before_answer = own_change
    heads = mirrors.known("dev")
    assert await mirrors.refresh("dev") is heads
    assert heads.revision == 1


async def test_database_that_lost_revisions_is_read_afresh(
    store: FakeStore, mirrors: Mirrors
) -> None:
    store.current = [resource("a", 1), resource("b", 2)]
    before = await mirrors.heads("dev")
    store.current = [resource("c", 1)]
    after = await mirrors.refresh("dev")
    assert after is not before
    assert [item.key.resource_id for item in after.snapshot()] == ["c"]
    assert mirrors.changes.newest("dev") == 1


async def test_stale_heads_are_not_shown_while_the_database_is_away(
    store: FakeStore, mirrors: Mirrors
) -> None:
    await mirrors.heads("dev")
    store.away = True
    assert (await mirrors.heads("dev")).revision == 0
    mirrors._confirmed["dev"] -= 2.1
    with pytest.raises(DatabaseUnavailableError):
        await mirrors.heads("dev")


async def test_poll_outlives_a_database_that_is_away(store: FakeStore, mirrors: Mirrors) -> None:
    store.away = True
    poll = RevisionPoll(mirrors, interval=timedelta(milliseconds=5))
    await poll.start()
    assert not await mirrors.changes.wait("dev", beyond=0, timeout_s=0.05)
    store.current, store.away = [resource("a", 3)], False
    assert await mirrors.changes.wait("dev", beyond=2, timeout_s=10)
    assert mirrors.known("dev").revision == 3
    await poll.stop()
    assert mirrors.changes.closed
