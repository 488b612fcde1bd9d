"""Changes that come at once, come twice, or are cut off: one wins, once, or nothing is done."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from contracts.resources import ResourceKind, ResourceState
from registry.adapters import postgres_resources
from registry.domain.planning import Action, Prune
from registry.domain.validation import Source
from registry.errors import (
    EtagMismatchError,
    InvalidDocumentsError,
    LimitReachedError,
    RegistryError,
    RequestIdReusedError,
    ResourceInUseError,
)
from runtime.errors import DatabaseUnavailableError
from runtime.postgres import Postgres

DEFINITION = ResourceKind.ACTIVITY_DEFINITION
EVENT_TYPE = ResourceKind.EVENT_TYPE
PAID = "billing.payment.received"
WHO = {"actor": "bob", "reason": "because"}


TABLES = ("events", "outbox_pending", "resource_changes", "resource_versions", "requests")


@pytest.fixture
def counts(rows: Any) -> Callable[[], Awaitable[dict[str, int]]]:
    """Counts the rows of the tables that together hold what is stored of anything."""

    async def count() -> dict[str, int]:
        return {table: len(found) for table, found in (await rows(*TABLES)).items()}

    return count


@pytest.mark.parametrize("replicas", [1, 2])
async def test_of_concurrent_applies_on_one_etag_one_wins(
    replica: Callable[..., Any], document: Callable[..., bytes], replicas: int
) -> None:
    through = [replica() for _ in range(replicas)]
    etag = (await through[0].apply(document())).results[0].resource.etag
    outcomes = await asyncio.gather(
        *(
            through[number % replicas].apply(Source("", document(description=f"d{number}"), etag))
            for number in range(6)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, EtagMismatchError) for outcome in outcomes) == 5
    assert await through[0].store.revision("dev") == 2


async def test_concurrent_applies_get_versions_and_revisions_without_gaps(
    replica: Callable[..., Any], document: Callable[..., bytes]
) -> None:
    through = [replica(), replica()]
    await asyncio.gather(
        *(
            through[number % 2].apply(document(f"d{number % 3}", description=f"t{number}"))
            for number in range(12)
        )
    )
    for registry in through:
        await registry.mirrors.refresh("dev")
        heads = (await registry.service.list("dev", DEFINITION)).resources
        assert [head.version for head in heads] == [4, 4, 4]
        assert max(head.revision for head in heads) == 12


async def test_what_another_replica_did_a_moment_ago_is_no_reason_to_refuse(
    replica: Callable[..., Any], document: Callable[..., bytes], event_type: Any
) -> None:
    here, there = replica(), replica()
    assert (await there.service.list("dev", EVENT_TYPE)).resources == []
    await here.apply(event_type())
    await there.apply(document(listens=PAID))
    etag = (await here.apply(document("x"))).results[0].resource.etag
    await there.service.disable("dev", "x", etag=etag, **WHO)


async def test_definition_and_the_retirement_of_its_event_type_never_both_succeed(
    replica: Callable[..., Any], document: Callable[..., bytes], event_type: Any
) -> None:
    here, there = replica(), replica()
    for number in range(8):
        name = f"type{number}"
        await here.apply(event_type(name))
        await there.mirrors.refresh("dev")
        outcomes = await asyncio.gather(
            here.service.retire("dev", EVENT_TYPE, name, **WHO),
            there.apply(document(f"d{number}", listens=name)),
            return_exceptions=True,
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [type(refusal) for refusal in refused] in (
            [ResourceInUseError],
            [InvalidDocumentsError],
        )


@pytest.fixture
def overtake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets another change be carried out after the next one of a replica was prepared."""

    def once(here: Any, change: Callable[[], Awaitable[Any]]) -> None:
        original = here.store.change

        async def late(namespace: str, work: Any) -> Any:
            monkeypatch.undo()
            await change()
            return await original(namespace, work)

        monkeypatch.setattr(here.store, "change", late)

    return once


async def test_pruning_sees_what_was_applied_while_it_was_planned(
    replica: Callable[..., Any], document: Callable[..., bytes], overtake: Any
) -> None:
    here, there = replica(), replica()
    await here.apply(document("a"))
    overtake(here, lambda: there.apply(document("b")))
    outcome = await here.apply(document("a"), namespace="dev", prune=Prune())
    assert [row.action for row in outcome.results] == [Action.UNCHANGED, Action.PRUNE]


async def test_limit_counts_what_was_applied_while_the_set_was_checked(
    replica: Callable[..., Any], document: Callable[..., bytes], overtake: Any
) -> None:
    here, there = replica(max_resources=1), replica()
    overtake(here, lambda: there.apply(document("a")))
    with pytest.raises(LimitReachedError):
        await here.apply(document("b"))


