"""Watching: a snapshot, then every change, on whichever replica and however slowly."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from contracts.resources import ResourceKind, ResourceState
from registry.domain.planning import Prune
from registry.domain.resources import Resource
from registry.errors import InvalidRequestError, NamespaceNotServedError
from registry.service.outcomes import Bookmark, SnapshotStart
from runtime.errors import DatabaseUnavailableError
from runtime.postgres import Postgres

DEFINITION = ResourceKind.ACTIVITY_DEFINITION
WHO = {"actor": "bob", "reason": "because"}


async def collect(registry: Any, count: int, **options: Any) -> list[Any]:
    """Return the first things that a watch tells."""
    told: list[Any] = []
    async with asyncio.timeout(20):
        async for item in registry.service.watch("dev", **options):
            told.append(item)
            if len(told) == count:
                return named(told)
    return named(told)


def named(told: list[Any]) -> list[Any]:
    return [
        f"{item.key.resource_id}@{item.version}" if isinstance(item, Resource) else item
        for item in told
    ]


async def test_watch_begins_with_a_snapshot_and_a_bookmark(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document("a"))
    await registry.apply(document("b"))
    await registry.apply(document("a", description="new"))
    told = await collect(registry, 4)
    assert told == [SnapshotStart(), "b@1", "a@2", Bookmark(3)]


async def test_watch_of_nothing_says_so_and_shows_signs_of_life(registry: Any) -> None:
    told = await collect(registry, 4)
    assert told == [SnapshotStart(), Bookmark(0), Bookmark(0), Bookmark(0)]


async def test_snapshot_lacks_the_retired_whose_retirement_is_told_later(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document("a"), document("b"))
    await registry.service.retire("dev", DEFINITION, "a", **WHO)
    watch = registry.service.watch("dev")
    assert named([await anext(watch) for _ in range(3)]) == [SnapshotStart(), "b@1", Bookmark(3)]
    await registry.apply(document("a"), namespace="dev", prune=Prune())
    restored, pruned = await anext(watch), await anext(watch)
    assert (restored.key.resource_id, restored.state) == ("a", ResourceState.ACTIVE)
    assert (pruned.key.resource_id, pruned.state) == ("b", ResourceState.RETIRED)
    assert pruned.content == b""
    await watch.aclose()
    # Who resumes from before it is told of it too.
    resumed = registry.service.watch("dev", after_revision=2)
    assert [(await anext(resumed)).revision for _ in range(2)] == [4, 5]
    await resumed.aclose()


async def test_watch_resumes_after_a_revision(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(*(document(name) for name in "abc"))
    assert await collect(registry, 2, after_revision=2) == ["c@1", Bookmark(3)]
    assert await collect(registry, 1, after_revision=3) == [Bookmark(3)]


async def test_watch_from_a_revision_that_never_was_starts_afresh(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document("a"))
    told = await collect(registry, 3, after_revision=9)
    assert told == [SnapshotStart(), "a@1", Bookmark(1)]
    with pytest.raises(InvalidRequestError):
        await collect(registry, 1, after_revision=-1)
    with pytest.raises(NamespaceNotServedError):
        await anext(registry.service.watch("prod"))


async def test_watch_resumes_on_a_replica_that_is_behind(
    registry: Any, replica: Callable[..., Any], document: Callable[..., bytes]
) -> None:
    other = replica()
    assert (await other.service.list("dev", DEFINITION)).resources == []
    await registry.apply(document("a"), document("b"))
    assert await collect(other, 2, after_revision=1) == ["b@1", Bookmark(2)]


async def test_watch_of_one_kind_skips_the_others_and_bookmarks_past_them(
    registry: Any, document: Callable[..., bytes], event_type: Any, producer: Any
) -> None:
    await registry.apply(document("a"), event_type(), producer())
    options: dict[str, Any] = {"kinds": [ResourceKind.PRODUCER]}
    told = await collect(registry, 3, **options)
    assert told == [SnapshotStart(), "billing-service@1", Bookmark(3)]
    watch = registry.service.watch("dev", after_revision=3, **options)
    assert await anext(watch) == Bookmark(3)
    await registry.apply(document("a", description="x"))
    while (item := await anext(watch)) == Bookmark(3):
        pass
    assert item == Bookmark(4)
    await watch.aclose()


async def test_every_watcher_is_told_every_change_in_order(
    registry: Any, document: Callable[..., bytes]
) -> None:
    async def follow() -> list[int]:
        seen = []
        async for item in registry.service.watch("dev"):
            if isinstance(item, Resource):
                seen.append(item.revision)
                if item.key.resource_id == "last":
                    break
        return seen

    watchers = [asyncio.create_task(follow()) for _ in range(20)]
    for number in range(10):
        await registry.apply(document(f"d{number}"))
    await registry.apply(document("last"))
    async with asyncio.timeout(20):
        for seen in await asyncio.gather(*watchers):
            assert seen == list(range(1, 12))


async def test_slow_watcher_is_told_the_latest_of_what_it_missed(
    registry: Any, document: Callable[..., bytes]
) -> None:
    watch = registry.service.watch("dev")
    assert [await anext(watch), await anext(watch)] == [SnapshotStart(), Bookmark(0)]
    for number in range(20):
        await registry.apply(document("a", description=f"t{number}"))
    assert named([await anext(watch), await anext(watch)]) == ["a@20", Bookmark(20)]
    await watch.aclose()


async def test_change_during_a_snapshot_is_told_after_it(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document("a"), document("b"), document("c"))
    watch = registry.service.watch("dev")
    told = [await anext(watch), await anext(watch)]
    await registry.apply(document("b", description="x"))
    await registry.service.retire("dev", DEFINITION, "a", **WHO)
    told += [await anext(watch) for _ in range(5)]
    assert named(told) == [SnapshotStart(), "a@1", "b@1", "c@1", "b@2", "a@1", Bookmark(5)]
    assert [item.state for item in told[1:6]] == ["active"] * 4 + ["retired"]
    await watch.aclose()


async def test_watches_end_when_the_registry_stops(registry: Any) -> None:
    watcher = asyncio.create_task(collect(registry, 1_000_000))
    await asyncio.sleep(0)
    await registry.poll.stop()
    async with asyncio.timeout(10):
        assert (await watcher)[:1] in ([], [SnapshotStart()])


async def test_change_through_one_replica_is_told_by_another_within_a_second(
    replica: Callable[..., Any], document: Callable[..., bytes]
) -> None:
    here, there = replica(poll_every=0.5), replica()
    await here.poll.start()
    watch = here.service.watch("dev")
    assert [await anext(watch), await anext(watch)] == [SnapshotStart(), Bookmark(0)]
    await there.apply(document(), reason="elsewhere")
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not isinstance(item := await anext(watch), Resource):
        pass
    assert item.latest.reason == "elsewhere"
    assert loop.time() - started < 1.0
    await watch.aclose()


async def test_many_watchers_cost_one_read_of_a_change(
    replica: Callable[..., Any], document: Callable[..., bytes], until: Any
) -> None:
    here, there = replica(bookmark_interval=timedelta(minutes=1)), replica()
    reads = 0
    changed = here.store.changed

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal reads
        reads += 1
        return await changed(*arguments, **options)

    here.store.changed = counted
    told = 0

    async def follow() -> None:
        nonlocal told
        async for item in here.service.watch("dev"):
            told += isinstance(item, Resource)

    watchers = [asyncio.create_task(follow()) for _ in range(20)]
    await here.poll.start()
    await there.apply(document("a"))
    await until(lambda: told == 20, "all were told")
    # Its own change it need not read at all.
    await here.apply(document("b"))
    await until(lambda: told == 40, "all were told again")
    assert reads == 1
    await here.poll.stop()
    await asyncio.gather(*watchers)


async def test_database_that_lost_revisions_makes_watches_start_afresh(
    registry: Any, document: Callable[..., bytes], postgres: Postgres
) -> None:
    await registry.apply(document("a"), document("b"))
    watch = registry.service.watch("dev")
    for _ in range(4):
        await anext(watch)
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "TRUNCATE resources, resource_versions, resource_changes, revisions, stream_heads"
        )
    await registry.poll.start()
    while (item := await anext(watch)) != SnapshotStart():
        assert item == Bookmark(2)
    assert await anext(watch) == Bookmark(0)
    await registry.apply(document("c"))
    while not isinstance(item := await anext(watch), Resource):
        pass
    assert (item.key.resource_id, item.revision) == ("c", 1)
    await watch.aclose()


async def test_without_the_database_no_sign_of_life_is_given(
    replica: Callable[..., Any],
    document: Callable[..., bytes],
    until: Callable[..., Awaitable[None]],
) -> None:
    registry = replica()
    await registry.apply(document("a"))
    watch = registry.service.watch("dev")
    assert named([await anext(watch), await anext(watch)]) == [SnapshotStart(), "a@1"]

    async def away(namespace: str) -> int:
        raise DatabaseUnavailableError("away")

    registry.store.revision = away
    with pytest.raises(DatabaseUnavailableError):
        async with asyncio.timeout(20):
            async for item in watch:
                assert item == Bookmark(1)
