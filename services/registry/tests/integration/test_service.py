"""The use cases, on the store in memory and on PostgreSQL: one behaviour, two stores."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from contracts import canonical
from contracts.events import DefinitionApplied
from eventstore import store as eventstore
from registry import app
from registry.adapters.postgres_definitions import PostgresDefinitionStore
from registry.domain.versioning import DefinitionVersion
from registry.errors import (
    DefinitionNotFoundError,
    EtagMismatchError,
    InvalidDefinitionError,
    InvalidRequestError,
    NamespaceNotServedError,
    RequestIdReusedError,
)
from registry.ports import DefinitionStore
from registry.service.changes import Changes, RevisionPoll
from registry.service.definitions import Bookmark, DefinitionService, SnapshotStart
from runtime import migrations
from runtime.postgres import Postgres


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Any]:
    migrations.apply(postgres_dsn, schema=app.SCHEMA, sources=app.MIGRATIONS)
    pool = await Postgres.connect(postgres_dsn, application="test", schema=app.SCHEMA, size=8)
    yield pool
    await pool.close()


@pytest.fixture(params=["memory", "postgres"])
def store(request: Any) -> Any:
    if request.param == "memory":
        return request.getfixturevalue("memory_store")
    return PostgresDefinitionStore(request.getfixturevalue("postgres"))


@pytest.fixture
def changes() -> Any:
    return Changes()


@pytest.fixture
def service(store: DefinitionStore, changes: Changes) -> Any:
    return DefinitionService(
        store, changes, namespaces=["dev", "stage"], bookmark_interval=timedelta(seconds=0.2)
    )


@pytest.fixture
def apply(service: DefinitionService) -> Any:
    async def call(raw: bytes, **options: Any) -> Any:
        return await service.apply(raw, **{"actor": "ada", "reason": "first try", **options})

    return call


async def test_first_apply_stores_version_one_with_who_and_why(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    applied = await apply(document(), actor="local/ada", reason="  start  ")
    assert applied.changed
    version = applied.version
    assert (version.version, version.revision) == (1, 1)
    assert (version.applied_by, version.reason) == ("local/ada", "start")
    assert version.content_sha256 == canonical.digest(version.content)
    assert version.applied_at is not None
    assert version.applied_at.utcoffset() == timedelta(0)
    assert version.enabled
    assert await service.get("dev", "billing.overdue") == version


async def test_change_makes_a_new_version_and_keeps_the_old_one(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    first = (await apply(document())).version
    second = (await apply(document(description="new"))).version
    assert (second.version, second.revision) == (2, 2)
    assert second.etag != first.etag
    assert first.applied_at is not None
    assert second.applied_at is not None
    assert second.applied_at > first.applied_at
    assert await service.get("dev", "billing.overdue") == second
    assert await service.get("dev", "billing.overdue", 1) == first


async def test_content_that_is_active_changes_nothing_however_it_is_spelled(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    first = (await apply(document(every="1h"))).version
    again = await apply(document(every="60m"), reason="other words")
    assert not again.changed
    assert again.version == first
    assert await service.get("dev", "billing.overdue") == first


async def test_earlier_content_is_a_new_version(
    apply: Callable[..., Awaitable[Any]], document: Callable[..., bytes]
) -> None:
    first = (await apply(document())).version
    await apply(document(description="new"))
    back = await apply(document())
    assert back.changed
    assert back.version.version == 3
    assert back.version.content == first.content


async def test_etag_that_was_overtaken_is_refused(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    first = (await apply(document())).version
    second = (await apply(document(description="a"), etag=first.etag)).version
    with pytest.raises(EtagMismatchError, match="version 2 is active"):
        await apply(document(description="b"), etag=first.etag)
    with pytest.raises(EtagMismatchError, match="does not exist"):
        await apply(document("other"), etag=first.etag)
    assert await service.get("dev", "billing.overdue") == second


async def test_of_two_applies_on_one_etag_one_wins(
    apply: Callable[..., Awaitable[Any]], document: Callable[..., bytes]
) -> None:
    etag = (await apply(document())).version.etag
    outcomes = await asyncio.gather(
        *(apply(document(description=f"d{i}"), etag=etag) for i in range(6)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, EtagMismatchError) for outcome in outcomes) == 5


async def test_concurrent_applies_get_versions_and_revisions_without_gaps(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    await asyncio.gather(*(apply(document(f"d{i % 3}", description=f"t{i}")) for i in range(12)))
    heads = (await service.list("dev")).versions
    assert [head.version for head in heads] == [4, 4, 4]
    assert max(head.revision for head in heads) == 12


async def test_revisions_of_namespaces_are_their_own(
    apply: Callable[..., Awaitable[Any]], document: Callable[..., bytes]
) -> None:
    await apply(document())
    other = (await apply(document(namespace="stage"))).version
    assert (other.namespace, other.version, other.revision) == ("stage", 1, 1)


async def test_validate_only_says_what_would_be_and_stores_nothing(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    would = await apply(document(), validate_only=True)
    assert not would.changed
    assert (would.version.version, would.version.revision) == (1, 0)
    assert would.version.applied_at is None
    with pytest.raises(DefinitionNotFoundError):
        await service.get("dev", "billing.overdue")
    etag = (await apply(document())).version.etag
    assert (await apply(document(description="x"), validate_only=True)).version.version == 2
    with pytest.raises(EtagMismatchError):
        await apply(document(), etag=etag + "x", validate_only=True)


async def test_same_request_again_gets_the_first_answer(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    first = await apply(document(), request_id="r-1")
    second = await apply(document(description="new"), request_id="r-2")
    again = await apply(document(), request_id="r-1")
    assert again.changed
    assert again.version.version == first.version.version == 1
    assert again.version.content == first.version.content
    assert await service.get("dev", "billing.overdue") == second.version


async def test_request_id_of_another_request_is_refused(
    apply: Callable[..., Awaitable[Any]], document: Callable[..., bytes]
) -> None:
    await apply(document(), request_id="r-1")
    with pytest.raises(RequestIdReusedError):
        await apply(document(description="new"), request_id="r-1")
    with pytest.raises(RequestIdReusedError):
        await apply(document(), request_id="r-1", reason="another")


async def test_refused_apply_does_not_use_up_its_request_id(
    apply: Callable[..., Awaitable[Any]], document: Callable[..., bytes]
) -> None:
    with pytest.raises(EtagMismatchError):
        await apply(document(), etag="stale", request_id="r-1")
    assert (await apply(document(), request_id="r-1")).changed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reason": ""}, "a reason is required"),
        ({"reason": " \n "}, "a reason is required"),
        ({"reason": "x" * 501}, "longer than 500"),
        ({"reason": "a\x00b"}, "cannot be printed"),
        ({"request_id": "a b"}, "request_id is not usable"),
        ({"request_id": "x" * 129}, "request_id is not usable"),
        ({"request_id": "x\n"}, "request_id is not usable"),
    ],
)
async def test_unusable_requests_are_refused(
    apply: Callable[..., Awaitable[Any]], document: Callable[..., bytes], options: Any, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        await apply(document(), **options)


async def test_document_with_problems_stores_nothing(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    with pytest.raises(InvalidDefinitionError) as refusal:
        await apply(document().replace(b"owner", b"ownr"))
    assert {problem.path for problem in refusal.value.problems} == {
        "metadata.owner",
        "metadata.ownr",
    }
    assert (await service.list("dev")).versions == []


async def test_unknown_definitions_versions_and_namespaces_are_not_found(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    await apply(document())
    for definition_id, version in [("nobody", 0), ("billing.overdue", 2), ("\x00", 0), ("", 1)]:
        with pytest.raises(DefinitionNotFoundError):
            await service.get("dev", definition_id, version)
    with pytest.raises(NamespaceNotServedError, match="served: dev, stage"):
        await service.get("prod", "billing.overdue")
    with pytest.raises(InvalidRequestError):
        await service.get("dev", "billing.overdue", -1)


async def test_list_pages_through_active_definitions_by_id(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    ids = [f"d{i}" for i in range(7)]
    for definition_id in reversed(ids):
        await apply(document(definition_id))
    await apply(document("d3", description="new"))
    await apply(document("elsewhere", namespace="stage"))
    shown: list[DefinitionVersion] = []
    token, pages = "", 0
    while True:
        page = await service.list("dev", page_size=3, page_token=token)
        shown += page.versions
        pages += 1
        token = page.next_token
        if not token:
            break
    assert [version.definition_id for version in shown] == ids
    assert shown[3].version == 2
    assert pages == 3


async def test_list_ends_a_page_before_its_message_grows_too_large(
    apply: Callable[..., Awaitable[Any]],
    service: DefinitionService,
    document: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "registry.service.definitions.MAX_PAGE_BYTES", 2 * len(document("d0")) + 500
    )
    for i in range(5):
        await apply(document(f"d{i}"))
    first = await service.list("dev")
    assert len(first.versions) == 2
    second = await service.list("dev", page_token=first.next_token)
    assert [version.definition_id for version in second.versions] == ["d2", "d3"]


@pytest.mark.parametrize("token", ["%%%", "AA", "ZDE=x", "é"])
async def test_tokens_from_elsewhere_are_refused(service: DefinitionService, token: str) -> None:
    with pytest.raises(InvalidRequestError, match="page_token"):
        await service.list("dev", page_token=token)


async def collect(service: DefinitionService, count: int, **options: Any) -> Any:
    """Return what a watch tells first, without repeated signs of life."""
    told = []
    async with asyncio.timeout(10):
        async for change in service.watch("dev", **options):
            told.append(change)
            if len(told) == count:
                return told
    return told


def named(told: Any) -> Any:
    return [
        f"{item.definition_id}@{item.version}" if isinstance(item, DefinitionVersion) else item
        for item in told
    ]


async def test_watch_begins_with_a_snapshot_and_a_bookmark(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    await apply(document("a"))
    await apply(document("b"))
    await apply(document("a", description="new"))
    assert named(await collect(service, 4)) == [SnapshotStart(), "b@1", "a@2", Bookmark(3)]


async def test_watch_of_nothing_says_so(service: DefinitionService) -> None:
    assert await collect(service, 2) == [SnapshotStart(), Bookmark(0)]


async def test_watch_resumes_after_a_revision(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    for name in "abc":
        await apply(document(name))
    assert named(await collect(service, 2, after_revision=2)) == ["c@1", Bookmark(3)]
    assert await collect(service, 1, after_revision=3) == [Bookmark(3)]


async def test_watch_from_a_revision_that_never_was_starts_afresh(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    await apply(document("a"))
    assert named(await collect(service, 3, after_revision=9)) == [
        SnapshotStart(),
        "a@1",
        Bookmark(1),
    ]
    with pytest.raises(InvalidRequestError):
        await collect(service, 1, after_revision=-1)


async def test_every_watcher_is_told_every_change_in_order(
    apply: Callable[..., Awaitable[Any]],
    service: DefinitionService,
    changes: Changes,
    document: Callable[..., bytes],
) -> None:
    async def follow() -> Any:
        seen = []
        async for change in service.watch("dev"):
            if isinstance(change, DefinitionVersion):
                seen.append(change.revision)
                if change.definition_id == "last":
                    return seen
        return seen

    watchers = [asyncio.create_task(follow()) for _ in range(5)]
    for i in range(10):
        await apply(document(f"d{i}"))
    await apply(document("last"))
    async with asyncio.timeout(10):
        for seen in await asyncio.gather(*watchers):
            assert seen == list(range(1, 12))


async def test_slow_watcher_is_told_the_latest_of_what_it_missed(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    watch = service.watch("dev")
    assert await anext(watch) == SnapshotStart()
    for i in range(20):
        await apply(document("a", description=f"t{i}"))
    assert named([await anext(watch), await anext(watch)]) == ["a@20", Bookmark(20)]
    await watch.aclose()


async def test_watch_shows_signs_of_life(service: DefinitionService) -> None:
    told = await collect(service, 4)
    assert told == [SnapshotStart(), Bookmark(0), Bookmark(0), Bookmark(0)]


async def test_watches_end_when_news_end(service: DefinitionService, changes: Changes) -> None:
    async def follow() -> Any:
        return [change async for change in service.watch("dev")]

    watcher = asyncio.create_task(follow())
    await asyncio.sleep(0)
    changes.close()
    async with asyncio.timeout(5):
        assert (await watcher)[0] == SnapshotStart()


async def test_event_stands_with_its_version_and_the_projection_can_be_made_again(
    postgres: Postgres, document: Callable[..., bytes]
) -> None:
    store = PostgresDefinitionStore(postgres)
    service = DefinitionService(store, Changes(), namespaces=["dev"])
    for text in (None, "new"):
        await service.apply(document(description=text), actor="ada", reason="why")
    before = await service.list("dev")
    async with postgres.transaction("dev") as transaction:
        events = await store._events.read(
            transaction, eventstore.definition_stream("billing.overdue")
        )
        pending = await transaction.fetchval("SELECT count(*) FROM outbox_pending")
    assert pending == 2
    payloads = [DefinitionApplied.model_validate(event.payload.model_dump()) for event in events]
    assert [payload.version for payload in payloads] == [1, 2]
    assert [event.envelope.type for event in events] == ["backbone.DefinitionApplied"] * 2
    assert canonical.render(payloads[1].content) == before.versions[0].content
    assert payloads[1].actor == "ada"
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("DELETE FROM definitions")
        await transaction.execute("DELETE FROM definition_versions")
        assert await store._events.rebuild(transaction) == 2
    assert await service.list("dev") == before
    assert (await service.get("dev", "billing.overdue", 1)).reason == "why"


async def test_failed_apply_leaves_neither_event_nor_revision(
    postgres: Postgres, document: Callable[..., bytes]
) -> None:
    store = PostgresDefinitionStore(postgres)
    service = DefinitionService(store, Changes(), namespaces=["dev"])

    async def fail(change: Any) -> None:
        applied = await service.apply(document("other"), actor="a", reason="r", validate_only=True)
        assert applied.version.version == 1
        raise RuntimeError("crash before commit")

    with pytest.raises(RuntimeError, match="crash before commit"):
        await store.change("dev", fail)
    assert await store.revision("dev") == 0
    async with postgres.transaction("dev") as transaction:
        assert await transaction.fetchval("SELECT count(*) FROM events") == 0


async def test_change_of_another_replica_is_seen_within_a_second(
    postgres: Postgres, document: Callable[..., bytes]
) -> None:
    here, there = PostgresDefinitionStore(postgres), PostgresDefinitionStore(postgres)
    changes = Changes()
    watcher = DefinitionService(here, changes, namespaces=["dev"])
    writer = DefinitionService(there, Changes(), namespaces=["dev"])
    poll = RevisionPoll(here, changes, namespaces=["dev"], interval=timedelta(milliseconds=500))
    await poll.start()
    watch = watcher.watch("dev")
    assert [await anext(watch), await anext(watch)] == [SnapshotStart(), Bookmark(0)]
    await writer.apply(document(), actor="ada", reason="elsewhere")
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not isinstance(change := await anext(watch), DefinitionVersion):
        pass
    assert change.reason == "elsewhere"
    assert loop.time() - started < 1.0
    await poll.stop()
    with pytest.raises(StopAsyncIteration):
        while True:
            await anext(watch)


async def test_revision_is_never_passed_over_by_a_late_commit(
    postgres: Postgres, document: Callable[..., bytes]
) -> None:
    """A slow writer holds the revision's lock: a faster one cannot become visible before it."""
    store = PostgresDefinitionStore(postgres)
    service = DefinitionService(store, Changes(), namespaces=["dev"])
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(change: Any) -> Any:
        entered.set()
        await leave.wait()
        return change.next_revision

    late = asyncio.create_task(store.change("dev", slow))
    await entered.wait()
    fast = asyncio.create_task(service.apply(document("fast"), actor="a", reason="r"))
    async with asyncio.timeout(10):
        # The fast one waits for the lock; PostgreSQL says so.
        while True:
            async with postgres.transaction("dev") as transaction:
                waiting = await transaction.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted"
                )
            if waiting:
                break
            await asyncio.sleep(0.01)
    assert await store.revision("dev") == 0
    assert not fast.done()
    leave.set()
    assert await late == 1
    assert (await fast).version.revision == 1


async def test_content_reads_back_byte_for_byte(
    apply: Callable[..., Awaitable[Any]], service: DefinitionService, document: Callable[..., bytes]
) -> None:
    raw = json.loads(document())
    raw["spec"]["rules"][0]["task"] = {
        "type": "human",
        "title": "'ü'",
        "assignees": {"groups": ["g"]},
        "form": {"type": "object", "default": None, "x": [1.5, 1e300, -0.0, 2**53 + 1, "\u2028"]},
    }
    applied = await apply(json.dumps(raw).encode())
    stored = await service.get("dev", "billing.overdue")
    assert stored.content == applied.version.content
    assert json.loads(stored.content)["spec"]["rules"][0]["task"]["form"]["default"] is None