async def test_event_type_is_not_retired_under_a_definition_that_comes_meanwhile(
    replica: Callable[..., Any], document: Callable[..., bytes], event_type: Any, overtake: Any
) -> None:
    here, there = replica(), replica()
    await here.apply(event_type())
    overtake(here, lambda: there.apply(document(listens=PAID)))
    with pytest.raises(ResourceInUseError):
        await here.service.retire("dev", EVENT_TYPE, PAID, **WHO)


async def test_definition_is_not_stored_on_an_event_type_that_goes_meanwhile(
    replica: Callable[..., Any], document: Callable[..., bytes], event_type: Any, overtake: Any
) -> None:
    here, there = replica(), replica()
    await here.apply(event_type())
    overtake(here, lambda: there.service.retire("dev", EVENT_TYPE, PAID, **WHO))
    with pytest.raises(InvalidDocumentsError):
        await here.apply(document(listens=PAID))


async def test_definition_is_not_activated_on_an_event_type_that_goes_meanwhile(
    replica: Callable[..., Any], document: Callable[..., bytes], event_type: Any, overtake: Any
) -> None:
    here, there = replica(), replica()
    await here.apply(event_type(), document("a", listens=PAID))
    await here.apply(document("a"))
    overtake(here, lambda: there.service.retire("dev", EVENT_TYPE, PAID, **WHO))
    with pytest.raises(InvalidDocumentsError):
        await here.service.activate("dev", DEFINITION, "a", version=1, **WHO)


@pytest.mark.parametrize("by", ["apply", "activate"])
async def test_event_type_does_not_lose_what_a_definition_comes_to_need_meanwhile(
    *,
    replica: Callable[..., Any],
    document: Callable[..., bytes],
    event_type: Any,
    overtake: Any,
    by: str,
) -> None:
    here, there = replica(), replica()
    one = {1: {"type": "object", "properties": {"amount": {"type": "number"}}}}
    two = {**one, 2: {"type": "object", "properties": {"tax": {"type": "number"}}}}
    for schemas in (one, two):
        await here.apply(event_type(schemas=schemas, compatibility="none"))
    needs_two = document(listens=PAID, when="event.payload.tax > 1.0")
    overtake(here, lambda: there.apply(needs_two))
    with pytest.raises(InvalidDocumentsError, match="tax"):
        if by == "apply":
            await here.apply(event_type(schemas=one, compatibility="none"))
        else:
            await here.service.activate("dev", EVENT_TYPE, PAID, version=1, **WHO)


