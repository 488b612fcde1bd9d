"""Recording what the router decided, through gRPC, on a real PostgreSQL."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeAlias

import grpc
import pytest
from decision_log import DecisionLog
from google.protobuf.duration_pb2 import Duration

from backbone.ledger.v1 import routing_pb2 as pb
from backbone.ledger.v1 import routing_pb2_grpc as pb_grpc
from contracts import identifiers
from contracts.roles import Role
from contracts.routing import MAX_EXPLANATION_LENGTH, MAX_RECORDED_EVENTS
from eventstore.partitions import PartitionKeeper
from ledger.adapters import decision_calls
from ledger.adapters.postgres_routing import PostgresRoutingStore, RoutingMonths
from ledger.domain.routing import DecisionFilter
from runtime.errors import DatabaseUnavailableError
from runtime.postgres import Postgres

# The stub knows this type in its type hints only.
RoutingStub: TypeAlias = "pb_grpc.RoutingServiceAsyncStub"
Channels = Callable[..., Awaitable[grpc.aio.Channel]]

DEFINITION = "billing.large-payment"
STARTED, DUPLICATE = pb.ROUTING_OUTCOME_STARTED, pb.ROUTING_OUTCOME_DUPLICATE
FILTERED, HELD = pb.ROUTING_OUTCOME_FILTERED, pb.ROUTING_OUTCOME_HELD
WAITING = {HELD, pb.ROUTING_OUTCOME_BATCHED, pb.ROUTING_OUTCOME_LIMITED}


@pytest.fixture
async def routing(calls: Channels) -> RoutingStub:
    return pb_grpc.RoutingServiceStub(await calls())


@pytest.fixture
async def routers(calls: Channels) -> list[RoutingStub]:
    """Two routers, each at a replica of the ledger of its own."""
    return [pb_grpc.RoutingServiceStub(await calls()) for _ in "12"]


def candidate(
    event_id: str,
    outcome: int = STARTED,
    *,
    definition: str = DEFINITION,
    source: str = "shop",
    **more: Any,
) -> pb.RoutedCandidate:
    run_id = identifiers.run_id(definition, identifiers.event_trigger_key(source, event_id))
    fields = {
        "definition_version": 3,
        "trigger_names": ["paid"],
        "run_id": run_id if outcome in (STARTED, DUPLICATE) else "",
        **more,
    }
    if outcome in WAITING:
        fields["waiting"] = pb.Waiting(
            task_queue="billing-tq",
            key="k",
            batch_max_events=10,
            batch_max_wait=Duration(seconds=5),
            definition_revision=7,
        )
    return pb.RoutedCandidate(
        definition_id=definition,
        outcome=outcome,  # type: ignore[arg-type]
        **fields,
    )


def event(
    event_id: str,
    offset: int,
    *candidates: pb.RoutedCandidate,
    topic: str = "dev.payments",
    partition: int = 0,
    source: str = "shop",
    value: bytes = b"{}",
    cause: str = "",
) -> pb.RoutedEvent:
    return pb.RoutedEvent(
        place=pb.RecordPlace(topic=topic, partition=partition, offset=offset),
        source=source,
        event_id=event_id,
        type="billing.payment.received",
        digest=hashlib.sha256(value).digest(),
        registry_revision=7,
        cause=cause,
        envelope=value,
        candidates=candidates or [candidate(event_id, source=source)],
    )


def unrouted(first: int, last: int, *, partition: int = 0, **more: Any) -> pb.UnroutedRange:
    fields = {"topic": "dev.payments", "records": last - first + 1, "registry_revision": 7, **more}
    return pb.UnroutedRange(partition=partition, first_offset=first, last_offset=last, **fields)


async def record(
    routing: RoutingStub,
    *events: pb.RoutedEvent,
    unrouted: Sequence[pb.UnroutedRange] = (),
    namespace: str = "dev",
) -> list[int]:
    """Record a batch; return the indices of the events that are refused as conflicts."""
    response = await routing.RecordRouting(
        pb.RecordRoutingRequest(namespace=namespace, events=events, unrouted=unrouted)
    )
    assert all(verdict.id_conflict for verdict in response.verdicts)
    return [verdict.event for verdict in response.verdicts]


async def listed(routing: RoutingStub, **filters: Any) -> list[pb.RoutingDecision]:
    """All pages, newest first."""
    found: list[pb.RoutingDecision] = []
    token = ""
    while True:
        page = await routing.ListRoutingDecisions(
            pb.ListRoutingDecisionsRequest(
                **{"namespace": "dev", "page_size": 1000, "page_token": token, **filters}
            )
        )
        found += page.decisions
        token = page.next_page_token
        if not token:
            return found


def told(decisions: Sequence[pb.RoutingDecision]) -> list[tuple[int, str]]:
    """Offset and outcome, oldest first."""
    return [
        (one.place.offset, pb.RoutingOutcome.Name(one.outcome).removeprefix("ROUTING_OUTCOME_"))
        for one in reversed(decisions)
    ]


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def values(postgres: Postgres, sql: str, *arguments: Any) -> list[Any]:
    async with postgres.transaction("dev") as transaction:
        return [row[0] for row in await transaction.fetch(sql, *arguments)]


async def execute(postgres: Postgres, sql: str, *arguments: Any) -> None:
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(sql, *arguments)


async def test_a_decision_is_told_as_it_was_recorded(routing: RoutingStub) -> None:
    before = datetime.now(UTC)
    filtered = candidate(
        "e-1",
        FILTERED,
        definition="billing.other",
        clause='event.payload.currency == "EUR"',
        seen='event.payload.currency = "USD"',
    )
    errored = candidate(
        "e-1", pb.ROUTING_OUTCOME_ERRORED, definition="billing.third", detail="no such field"
    )
    sent = event("e-1", 41, candidate("e-1"), filtered, errored)
    assert await record(routing, sent) == []
    third, second, first = await listed(routing, event_id="e-1")
    assert first.decided_at.ToDatetime(tzinfo=UTC) >= before - timedelta(seconds=1)
    assert first.decided_at == second.decided_at == third.decided_at
    first.ClearField("decided_at")
    assert first == pb.RoutingDecision(
        namespace="dev",
        place=pb.RecordPlace(topic="dev.payments", partition=0, offset=41),
        source="shop",
        event_id="e-1",
        type="billing.payment.received",
        definition_id=DEFINITION,
        definition_version=3,
        outcome=STARTED,
        trigger_names=["paid"],
        run_id=sent.candidates[0].run_id,
        registry_revision=7,
    )
    assert (second.outcome, second.clause, second.seen) == (
        FILTERED,
        filtered.clause,
        filtered.seen,
    )
    assert (third.outcome, third.detail, third.run_id) == (errored.outcome, "no such field", "")


async def test_a_redelivery_changes_nothing(routing: RoutingStub) -> None:
    batch = [
        event("e-1", 1),
        event("e-2", 2, candidate("e-2", FILTERED)),
        event("e-3", 3, candidate("e-3", HELD)),
    ]
    await record(routing, *batch)
    first = await listed(routing)
    # Temporal and the router's cache know the run by now.
    batch[0] = event("e-1", 1, candidate("e-1", DUPLICATE))
    await record(routing, *batch)
    await record(routing, *reversed(batch))
    assert await listed(routing) == first
    assert told(first) == [(1, "STARTED"), (2, "FILTERED"), (3, "HELD")]


@pytest.mark.parametrize("says", [STARTED, DUPLICATE, HELD])
async def test_a_copy_at_another_place_is_a_duplicate_of_the_same_run(
    routing: RoutingStub, says: int
) -> None:
    await record(routing, event("e-1", 1))
    await record(routing, event("e-1", 9, candidate("e-1", says)), event("e-1", 12))
    await record(routing, event("e-1", 1, candidate("e-1", DUPLICATE)))
    decisions = await listed(routing, event_id="e-1")
    assert told(decisions) == [(1, "STARTED"), (9, "DUPLICATE"), (12, "DUPLICATE")]
    assert {one.run_id for one in decisions} == {candidate("e-1").run_id}


async def test_copies_in_one_batch_are_one_start(routing: RoutingStub) -> None:
    await record(routing, event("e-1", 5), event("e-1", 4), event("e-1", 6))
    assert told(await listed(routing)) == [(5, "STARTED"), (4, "DUPLICATE"), (6, "DUPLICATE")]


@pytest.mark.parametrize(
    "waits", [HELD, pb.ROUTING_OUTCOME_BATCHED, pb.ROUTING_OUTCOME_LIMITED], ids=str
)
async def test_an_event_waits_at_its_first_place_only(routing: RoutingStub, waits: int) -> None:
    await record(routing, event("e-1", 1, candidate("e-1", waits)))
    await record(routing, event("e-1", 2, candidate("e-1", waits)))
    name = pb.RoutingOutcome.Name(waits).removeprefix("ROUTING_OUTCOME_")  # type: ignore[arg-type]
    decisions = await listed(routing)
    assert told(decisions) == [(1, name), (2, "DUPLICATE")]
    assert not any(one.HasField("settled_at") for one in decisions)


async def test_a_run_that_nobody_told_of_is_told_as_started(routing: RoutingStub) -> None:
    # The router died after the start, or the log no longer reaches back to it.
    await record(routing, event("e-1", 1, candidate("e-1", DUPLICATE)))
    await record(routing, event("e-1", 2, candidate("e-1", DUPLICATE)))
    assert told(await listed(routing)) == [(1, "STARTED"), (2, "DUPLICATE")]


async def test_what_had_no_effect_is_recorded_for_each_copy(routing: RoutingStub) -> None:
    outcomes = [FILTERED, pb.ROUTING_OUTCOME_ERRORED, pb.ROUTING_OUTCOME_DISABLED]
    for offset, outcome in enumerate(outcomes):
        await record(routing, event("e-1", offset, candidate("e-1", outcome)))
    assert told(await listed(routing)) == [(0, "FILTERED"), (1, "ERRORED"), (2, "DISABLED")]
    await record(routing, event("e-1", 3))
    assert told(await listed(routing, outcome=STARTED)) == [(3, "STARTED")]


async def test_a_record_that_is_routed_again_with_an_effect_tells_both(
    routing: RoutingStub,
) -> None:
    # Recorded, not committed, and delivered again after the definition has changed.
    await record(routing, event("e-1", 1, candidate("e-1", FILTERED)))
    again = event("e-1", 1, candidate("e-1", STARTED, definition_version=4))
    await record(routing, again)
    await record(routing, again)
    await record(routing, event("e-1", 1, candidate("e-1", FILTERED)))
    decisions = await listed(routing)
    assert told(decisions) == [(1, "FILTERED"), (1, "STARTED")]
    assert [one.definition_version for one in decisions] == [4, 3]


async def test_causes_definitions_sources_and_namespaces_are_apart(routing: RoutingStub) -> None:
    other = candidate("e-1", definition="billing.other")
    await record(routing, event("e-1", 1))
    await record(routing, event("e-1", 2, other))
    await record(routing, event("e-1", 3, source="till", value=b"[]"))
    await record(routing, event("e-1", 1, cause="replay:r-1"))
    await record(routing, event("e-1", 1), namespace="prod")
    assert {one.outcome for one in await listed(routing)} == {STARTED}
    assert [one.cause for one in await listed(routing)] == ["replay:r-1", "", "", ""]
    assert len(await listed(routing, namespace="prod")) == 1
    # A redrive has the place of the record that was refused first.
    await record(routing, event("e-1", 1, cause="redrive:r-2"))
    await record(routing, event("e-1", 2, cause="redrive:r-2"))
    assert told((await listed(routing))[:2]) == [(1, "STARTED"), (2, "DUPLICATE")]


async def test_an_id_with_other_bytes_is_refused_and_leaves_nothing(routing: RoutingStub) -> None:
    await record(routing, event("e-1", 1))
    conflicts = await record(
        routing,
        event("e-2", 2),
        event("e-1", 3, value=b'{"amount":1}'),
        event("e-2", 4, value=b'{"amount":1}'),
        event("e-3", 5, candidate("e-3", FILTERED)),
    )
    assert conflicts == [1, 2]
    assert told(await listed(routing)) == [(1, "STARTED"), (2, "STARTED"), (5, "FILTERED")]
    assert await record(routing, event("e-1", 1), event("e-1", 3, value=b"[]")) == [1]


async def test_of_two_routers_that_record_copies_at_once_one_is_first(
    routers: list[RoutingStub], postgres: Postgres
) -> None:
    ids = [f"e-{number}" for number in range(40)]

    async def deliver(router: RoutingStub, partition: int, order: int) -> None:
        await record(
            router,
            *(event(one, at, partition=partition) for at, one in list(enumerate(ids))[::order]),
        )

    # Half of the events are known for another definition: they are locked, not written.
    await record(
        routers[0],
        *(event(one, 900, candidate(one, definition="billing.other")) for one in ids[::2]),
    )
    await asyncio.gather(
        *(
            deliver(routers[number % 2], number, 1 if number % 2 else -1)
            for number in range(8)
            for _ in "12"
        )
    )
    decisions = await listed(routers[0], definition_id=DEFINITION)
    for one in ids:
        outcomes = sorted(found.outcome for found in decisions if found.event_id == one)
        assert outcomes == [STARTED] + [DUPLICATE] * 7


async def test_of_two_routers_with_other_bytes_one_is_refused(
    routers: list[RoutingStub],
) -> None:
    for number in range(20):
        conflicts = await asyncio.gather(
            *(
                record(router, event(f"e-{number}", number, partition=at, value=bytes([at])))
                for at, router in enumerate(routers)
            )
        )
        assert sorted(conflicts) == [[], [0]]
    assert {one.outcome for one in await listed(routers[0])} == {STARTED}
    assert len(await listed(routers[0])) == 20


async def test_who_records_a_copy_waits_for_who_records_another(
    routing: RoutingStub, postgres: Postgres
) -> None:
    await record(routing, event("e-1", 1, candidate("e-1", definition="billing.other")))
    store = PostgresRoutingStore()
    key = identifiers.event_trigger_key("shop", "e-1")
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "UPDATE routed_events SET recordings = 2 WHERE event_key = $1", key
        )
        copy = asyncio.create_task(record(routing, event("e-1", 2)))
        async with asyncio.timeout(20):
            while not await values(  # noqa: ASYNC110 - PostgreSQL tells nobody
                postgres, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            ):
                await asyncio.sleep(0.01)
        assert not copy.done()
        assert await store.page(transaction, DecisionFilter(), before=None, limit=10) != []
    await copy
    assert told(await listed(routing)) == [(1, "STARTED"), (2, "STARTED")]


async def test_a_batch_is_recorded_whole_or_not_at_all(
    routing: RoutingStub, postgres: Postgres
) -> None:
    await execute(postgres, "ALTER TABLE unrouted_ranges RENAME TO elsewhere")
    code, _ = await refused(record(routing, event("e-1", 1), unrouted=[unrouted(2, 3)]))
    assert code is grpc.StatusCode.INTERNAL
    await execute(postgres, "ALTER TABLE elsewhere RENAME TO unrouted_ranges")
    assert await listed(routing) == []
    assert await values(postgres, "SELECT 1 FROM routed_events") == []


async def test_ranges_are_found_by_any_of_their_offsets(
    routing: RoutingStub, postgres: Postgres
) -> None:
    async def at(offset: int, partition: int = 0) -> pb.UnroutedRange:
        place = pb.RecordPlace(topic="dev.payments", partition=partition, offset=offset)
        request = pb.GetUnroutedRangeRequest(namespace="dev", place=place)
        return (await routing.GetUnroutedRange(request)).range

    ranges = [unrouted(100, 199, records=90), unrouted(100, 100, partition=1), unrouted(300, 2**40)]
    await record(routing, event("e-1", 120), unrouted=ranges)
    await record(routing, unrouted=ranges)
    assert await values(postgres, "SELECT count(*) FROM unrouted_ranges") == [3]
    # A redelivery begins in the middle, by definitions of a later revision.
    await record(routing, unrouted=[unrouted(150, 160, registry_revision=8)])
    for offset, first, last, records, revision in [
        (100, 100, 199, 90, 7),
        (149, 100, 199, 90, 7),
        (150, 150, 160, 11, 8),
        (170, 100, 199, 90, 7),
        (2**40, 300, 2**40, 2**40 - 299, 7),
    ]:
        found = await at(offset)
        assert found.HasField("recorded_at")
        assert (found.first_offset, found.last_offset) == (first, last)
        assert (found.records, found.registry_revision) == (records, revision)
    assert (await at(100, partition=1)).records == 1
    for offset, partition in ((99, 0), (200, 0), (2**40 + 1, 0), (101, 1), (100, 2)):
        code, message = await refused(at(offset, partition))
        assert code is grpc.StatusCode.NOT_FOUND
        assert message == (
            f"no unrouted range of dev.payments, partition {partition}, holds the offset {offset}"
        )


async def test_lists_are_filtered_and_paged_newest_first(
    routing: RoutingStub, postgres: Postgres
) -> None:
    for number in range(6):
        outcome = [STARTED, FILTERED, pb.ROUTING_OUTCOME_ERRORED][number % 3]
        name = f"e-{number}"
        await record(
            routing,
            event(name, number, candidate(name, outcome)),
            event(name, number, candidate(name, definition="billing.other"), source="till"),
        )
    everything = await listed(routing, page_size=5)
    assert len(everything) == 12
    assert everything == await listed(routing)
    times = [one.decided_at.ToNanoseconds() for one in everything]
    assert times == sorted(times, reverse=True)

    async def offsets(**filters: Any) -> list[int]:
        return [one.place.offset for one in await listed(routing, page_size=2, **filters)]

    assert await offsets(event_id="e-3") == [3, 3]
    assert await offsets(event_id="e-3", source="till") == [3]
    assert await offsets(event_id="e-3", definition_id=DEFINITION) == [3]
    assert await offsets(event_id="e-3", outcome=FILTERED) == []
    assert await offsets(definition_id=DEFINITION) == [5, 4, 3, 2, 1, 0]
    assert await offsets(definition_id=DEFINITION, outcome=FILTERED) == [4, 1]
    assert await offsets(outcome=pb.ROUTING_OUTCOME_ERRORED) == [5, 2]
    assert await offsets(outcome=pb.ROUTING_OUTCOME_ERRORED, definition_id="billing.other") == []
    assert await offsets(outcome=FILTERED) == [4, 1]
    middle = everything[6].decided_at
    assert await offsets(decided_from=middle, definition_id=DEFINITION) == [5, 4, 3, 2]
    assert await offsets(decided_to=middle, definition_id=DEFINITION) == [1, 0]


async def test_a_token_is_good_for_its_list_only(routing: RoutingStub) -> None:
    await record(routing, *(event(f"e-{number}", number) for number in range(3)))
    request = pb.ListRoutingDecisionsRequest(namespace="dev", page_size=1)
    request.page_token = (await routing.ListRoutingDecisions(request)).next_page_token
    assert [
        one.place.offset for one in (await routing.ListRoutingDecisions(request)).decisions
    ] == [1]
    request.outcome = FILTERED
    code, message = await refused(routing.ListRoutingDecisions(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message == "page_token belongs to a list with other filters"


async def test_no_question_reads_a_whole_table(routing: RoutingStub, postgres: Postgres) -> None:
    rows = 20_000
    await execute(
        postgres,
        "INSERT INTO routing_decisions (decided_at, namespace, topic, partition, record_offset,"
        " cause, source, event_id, type, definition_id, definition_version, outcome, trigger_names,"
        " run_id, registry_revision)"
        " SELECT now() - n * interval '1 millisecond', 'dev', 't', 0, n, '', 's', 'e-' || n,"
        " 'a.b', 'd-' || n % 50, 1, CASE n % 1000 WHEN 0 THEN 'errored' ELSE 'started' END, '{}',"
        " 'r', 1 FROM generate_series(1, $1::integer) AS n",
        rows,
    )
    await execute(
        postgres,
        "INSERT INTO unrouted_ranges (recorded_at, namespace, topic, partition, first_offset,"
        " last_offset, records, registry_revision)"
        " SELECT now(), 'dev', 't', n % 10, n * 10, n * 10 + 9, 10, 1"
        " FROM generate_series(1, $1::integer) AS n",
        rows,
    )
    blocks = PostgresRoutingStore()._sql
    begin, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    page = ("dev", None, None, begin, end, end, 2**62, 101)
    many = list(range(1, 301))
    known = (["s"] * 300, [f"e-{n}" for n in many], begin, ["t"] * 300, [0] * 300, many)
    reads: dict[str, tuple[Any, ...]] = {
        "decisions_of_event": (*page, "e-77", None),
        "decisions_of_definition": ("dev", "d-7", *page[2:]),
        "decisions_of_rare_outcome": ("dev", None, "errored", *page[3:]),
        "decisions": page,
        "range_at": ("dev", "t", 3, 5035),
        "known_decisions": ("dev", *known),
        "settle": (
            *("dev", ["d-7"], ["t"], [0], [7], [""], ["started"], [1], ["r"], [""], [""]),
            *([True], begin, [""]),
        ),
    }
    writes = {"know_events", "add_decisions", "add_ranges", "forget_events"}
    assert set(blocks) == set(reads) | writes
    async with postgres.transaction("dev") as transaction:
        # A month that has just begun has no statistics; and a statement that was used often has a
        # plan that does not know its arguments.
        for statistics in (False, True):
            if statistics:
                await transaction.execute("ANALYZE routing_decisions, unrouted_ranges")
            for mode in ("force_custom_plan", "force_generic_plan"):
                await transaction.execute(f"SET LOCAL plan_cache_mode = {mode}")
                for name, arguments in reads.items():
                    sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {blocks[name]}"
                    plan = json.loads(await transaction.fetchval(sql, *arguments))[0]["Plan"]
                    assert _rows_read(plan) < rows / 10, f"{name}, {mode}, {statistics}: {plan}"


def _rows_read(plan: dict[str, Any]) -> float:
    """How many rows the scans of a plan looked at."""
    read = sum(_rows_read(inner) for inner in plan.get("Plans", []))
    if "Relation Name" in plan:
        each = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        read += plan["Actual Loops"] * (each + plan.get("Rows Removed by Index Recheck", 0))
    return read


async def test_a_malformed_batch_is_refused_with_the_path_and_leaves_nothing(
    routing: RoutingStub,
) -> None:
    wrong = event("e-2", 2, candidate("e-2"), candidate("e-2", FILTERED))
    code, message = await refused(record(routing, event("e-1", 1), wrong))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message == ("events[1].candidates[1].definition_id is 'billing.large-payment' once more")
    assert await listed(routing) == []


async def test_a_batch_has_bounds_and_may_be_as_large_as_they_say(routing: RoutingStub) -> None:
    batch = [event(f"e-{number}", number) for number in range(MAX_RECORDED_EVENTS)]
    await record(routing, *batch)
    code, message = await refused(record(routing, *batch, event("one-more", 9999)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message == "events: 5001, more than the 5000 that are taken"
    crowd = [candidate("e-1", FILTERED, definition=f"d{at}") for at in range(20_001)]
    _, message = await refused(record(routing, event("e-1", 1, *crowd)))
    assert message == "candidates of events: 20001, more than the 20000 that are taken"


async def test_long_explanations_are_cut_and_never_refused(routing: RoutingStub) -> None:
    long = "a\x00" + "é" * 5000
    await record(
        routing,
        event("e-1", 1, candidate("e-1", FILTERED, clause=long, seen=long, detail=long)),
    )
    (found,) = await listed(routing)
    cut = "a\ufffd" + "é" * (MAX_EXPLANATION_LENGTH - 2)
    assert (found.clause, found.seen, found.detail) == (cut, cut, cut)


async def test_identities_of_any_length_fit_into_the_indexes(routing: RoutingStub) -> None:
    # Four bytes each, and nothing that compresses.
    name = "".join(chr(0x10000 + at * 37) for at in range(256))
    topic = "".join(chr(97 + at * 7 % 26) for at in range(249))
    definition = ".".join("abcdefg" for _ in range(16))
    sent = event(
        name,
        2**62,
        candidate("e", definition=definition, source="s"),
        source=name[::-1],
        topic=topic,
        cause=f"replay:{'x' * 100}",
    )
    await record(routing, sent)
    await record(routing, sent)
    (found,) = await listed(routing, event_id=name, source=name[::-1])
    assert found.place.topic == topic


async def test_only_services_record_and_viewers_read(calls: Channels) -> None:
    viewer: RoutingStub = pb_grpc.RoutingServiceStub(await calls(Role.VIEWER))
    assert await listed(viewer) == []
    for role in (Role.VIEWER, Role.OPERATOR, Role.TASK_WORKER):
        stub: RoutingStub = pb_grpc.RoutingServiceStub(await calls(role))
        code, _ = await refused(record(stub, event("e-1", 1)))
        assert code is grpc.StatusCode.PERMISSION_DENIED


async def months(postgres: Postgres, table: str) -> list[str]:
    return await values(
        postgres,
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass"
        " ORDER BY 1",
        table,
    )


async def age(postgres: Postgres, to: datetime) -> None:
    """Give everything the time `to`, as if it had been recorded then."""
    await execute(postgres, "UPDATE routing_decisions SET decided_at = $1", to)
    await execute(postgres, "UPDATE unrouted_ranges SET recorded_at = $1", to)
    await execute(postgres, "UPDATE routed_events SET first_at = $1, last_at = $1", to)


async def test_old_months_go_with_all_that_was_known_of_their_events(
    routing: RoutingStub, postgres: Postgres
) -> None:
    for table in ("routing_decisions", "unrouted_ranges"):
        await execute(
            postgres,
            f"CREATE TABLE {table}_2025_01 PARTITION OF {table}"
            " FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2025-02-01 00:00+00')",
        )
    await record(routing, event("old", 1), unrouted=[unrouted(2, 3)])
    await age(postgres, datetime(2025, 1, 15, tzinfo=UTC))
    await record(routing, event("lost", 4), unrouted=[unrouted(5, 6)])
    await execute(
        postgres,
        "UPDATE routing_decisions SET decided_at = '2025-03-03' WHERE event_id = 'lost'",
    )
    await record(routing, event("new", 7), unrouted=[unrouted(8, 9)])
    assert await values(postgres, "SELECT count(*) FROM routing_decisions_default") == [1]
    keeper = PartitionKeeper(
        postgres,
        RoutingMonths(),
        retention=timedelta(days=60),
        interval=timedelta(milliseconds=50),
    )
    await keeper.start()
    async with asyncio.timeout(20):
        while await values(  # noqa: ASYNC110 - PostgreSQL tells nobody
            postgres,
            "SELECT 1 FROM routing_decisions WHERE event_id <> 'new' UNION ALL"
            " SELECT 1 FROM routed_events WHERE last_at < '2026-01-01'",
        ):
            await asyncio.sleep(0.01)
    await keeper.stop()
    for table in ("routing_decisions", "unrouted_ranges"):
        assert f"{table}_2025_01" not in await months(postgres, table)
        assert len(await months(postgres, table)) == 5
    assert await values(postgres, "SELECT first_offset FROM unrouted_ranges ORDER BY 1") == [5, 8]
    # The id may be used for other bytes again, and the copy of a forgotten one is told as a start.
    assert await record(routing, event("old", 1, candidate("old", DUPLICATE), value=b"new")) == []
    assert told(await listed(routing, event_id="old")) == [(1, "STARTED")]


async def test_a_month_is_made_again_and_kept_while_it_is_not_over(postgres: Postgres) -> None:
    before = await months(postgres, "routing_decisions")
    await execute(postgres, f"DROP TABLE {before[-2]}")
    async with postgres.transaction("dev") as transaction:
        kept = RoutingMonths()
        assert await kept.ensure_partitions(transaction, months=3) == [before[-2]]
        assert await kept.drop_month(transaction, older_than=timedelta(days=-1000)) is None
    assert await months(postgres, "routing_decisions") == before


async def test_dropping_gives_up_soon_when_somebody_reads(postgres: Postgres) -> None:
    await execute(
        postgres,
        "CREATE TABLE routing_decisions_2025_01 PARTITION OF routing_decisions"
        " FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2025-02-01 00:00+00')",
    )
    async with postgres.transaction("dev") as reader:
        await reader.fetch("SELECT * FROM routing_decisions")
        with pytest.raises(DatabaseUnavailableError):
            async with postgres.transaction("dev") as transaction:
                await RoutingMonths().drop_month(transaction, older_than=timedelta(days=60))
    async with postgres.transaction("dev") as transaction:
        dropped = await RoutingMonths().drop_month(transaction, older_than=timedelta(days=60))
    assert dropped == "routing_decisions_2025_01"


async def test_it_holds_what_a_log_in_memory_holds(
    routing: RoutingStub, routers: list[RoutingStub]
) -> None:
    """Copies, conflicts, causes and redeliveries in any order, beside `decision_log`."""
    random = Random(6)
    log = DecisionLog()
    outcomes = [STARTED, STARTED, DUPLICATE, FILTERED, HELD, pb.ROUTING_OUTCOME_DISABLED]
    sent: list[list[pb.RoutedEvent]] = []
    for _ in range(60):
        batch = [_anything(random, outcomes) for _ in range(random.randint(1, 12))]
        if sent and random.random() < 0.3:
            batch = random.choice(sent)
        sent.append(batch)
        expected = log.record([decision_calls.event(one) for one in batch])
        assert await record(random.choice(routers), *batch) == expected
    decisions = await listed(routing)
    assert len(decisions) > 100
    assert [
        (
            one.place.partition,
            one.place.offset,
            one.cause,
            one.definition_id,
            one.outcome,
            one.run_id,
        )
        for one in reversed(decisions)
    ] == [
        (
            one.event.place.partition,
            one.event.place.offset,
            one.event.cause,
            one.candidate.definition_id,
            pb.RoutingOutcome.Value(f"ROUTING_OUTCOME_{one.candidate.outcome.name}"),
            one.candidate.run_id,
        )
        for one in log.decisions
    ]


def _anything(random: Random, outcomes: Sequence[int]) -> pb.RoutedEvent:
    # A place is always of the same record.
    partition, offset = random.randrange(3), random.randrange(40)
    kind = Random(partition * 1000 + offset)
    event_id, source = f"e-{kind.randrange(25)}", kind.choice(["shop", "till"])
    return event(
        event_id,
        offset,
        *(
            candidate(event_id, random.choice(outcomes), definition=definition, source=source)
            for definition in random.sample(["a.b", "c.d", "e.f"], random.randint(1, 3))
        ),
        partition=partition,
        source=source,
        value=b"{}" if kind.random() < 0.9 else b"[]",
        cause=random.choice(["", "", "", "replay:r-1", "redrive:q-1"]),
    )
