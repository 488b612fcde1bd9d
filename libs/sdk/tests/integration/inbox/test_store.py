"""One behaviour for every store of the consumer inbox: in memory and in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from contracts.envelope import Envelope
from contracts.names import Header
from devstack.infrastructure.endpoints import PostgresEndpoint
from runtime.migrations import MigrationError
from sdk.inbox import MemoryInboxStore, PostgresInboxStore, Refusal, install
from sdk.inbox.arrivals import Admission, Arrival, Gap
from sdk.inbox.records import Record

NAMESPACE, GROUP = "dev", "reports"
SOURCE = "backbone/ledger"
TOPIC = "dev.backbone.task-events"


@dataclass
class Subject:
    """A store, how a handler writes with its transactions, and how what is written is read."""

    store: Any
    write: Callable[[Any, str], Awaitable[None]]
    written: Callable[[], Awaitable[list[str]]]
    age: Callable[[timedelta], Awaitable[None]]
    somebody_waits: Callable[[], Awaitable[bool]]

    async def take_turns(self, second: "asyncio.Task[Any]") -> None:
        """Return once `second` waits for the transaction that is open; fail when it does not."""
        async with asyncio.timeout(30):
            while not await self.somebody_waits():
                assert not second.done()
                await asyncio.sleep(0.01)

    def transaction(self, *, namespace: str = NAMESPACE, group: str = GROUP) -> Any:
        return self.store.transaction(namespace, group)

    async def admit(self, arrival: Arrival, *, gapless: bool = False, **owner: str) -> Admission:
        async with self.transaction(**owner) as transaction:
            admission: Admission = await transaction.admit(arrival, gapless=gapless)
        return admission

    async def let_wait(self, early: Arrival, **owner: str) -> bool:
        """Admit an early event and put it aside, as one transaction does."""
        async with self.transaction(**owner) as transaction:
            assert await transaction.admit(early, gapless=True) is Admission.EARLY
            put: bool = await transaction.put_aside(early, record_of(early))
        return put

    async def take_next(
        self, stream: str = "run:1", *, topics: Collection[str] = (TOPIC,), **owner: str
    ) -> str | None:
        """Take the next event that waits; return its body."""
        async with self.transaction(**owner) as transaction:
            taken: Record | None = await transaction.take_next(SOURCE, stream, topics)
        return None if taken is None else (taken.value or b"").decode()

    async def next_waits(self, stream: str = "run:1") -> bool:
        async with self.transaction() as transaction:
            waits: bool = await transaction.next_waits(SOURCE, stream)
        return waits


@pytest.fixture
def memory() -> Subject:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    store = MemoryInboxStore(clock=lambda: now[0])

    async def write(effects: dict[str, Any], text: str) -> None:
        effects.setdefault("notes", []).append(text)

    async def written() -> list[str]:
        return list(store.effects.get("notes", []))

    async def age(by: timedelta) -> None:
        now[0] += by

    async def somebody_waits() -> bool:
        return bool(store._turn._waiters)

    return Subject(store, write, written, age, somebody_waits)


@pytest.fixture
async def postgres(postgres_dsn: str) -> AsyncIterator[Subject]:
    install(postgres_dsn, schema="reports_inbox")
    store = await PostgresInboxStore.connect(
        postgres_dsn, application="tests", schema="reports_inbox", search_path="public"
    )
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("CREATE TABLE notes (n bigserial, note text)")

    async def write(effects: Any, text: str) -> None:
        await effects.execute("INSERT INTO notes (note) VALUES ($1)", text)

    async def written() -> list[str]:
        return [row["note"] for row in await connection.fetch("SELECT note FROM notes ORDER BY n")]

    async def age(by: timedelta) -> None:
        await connection.execute(
            "UPDATE reports_inbox.inbox_events SET seen_at = seen_at - $1::interval", by
        )

    async def somebody_waits() -> bool:
        waits: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock')"
        )
        return waits

    yield Subject(store, write, written, age, somebody_waits)
    await connection.close()
    await store.close()


@pytest.fixture(params=["memory", "postgres"])
def subject(request: pytest.FixtureRequest) -> Subject:
    subject: Subject = request.getfixturevalue(request.param)
    return subject


def arrival(
    event_id: str,
    *,
    version: int | None = None,
    stream: str = "run:1",
    topic: str = TOPIC,
    source: str = SOURCE,
    body: bytes = b"as published",
    republish_id: str | None = None,
) -> Arrival:
    event = Envelope.model_validate(
        {
            "event_id": event_id,
            "type": "backbone.TaskCreated",
            "source": source,
            "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
            "payload": {},
        }
    )
    digest = body.ljust(32)[:32]
    return Arrival(topic, event, digest, None if version is None else stream, version, republish_id)


def record_of(early: Arrival) -> Record:
    assert early.stream is not None
    headers = (
        (Header.STREAM.value, early.stream.encode()),
        (Header.STREAM_VERSION.value, str(early.version).encode()),
    )
    return Record(early.topic, 3, 40 + (early.version or 0), early.event.event_id.encode(), headers)


def refusal(offset: int, body: bytes = b"{") -> Refusal:
    return Refusal(
        topic="dev.events",
        partition=0,
        offset=offset,
        reason="malformed_json",
        detail="not JSON",
        body=body,
    )


async def test_event_is_new_once(subject: Subject) -> None:
    assert await subject.admit(arrival("e1")) is Admission.NEW
    assert await subject.admit(arrival("e1")) is Admission.DUPLICATE
    assert await subject.admit(arrival("e2")) is Admission.NEW


async def test_source_is_part_of_an_events_identity(subject: Subject) -> None:
    assert await subject.admit(arrival("e1")) is Admission.NEW
    assert await subject.admit(arrival("e1", source="backbone/registry")) is Admission.NEW


async def test_groups_and_namespaces_know_nothing_of_one_another(subject: Subject) -> None:
    assert await subject.admit(arrival("e1", version=1)) is Admission.NEW
    assert await subject.admit(arrival("e1", version=1), group="other") is Admission.NEW
    assert await subject.admit(arrival("e1", version=1), namespace="stage") is Admission.NEW


async def test_same_id_with_other_bytes_is_a_conflict(subject: Subject) -> None:
    await subject.admit(arrival("e1"))
    assert await subject.admit(arrival("e1", body=b"other")) is Admission.CONFLICT


async def test_same_event_on_another_topic_is_a_duplicate(subject: Subject) -> None:
    await subject.admit(arrival("e1", version=1))
    assert await subject.admit(arrival("e1", version=1, topic="mirror")) is Admission.DUPLICATE


async def test_versions_of_a_stream_may_leave_gaps(subject: Subject) -> None:
    for version in (2, 3, 7):
        assert await subject.admit(arrival(f"e{version}", version=version)) is Admission.NEW


async def test_unseen_event_behind_its_stream_is_out_of_order_and_then_known(
    subject: Subject,
) -> None:
    await subject.admit(arrival("e2", version=2))
    assert await subject.admit(arrival("e1", version=1)) is Admission.OUT_OF_ORDER
    assert await subject.admit(arrival("e1", version=1)) is Admission.DUPLICATE
    assert await subject.admit(arrival("other", version=2)) is Admission.OUT_OF_ORDER


async def test_topics_of_one_stream_may_be_read_in_any_order(subject: Subject) -> None:
    assert await subject.admit(arrival("e3", version=3, topic="run-events")) is Admission.NEW
    assert await subject.admit(arrival("e2", version=2, topic="task-events")) is Admission.NEW


async def test_streams_have_versions_of_their_own(subject: Subject) -> None:
    await subject.admit(arrival("e1", version=5, stream="run:1"))
    assert await subject.admit(arrival("e2", version=1, stream="run:2")) is Admission.NEW
    of_registry = arrival("e3", version=1, stream="run:1", source="backbone/registry")
    assert await subject.admit(of_registry) is Admission.NEW


async def test_what_is_undone_was_never_seen(subject: Subject) -> None:
    with pytest.raises(KeyError):
        async with subject.transaction() as transaction:
            await transaction.admit(arrival("e5", version=5), gapless=False)
            await subject.write(transaction.effects, "five")
            await transaction.refuse(refusal(1))
            raise KeyError
    assert await subject.written() == []
    assert await subject.store.refusals(NAMESPACE, GROUP, limit=10) == []
    assert await subject.admit(arrival("e4", version=4)) is Admission.NEW
    assert await subject.admit(arrival("e5", version=5)) is Admission.NEW


async def test_savepoint_undoes_effects_and_nothing_else(subject: Subject) -> None:
    async with subject.transaction() as transaction:
        await transaction.admit(arrival("e1", version=1), gapless=False)
        await subject.write(transaction.effects, "before")
        with pytest.raises(KeyError):
            async with transaction.savepoint():
                await subject.write(transaction.effects, "undone")
                raise KeyError
        async with transaction.savepoint():
            await subject.write(transaction.effects, "after")
    assert await subject.written() == ["before", "after"]
    assert await subject.admit(arrival("e1", version=1)) is Admission.DUPLICATE


async def test_two_that_admit_the_same_event_at_once_take_turns(subject: Subject) -> None:
    async with subject.transaction() as transaction:
        assert await transaction.admit(arrival("e1", version=1), gapless=False) is Admission.NEW
        other = asyncio.create_task(subject.admit(arrival("e1", version=1)))
        await subject.take_turns(other)
    assert await other is Admission.DUPLICATE


async def test_event_admitted_by_one_that_fails_is_new_to_the_one_that_waited(
    subject: Subject,
) -> None:
    with pytest.raises(KeyError):
        async with subject.transaction() as transaction:
            await transaction.admit(arrival("e1", version=1), gapless=False)
            other = asyncio.create_task(subject.admit(arrival("e1", version=1)))
            await subject.take_turns(other)
            raise KeyError
    assert await other is Admission.NEW


async def test_forgotten_event_of_a_stream_is_still_a_duplicate(subject: Subject) -> None:
    for version in (1, 2, 4):
        await subject.admit(arrival(f"e{version}", version=version))
    await subject.age(timedelta(days=2))
    await subject.admit(arrival("e6", version=6))

    assert await subject.store.forget(NAMESPACE, GROUP, older_than=timedelta(days=1)) == 3

    assert await subject.admit(arrival("e2", version=2)) is Admission.DUPLICATE
    assert await subject.admit(arrival("e4", version=4)) is Admission.DUPLICATE
    assert await subject.admit(arrival("e6", version=6)) is Admission.DUPLICATE
    assert await subject.admit(arrival("e5", version=5)) is Admission.OUT_OF_ORDER
    assert await subject.admit(arrival("e7", version=7)) is Admission.NEW


async def test_forgotten_event_without_a_stream_is_new_again(subject: Subject) -> None:
    await subject.admit(arrival("e1"))
    await subject.age(timedelta(days=2))
    await subject.store.forget(NAMESPACE, GROUP, older_than=timedelta(days=1))
    assert await subject.admit(arrival("e1")) is Admission.NEW


async def test_forgetting_is_each_groups_own(subject: Subject) -> None:
    await subject.admit(arrival("e1"), group="other")
    await subject.age(timedelta(days=2))
    assert await subject.store.forget(NAMESPACE, GROUP, older_than=timedelta(days=1)) == 0
    assert await subject.admit(arrival("e1"), group="other") is Admission.DUPLICATE


async def test_gapless_stream_grows_by_one_whatever_the_topic(subject: Subject) -> None:
    for version in (1, 2, 3):
        one = arrival(f"e{version}", version=version, topic=f"topic-{version % 2}")
        assert await subject.admit(one, gapless=True) is Admission.NEW
    again = arrival("e2", version=2, topic="topic-0")
    assert await subject.admit(again, gapless=True) is Admission.DUPLICATE
    other = arrival("other", version=3)
    assert await subject.admit(other, gapless=True) is Admission.OUT_OF_ORDER
    assert await subject.admit(arrival("no-stream"), gapless=True) is Admission.NEW


async def test_early_event_waits_for_its_turn_and_is_known_meanwhile(subject: Subject) -> None:
    assert await subject.let_wait(arrival("e3", version=3))
    assert await subject.let_wait(arrival("e2", version=2))
    assert await subject.admit(arrival("e3", version=3), gapless=True) is Admission.DUPLICATE
    assert await subject.take_next() is None
    assert not await subject.next_waits()

    assert await subject.admit(arrival("e1", version=1), gapless=True) is Admission.NEW
    assert await subject.next_waits()
    assert [await subject.take_next() for _ in range(3)] == ["e2", "e3", None]
    assert not await subject.next_waits()
    assert await subject.admit(arrival("e4", version=4), gapless=True) is Admission.NEW


async def test_what_waits_comes_back_as_it_came(subject: Subject) -> None:
    early = arrival("e2", version=2)
    await subject.let_wait(early)
    await subject.admit(arrival("e1", version=1), gapless=True)
    async with subject.transaction() as transaction:
        assert await transaction.take_next(SOURCE, "run:1", [TOPIC]) == record_of(early)


async def test_event_is_taken_only_by_who_reads_its_topic(subject: Subject) -> None:
    await subject.let_wait(arrival("e2", version=2))
    await subject.admit(arrival("e1", version=1), gapless=True)
    assert await subject.take_next(topics=["another"]) is None
    assert await subject.store.ready(NAMESPACE, GROUP, ["another"]) == []
    assert await subject.store.ready(NAMESPACE, GROUP, ["another", TOPIC]) == [(SOURCE, "run:1")]
    assert await subject.take_next(topics=["another", TOPIC]) == "e2"


async def test_taking_that_is_undone_leaves_the_event_waiting(subject: Subject) -> None:
    await subject.let_wait(arrival("e2", version=2))
    await subject.admit(arrival("e1", version=1), gapless=True)
    with pytest.raises(KeyError):
        async with subject.transaction() as transaction:
            await transaction.take_next(SOURCE, "run:1", [TOPIC])
            raise KeyError
    assert await subject.take_next() == "e2"


async def test_two_that_take_from_one_stream_take_turns(subject: Subject) -> None:
    for version in (2, 3):
        await subject.let_wait(arrival(f"e{version}", version=version))
    await subject.admit(arrival("e1", version=1), gapless=True)
    async with subject.transaction() as transaction:
        assert await transaction.take_next(SOURCE, "run:1", [TOPIC]) is not None
        other = asyncio.create_task(subject.take_next())
        await subject.take_turns(other)
    assert await other == "e3"


async def test_event_whose_predecessor_is_at_work_waits_for_its_end_and_is_next(
    subject: Subject,
) -> None:
    await subject.admit(arrival("e1", version=1), gapless=True)
    async with subject.transaction() as transaction:
        assert await transaction.admit(arrival("e2", version=2), gapless=True) is Admission.NEW
        other = asyncio.create_task(subject.admit(arrival("e3", version=3), gapless=True))
        await subject.take_turns(other)
    assert await other is Admission.NEW


async def test_place_in_a_stream_is_given_once(subject: Subject) -> None:
    assert await subject.let_wait(arrival("e2", version=2))
    assert not await subject.let_wait(arrival("another", version=2))


async def test_gap_is_there_until_what_is_missing_comes(subject: Subject) -> None:
    for version in (1, 2):
        await subject.admit(arrival(f"e{version}", version=version), gapless=True)
    for version in (6, 5):
        await subject.let_wait(arrival(f"e{version}", version=version))
    (gap,) = await subject.store.gaps(NAMESPACE, GROUP, limit=10)
    assert gap == Gap(SOURCE, "run:1", after=2, before=5, waiting=2, since=gap.since)
    assert await subject.store.gaps(NAMESPACE, "other", limit=10) == []
    assert await subject.store.gaps(NAMESPACE, GROUP, limit=0) == []

    for version in (3, 4):
        await subject.admit(arrival(f"e{version}", version=version), gapless=True)
    assert await subject.store.gaps(NAMESPACE, GROUP, limit=10) == []
    assert [await subject.take_next() for _ in range(3)] == ["e5", "e6", None]


async def test_skipping_a_gap_gives_what_waits_its_turn(subject: Subject) -> None:
    await subject.let_wait(arrival("e3", version=3))
    await subject.let_wait(arrival("e5", version=5))
    (gap,) = await subject.store.gaps(NAMESPACE, GROUP, limit=10)
    assert (gap.after, gap.before) == (0, 3)
    assert await subject.store.ready(NAMESPACE, GROUP, [TOPIC]) == []

    assert await subject.store.skip(NAMESPACE, GROUP, gap)

    assert await subject.store.ready(NAMESPACE, GROUP, [TOPIC]) == [(SOURCE, "run:1")]
    assert [await subject.take_next() for _ in range(2)] == ["e3", None]
    (gap,) = await subject.store.gaps(NAMESPACE, GROUP, limit=10)
    assert (gap.after, gap.before) == (3, 5)
    late = arrival("e1", version=1)
    assert await subject.admit(late, gapless=True) is Admission.OUT_OF_ORDER


async def test_gap_that_has_changed_is_not_skipped(subject: Subject) -> None:
    await subject.let_wait(arrival("e5", version=5))
    (gap,) = await subject.store.gaps(NAMESPACE, GROUP, limit=10)
    await subject.let_wait(arrival("e3", version=3))
    assert not await subject.store.skip(NAMESPACE, GROUP, gap)
    await subject.admit(arrival("e1", version=1), gapless=True)
    (gap,) = await subject.store.gaps(NAMESPACE, GROUP, limit=10)
    await subject.admit(arrival("e2", version=2), gapless=True)
    assert not await subject.store.skip(NAMESPACE, GROUP, gap)
    assert await subject.take_next() == "e3"


async def test_event_that_waits_is_not_forgotten(subject: Subject) -> None:
    await subject.admit(arrival("e1", version=1), gapless=True)
    await subject.let_wait(arrival("e3", version=3))
    await subject.age(timedelta(days=2))

    assert await subject.store.forget(NAMESPACE, GROUP, older_than=timedelta(days=1)) == 1

    assert await subject.admit(arrival("e3", version=3), gapless=True) is Admission.DUPLICATE
    assert await subject.admit(arrival("e1", version=1), gapless=True) is Admission.DUPLICATE
    assert await subject.admit(arrival("e2", version=2), gapless=True) is Admission.NEW
    assert await subject.take_next() == "e3"


async def test_copy_that_was_republished_is_new_once_for_each_request(subject: Subject) -> None:
    await subject.admit(arrival("e1", version=1))
    await subject.admit(arrival("e2", version=2))

    async def admit_copy(republish_id: str) -> Admission:
        copied = arrival("e1", version=1, republish_id=republish_id)
        assert await subject.admit(copied) is Admission.DUPLICATE
        async with subject.transaction() as transaction:
            admission: Admission = await transaction.admit_copy(copied)
        return admission

    assert await admit_copy("first") is Admission.NEW
    assert await admit_copy("first") is Admission.DUPLICATE
    assert await admit_copy("second") is Admission.NEW
    assert await subject.admit(arrival("e3", version=3)) is Admission.NEW


async def test_copy_of_an_event_that_waits_is_a_duplicate(subject: Subject) -> None:
    await subject.let_wait(arrival("e2", version=2))
    async with subject.transaction() as transaction:
        copied = arrival("e2", version=2, republish_id="first")
        assert await transaction.admit_copy(copied) is Admission.DUPLICATE


async def test_refused_records_are_kept_once_and_listed_newest_first(subject: Subject) -> None:
    of_an_event = Refusal("t", 1, 7, "permanent_error", "no such invoice", b"{}", "tests", "e1")
    for refused in (refusal(1), of_an_event, refusal(1), refusal(1, body=b"a topic made anew")):
        async with subject.transaction() as transaction:
            await transaction.refuse(refused)

    expected = [refusal(1, body=b"a topic made anew"), of_an_event, refusal(1)]
    assert await subject.store.refusals(NAMESPACE, GROUP, limit=10) == expected
    assert await subject.store.refusals(NAMESPACE, GROUP, limit=1) == expected[:1]
    assert await subject.store.refusals(NAMESPACE, "other", limit=10) == []


async def test_longest_names_that_are_let_in_fit_into_the_keys(postgres: Subject) -> None:
    wide = "\N{PILE OF POO}"
    longest = arrival(
        wide * 256,
        version=1,
        source=wide * 255 + "x",
        stream=wide * 128,
        topic="t" * 249,
        republish_id="r" * 128,
    )
    assert await postgres.admit(longest, group="g" * 249) is Admission.NEW
    assert await postgres.admit(longest, group="g" * 249) is Admission.DUPLICATE
    async with postgres.transaction(group="g" * 249) as transaction:
        assert await transaction.admit_copy(longest) is Admission.NEW


async def test_detail_with_a_nul_is_kept(postgres: Subject) -> None:
    async with postgres.transaction() as transaction:
        await transaction.refuse(Refusal("t", 0, 1, "permanent_error", "a\x00b", b""))
    (kept,) = await postgres.store.refusals(NAMESPACE, GROUP, limit=1)
    assert kept.detail == "a\N{REPLACEMENT CHARACTER}b"


async def test_installing_again_and_at_once_changes_nothing(postgres_dsn: str) -> None:
    results = await asyncio.gather(
        *(asyncio.to_thread(install, postgres_dsn, schema="at_once") for _ in range(3))
    )
    assert sorted(len(applied) for applied in results) == [0, 0, 2]
    assert install(postgres_dsn, schema="at_once") == []


async def test_owner_of_a_schema_needs_no_right_to_make_one(database: PostgresEndpoint) -> None:
    assert install(database.dsn("ledger_owner"), schema="ledger") == [
        "0001_pre_inbox",
        "0002_pre_waiting",
    ]
    with pytest.raises(MigrationError, match="permission denied"):
        install(database.dsn("ledger_owner"), schema="another")


@pytest.mark.parametrize("name", ["", "Inbox", 'in"box', "a.b", "x" * 64])
def test_schema_has_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a schema's name"):
        install("postgresql://nowhere.invalid/x", schema=name)