async def test_revision_is_never_passed_over_by_a_late_commit(
    registry: Any, postgres: Postgres, document: Callable[..., bytes], until: Any
) -> None:
    """A slow writer holds the revision's lock: a faster one cannot become visible before it."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(changes: Any) -> Any:
        entered.set()
        await leave.wait()
        return changes.revision

    late = asyncio.create_task(registry.store.change("dev", slow))
    await entered.wait()
    fast = asyncio.create_task(registry.apply(document("fast")))

    async def waits() -> bool:
        async with postgres.transaction("dev") as transaction:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            return bool(await transaction.fetchval(waiting))

    await until(waits, "the fast one waits for the lock")
    assert not fast.done()
    leave.set()
    assert await late == 0
    assert (await fast).revision == 1


async def test_times_rise_with_revisions_even_if_the_clock_is_set_back(
    registry: Any, postgres: Postgres, document: Callable[..., bytes]
) -> None:
    first = (await registry.apply(document("a"))).results[0].resource
    ahead = first.latest.at + timedelta(hours=1)
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("UPDATE revisions SET changed_at = $1", ahead)
    second = (await registry.apply(document("b"))).results[0].resource
    assert second.latest.at == ahead + timedelta(microseconds=1)


async def test_same_request_again_gets_the_first_answer(
    replica: Callable[..., Any], document: Callable[..., bytes], event_type: Any
) -> None:
    registry = replica()
    await registry.apply(document("a", every="1h"), document("b"))
    documents = [document("a", every="15m"), document("c"), event_type()]
    options: dict[str, Any] = {"namespace": "dev", "prune": Prune(), "request_id": "r-1"}
    first = await registry.apply(*documents, **options)
    await registry.apply(document("a", description="later"), document("b"))
    await registry.service.retire("dev", EVENT_TYPE, PAID, **WHO)
    for again in (
        await registry.apply(*documents, **options),
        await replica().apply(*documents, **options),
    ):
        assert (again.plan_sha256, again.revision) == (first.plan_sha256, first.revision)
        assert [(row.document, row.action) for row in again.results] == [
            (row.document, row.action) for row in first.results
        ]
        assert [row.resource for row in again.results] == [row.resource for row in first.results]
        assert [list(row.differences) for row in again.results] == [
            list(row.differences) for row in first.results
        ]
        assert [[s.trigger for s in row.schedules] for row in again.results] == [
            [s.trigger for s in row.schedules] for row in first.results
        ]


async def test_request_that_changed_nothing_is_answered_again_too(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document())
    first = await registry.apply(document(), request_id="r-1")
    await registry.apply(document(description="x"))
    again = await registry.apply(document(), request_id="r-1")
    assert [row.action for row in again.results] == [Action.UNCHANGED]
    assert again.results[0].resource == first.results[0].resource


async def test_lifecycle_requests_are_carried_out_once(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document())
    first = await registry.service.disable("dev", "billing.overdue", request_id="r-1", **WHO)
    await registry.service.enable("dev", "billing.overdue", request_id="r-2", **WHO)
    again = await registry.service.disable("dev", "billing.overdue", request_id="r-1", **WHO)
    assert (again.changed, again.resource) == (True, first.resource)
    current = await registry.service.get("dev", DEFINITION, "billing.overdue")
    assert current.state is ResourceState.ACTIVE
    with pytest.raises(RequestIdReusedError):
        await registry.service.enable("dev", "billing.overdue", request_id="r-1", **WHO)


async def test_concurrent_copies_of_a_request_are_carried_out_once(
    replica: Callable[..., Any], document: Callable[..., bytes]
) -> None:
    through = [replica(), replica()]
    outcomes = await asyncio.gather(
        *(through[number % 2].apply(document(), request_id="r-1") for number in range(6))
    )
    assert {outcome.revision for outcome in outcomes} == {1}
    assert {outcome.results[0].action for outcome in outcomes} == {Action.CREATE}


@pytest.mark.parametrize("replicas", [1, 2])
async def test_copy_of_a_request_is_not_refused_for_what_the_first_one_did(
    replica: Callable[..., Any], document: Callable[..., bytes], replicas: int
) -> None:
    through = [replica() for _ in range(replicas)]
    etag = (await through[0].apply(document())).results[0].resource.etag
    source = Source("", document(description="new"), etag)
    outcomes = await asyncio.gather(
        *(through[number % replicas].apply(source, request_id="r-1") for number in range(6))
    )
    assert {outcome.revision for outcome in outcomes} == {2}
    assert {outcome.results[0].action for outcome in outcomes} == {Action.UPDATE}


async def test_request_id_of_another_request_is_refused(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document(), request_id="r-1")
    for documents, options in (
        ([document(description="new")], {}),
        ([document()], {"reason": "another"}),
        ([document()], {"actor": "eve"}),
        ([document()], {"namespace": "dev", "prune": Prune()}),
    ):
        with pytest.raises(RequestIdReusedError):
            await registry.apply(*documents, request_id="r-1", **options)
    # Another namespace has request ids of its own.
    await registry.apply(document(namespace="stage"), request_id="r-1")


async def test_refused_apply_does_not_use_up_its_request_id(
    registry: Any, document: Callable[..., bytes]
) -> None:
    with pytest.raises(EtagMismatchError):
        await registry.apply(Source("", document(), "stale"), request_id="r-1")
    assert (await registry.apply(document(), request_id="r-1")).revision == 1


async def test_old_requests_are_forgotten_a_few_at_a_time(
    registry: Any, postgres: Postgres, counts: Any, document: Callable[..., bytes]
) -> None:
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "INSERT INTO requests (namespace, request_id, request_sha256, answer, recorded_at)"
            " SELECT 'dev', 'old-' || i, '', '{}', now() - $1::interval"
            " FROM generate_series(1, 25) AS i",
            postgres_resources.REQUESTS_KEPT,
        )
    for request_id, left in (("r-1", 6), ("r-2", 2)):
        await registry.apply(document(), request_id=request_id)
        assert (await counts())["requests"] == left


@pytest.mark.parametrize("after", [1, 3])
async def test_connection_that_is_cut_within_a_set_leaves_nothing_of_it(
    *,
    registry: Any,
    counts: Any,
    migrated_dsn: str,
    document: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    change = registry.store.change

    async def cut_off(namespace: str, work: Any) -> Any:
        async def cut(changes: Any) -> Any:
            apply, done = changes.apply, 0

            async def counted(*arguments: Any, **options: Any) -> Any:
                nonlocal done
                resource = await apply(*arguments, **options)
                done += 1
                if done == after:
                    await terminate(changes._transaction.connection.get_server_pid())
                return resource

            changes.apply = counted
            return await work(changes)

        return await change(namespace, cut)

    async def terminate(pid: int) -> None:
        connection = await asyncpg.connect(migrated_dsn)
        assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
        await connection.close()

    documents = [document(name) for name in "abc"]
    watch = registry.service.watch("dev")
    await anext(watch)
    monkeypatch.setattr(registry.store, "change", cut_off)
    with pytest.raises(DatabaseUnavailableError):
        await registry.apply(*documents, request_id="r-1")
    assert set((await counts()).values()) == {0}
    assert (await registry.service.list("dev", DEFINITION)).resources == []
    monkeypatch.undo()
    assert (await registry.apply(*documents, request_id="r-1")).revision == 3
    # Nobody was told of what did not happen.
    told = []
    while len(told) < 3:
        item = await anext(watch)
        told += [item.key.resource_id] if hasattr(item, "key") else []
    assert told == ["a", "b", "c"]
    await watch.aclose()


_DYING = """
import asyncio, json, sys
from registry.adapters.postgres_resources import PostgresResourceStore
from registry.domain.validation import Source
from registry.service.changes import Changes
from registry.service.mirror import Mirrors
from registry.service.resources import ResourceService
from runtime.postgres import Postgres

async def main():
    postgres = await Postgres.connect(sys.argv[1], application="dying", schema="registry")
    store = PostgresResourceStore(postgres)
    service = ResourceService(store, Mirrors(store, Changes(), namespaces=["dev"]))
    sources = [Source("", text.encode()) for text in json.load(sys.stdin)]
    await service.apply(sources, actor="ada", reason="why", request_id="r-1")
    await service.disable("dev", "a", actor="ada", reason="why", request_id="r-2")

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("fault_point", "changes"),
    [
        ("registry.before_change:1", 0),
        ("registry.after_change:1", 3),
        ("registry.before_change:2", 3),
        ("registry.after_change:2", 4),
    ],
)
async def test_process_that_is_killed_has_done_all_or_nothing(
    *,
    registry: Any,
    counts: Any,
    migrated_dsn: str,
    document: Callable[..., bytes],
    fault_point: str,
    changes: int,
) -> None:
    documents = [document(name) for name in "abc"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _DYING, migrated_dsn,
        stdin=asyncio.subprocess.PIPE,
        env={**os.environ, "BACKBONE_FAULTPOINT": fault_point},
    )  # fmt: skip
    await process.communicate(json.dumps([text.decode() for text in documents]).encode())
    assert process.returncode == -signal.SIGKILL
    stored = await counts()
    assert stored["events"] == stored["outbox_pending"] == stored["resource_changes"] == changes
    # Who does not know what came of it asks again, and everything is done once.
    sources = [Source("", text) for text in documents]
    await registry.apply(*sources, request_id="r-1")
    await registry.service.disable("dev", "a", actor="ada", reason="why", request_id="r-2")
    assert (await counts())["events"] == 4


async def test_without_the_database_reads_go_on_for_a_while_and_changes_do_not(
    replica: Callable[..., Any],
    document: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = replica()
    await registry.apply(document())

    async def away(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailableError("away")

    for name in ("revision", "change", "resource", "request"):
        monkeypatch.setattr(registry.store, name, away)
    assert (await registry.service.get("dev", DEFINITION, "billing.overdue")).version == 1
    with pytest.raises(DatabaseUnavailableError):
        await registry.apply(document(description="x"))
    registry.mirrors._confirmed["dev"] -= 2.1
    for call in (
        registry.service.get("dev", DEFINITION, "billing.overdue"),
        registry.service.list("dev", DEFINITION),
        anext(registry.service.watch("dev")),
    ):
        with pytest.raises(DatabaseUnavailableError):
            await call
    monkeypatch.undo()
    assert (await registry.service.get("dev", DEFINITION, "billing.overdue")).version == 1


async def test_change_whose_prepared_view_keeps_moving_is_done_at_last_or_given_up(
    replica: Callable[..., Any],
    document: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, there = replica(), replica()
    await here.apply(document("a"))
    change, rounds = here.store.change, 0

    async def overtaken(namespace: str, work: Any) -> Any:
        nonlocal rounds
        rounds += 1
        if rounds <= busy:
            await there.apply(document("a", description=f"t{busy}-{rounds}"))
        return await change(namespace, work)

    monkeypatch.setattr(here.store, "change", overtaken)
    busy = 3
    outcome = await here.apply(document("a", description="mine"))
    assert (outcome.results[0].resource.version, rounds) == (5, 4)
    busy, rounds = 1_000_000, 0
    with pytest.raises((DatabaseUnavailableError, RegistryError), match="keep changing"):
        await here.apply(document("a", description="mine again"))
