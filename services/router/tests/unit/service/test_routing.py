"""What becomes of the records of a batch."""

import asyncio

import pytest
import structlog
from structlog.testing import capture_logs

from contracts import identifiers
from contracts.rejections import Reason
from contracts.triggers import TriggerKind
from router.domain.authentication import Authentication
from router.domain.instances import Directory
from router.errors import TransientError
from router.service import admission
from router.service.routing import Router, Settled
from runtime import logs

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def router(definitions, starter, seen, dead_letters, decision_log, pending, counts):  # noqa: PLR0917 - fixtures
    return Router(
        "dev",
        definitions=definitions,
        starter=starter,
        seen=seen,
        dead_letters=dead_letters,
        decision_log=decision_log,
        pending_starts=pending,
        directory=Directory(b"a secret of these tests"),
        authentication=Authentication(clock=lambda: 0, is_open=True),
        observer=counts,
        concurrency=8,
    )


@pytest.fixture
def settle(router, make):
    async def settle(value, *, attempts=1, **record):
        return await router.settle(make.record(value, **record), attempts=attempts)

    return settle


async def test_an_event_starts_one_run_of_each_definition_that_matches(
    settle, definitions, starter, make
):
    definitions.put("a", {"type": "paid"}, {"type": "paid"}, version=3)
    definitions.put("b", {"type": "paid"})
    definitions.put("c", {"type": "paid", "when": "false"})
    assert await settle(make.event()) is Settled.STARTED
    key = identifiers.event_trigger_key("shop", "e-1")
    assert set(starter.runs) == {identifiers.run_id("a", key), identifiers.run_id("b", key)}
    run = starter.runs[identifiers.run_id("a", key)]
    assert run.trigger.kind is TriggerKind.EVENT
    assert run.trigger.names == ["t0", "t1"]
    assert run.trigger.definition_version == 3
    assert run.trigger.events[0].payload == {"amount": 10}
    assert starter.queues[run.run_id] == "test-tq"


async def test_outcomes_are_counted_by_definition(settle, definitions, counts, make):
    definitions.put("a", {"type": "paid", "when": "event.payload.nope == 1"})
    definitions.put("b", {"type": "paid", "when": "false"})
    await settle(make.event())
    assert counts.outcomes == ["dead_letter"]
    assert counts.decisions == [("a", "errored"), ("b", "filtered")]


async def test_a_disabled_definition_starts_nothing_and_the_event_is_decided(
    settle, definitions, starter, counts, make
):
    definitions.put("off", {"type": "paid"}, {"type": "paid", "when": "nope"}, disabled=True)
    assert await settle(make.event("1")) is Settled.NO_MATCH
    definitions.put("on", {"type": "paid"})
    assert await settle(make.event("2")) is Settled.STARTED
    assert [run.definition_id for run in starter.runs.values()] == ["on"]
    assert counts.decisions == [("off", "disabled"), ("off", "disabled"), ("on", "started")]


async def test_an_event_that_nobody_wants_is_settled_and_not_remembered(settle, make, seen):
    assert await settle(make.event()) is Settled.NO_MATCH
    assert not seen.events


async def test_a_repeated_event_does_no_work(settle, definitions, starter, make):
    definitions.put("a", {"type": "paid"})
    await settle(make.event())
    assert await settle(make.event()) is Settled.DUPLICATE
    assert starter.calls == 1


async def test_a_repeated_event_starts_nothing_twice_when_the_memory_has_forgotten(
    settle, definitions, starter, seen, make
):
    definitions.put("a", {"type": "paid"})
    await settle(make.event())
    seen.events.clear()
    assert await settle(make.event()) is Settled.STARTED
    assert len(starter.runs) == 1


async def test_other_bytes_under_a_known_event_id_are_parked(
    settle, definitions, starter, dead_letters, make
):
    definitions.put("a", {"type": "paid"})
    await settle(make.event(payload={"amount": 1}))
    assert await settle(make.event(payload={"amount": 2})) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [Reason.ID_CONFLICT]
    assert len(starter.runs) == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (b"{", Reason.MALFORMED_JSON),
        (b"\xff", Reason.NOT_UTF8),
        (b'{"a":1,"a":2}', Reason.DUPLICATE_KEY),
        (b'"' + b"x" * 300_000 + b'"', Reason.OVERSIZE),
        (b"[]", Reason.INVALID_ENVELOPE),
    ],
)
async def test_a_record_that_is_no_event_is_parked_with_its_reason(
    settle, dead_letters, value, reason
):
    assert await settle(value, attempts=2) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [reason]
    assert dead_letters.parked[0][3] == 2


async def test_an_event_of_another_namespace_is_parked(settle, dead_letters, starter, make):
    assert await settle(make.event(namespace="prod")) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [Reason.WRONG_NAMESPACE]
    assert not starter.runs


async def test_an_error_in_one_condition_lets_the_others_start_and_parks_the_event(
    settle, definitions, starter, dead_letters, make
):
    definitions.put("broken", {"type": "paid", "when": "event.payload.nope == 1"})
    definitions.put("sound", {"type": "paid"})
    assert await settle(make.event()) is Settled.DEAD_LETTER
    assert [run.definition_id for run in starter.runs.values()] == ["sound"]
    assert dead_letters.reasons == [Reason.EXPRESSION_ERROR]
    assert "broken" in dead_letters.parked[0][2]


async def test_a_parked_event_can_be_routed_again_once_its_definition_is_mended(
    settle, definitions, starter, make
):
    definitions.put("a", {"type": "paid", "when": "event.payload.nope == 1"}, version=1)
    await settle(make.event())
    definitions.put("a", {"type": "paid"}, version=2)
    assert await settle(make.event()) is Settled.STARTED
    assert len(starter.runs) == 1


async def test_a_start_that_is_refused_lets_the_others_start_and_parks_the_event(
    settle, definitions, starter, dead_letters, make
):
    definitions.put("a", {"type": "paid"})
    definitions.put("b", {"type": "paid"})
    starter.refuses.add("a")
    assert await settle(make.event()) is Settled.DEAD_LETTER
    assert [run.definition_id for run in starter.runs.values()] == ["b"]
    assert dead_letters.reasons == [Reason.UNROUTABLE]


async def test_an_event_without_outcome_is_neither_remembered_nor_parked(
    settle, definitions, starter, dead_letters, make
):
    definitions.put("a", {"type": "paid"})
    starter.away = True
    with pytest.raises(TransientError):
        await settle(make.event())
    assert not dead_letters.parked
    starter.away = False
    assert await settle(make.event()) is Settled.STARTED


async def test_a_dead_letter_that_cannot_be_written_leaves_the_record_without_outcome(
    settle, dead_letters
):
    dead_letters.away = True
    with pytest.raises(TransientError):
        await settle(b"{")


async def test_a_fault_of_the_router_parks_the_record(settle, definitions, dead_letters, make):
    del definitions.indexes["dev"]
    assert await settle(make.event()) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [Reason.UNROUTABLE]


async def test_the_header_gives_the_trace_context_that_the_event_lacks(
    settle, definitions, starter, make
):
    definitions.put("a", {"type": "paid"})
    await settle(make.event("1"), headers=(("traceparent", TRACEPARENT.encode()),))
    own = TRACEPARENT.replace("01", "00", 1)
    await settle(make.event("2", traceparent=own), headers=(("traceparent", TRACEPARENT.encode()),))
    traces = {r.trigger.events[0].event_id: r.trigger.traceparent for r in starter.runs.values()}
    assert traces == {"1": TRACEPARENT, "2": own}


async def test_what_is_logged_of_an_event_has_its_ids(settle, definitions, starter, make):
    definitions.put("a", {"type": "paid"})
    starter.start = None  # A fault of ours.
    header = ("traceparent", TRACEPARENT.encode())
    ids = [structlog.contextvars.merge_contextvars, logs.traced]
    with capture_logs(processors=ids) as logged:
        assert await settle(make.event("e-9"), headers=(header,)) is Settled.DEAD_LETTER
    (line,) = [one for one in logged if one["event"] == "route_failed"]
    assert line["namespace"] == "dev"
    assert (line["event_id"], line["trace_id"]) == ("e-9", TRACEPARENT.split("-")[1])


# --- batches ------------------------------------------------------------------------------------


@pytest.fixture
def route(router):
    async def route(*records, may_begin=lambda: True, cause=""):
        return await router.route(records, attempts=lambda _: 1, may_begin=may_begin, cause=cause)

    return route


@pytest.fixture
def batch(make):
    """Build records at offsets from 0 on, of (event id, type)."""

    def batch(*events, **record):
        return [
            make.record(make.event(event_id, type=type_), offset=offset, **record)
            for offset, (event_id, type_) in enumerate(events)
        ]

    return batch


async def test_a_batch_is_recorded_in_one_call(route, definitions, decision_log, batch, make):
    definitions.put("a", {"type": "paid", "when": "event.event_id != '2'"}, version=9)
    broken = make.record(b"{", offset=5)
    records = batch(("0", "other"), ("1", "paid"), ("2", "paid"), ("3", "other"), ("4", "other"))
    results = await route(*records, broken)
    assert results.settled == {
        0: Settled.NO_MATCH, 1: Settled.STARTED, 2: Settled.NO_MATCH, 3: Settled.NO_MATCH,
        4: Settled.NO_MATCH, 5: Settled.DEAD_LETTER,
    }  # fmt: skip
    assert decision_log.calls == 1
    assert decision_log.outcomes == [(1, "a", "started"), (2, "a", "filtered")]
    (unrouted,) = decision_log.unrouted
    assert (unrouted.first, unrouted.last, unrouted.records, unrouted.revision) == (0, 4, 3, 9)


async def test_each_partition_and_revision_has_its_range(route, definitions, decision_log, make):
    records = [make.record(make.event(str(n)), offset=n, topic=f"dev.{n % 2}") for n in range(4)]
    await route(*records)
    assert [(r.topic, r.first, r.last, r.records) for r in decision_log.unrouted] == [
        ("dev.0", 0, 2, 2),
        ("dev.1", 1, 3, 2),
    ]


async def test_a_batch_of_refused_records_needs_no_ledger(route, decision_log, make):
    decision_log.away = True
    results = await route(make.record(b"{"))
    assert results.settled == {0: Settled.DEAD_LETTER}
    assert decision_log.calls == 0


async def test_a_ledger_that_is_away_leaves_all_that_was_decided_without_outcome(  # noqa: PLR0917 - fixtures
    route, definitions, decision_log, dead_letters, seen, batch, make
):
    definitions.put("a", {"type": "paid"})
    definitions.put("b", {"type": "errs", "when": "event.nope"})
    decision_log.away = True
    broken = make.record(b"{", offset=3)
    records = [*batch(("0", "other"), ("1", "paid"), ("2", "errs")), broken]
    results = await route(*records)
    assert results.settled == {3: Settled.DEAD_LETTER}
    assert set(results.failed) == {0, 1, 2}
    assert not seen.events
    # What errs is parked when it is recorded, not each time that it is tried.
    assert dead_letters.reasons == [Reason.MALFORMED_JSON]
    decision_log.away = False
    results = await route(*records[:3])
    assert results.settled == {0: Settled.NO_MATCH, 1: Settled.STARTED, 2: Settled.DEAD_LETTER}
    assert dead_letters.reasons == [Reason.MALFORMED_JSON, Reason.EXPRESSION_ERROR]


async def test_a_record_that_comes_again_is_recorded_as_it_was(
    route, definitions, decision_log, starter, batch
):
    definitions.put("a", {"type": "paid"})
    decision_log.lost = True
    assert (await route(*batch(("1", "paid")))).failed
    decision_log.lost = False
    await route(*batch(("1", "paid")))
    await route(*batch(("1", "paid")))
    assert decision_log.outcomes == [(0, "a", "started")]
    assert len(starter.runs) == 1


async def test_other_bytes_are_found_by_the_ledger_when_the_memory_has_forgotten(  # noqa: PLR0917 - fixtures
    settle, definitions, dead_letters, decision_log, seen, make
):
    definitions.put("a", {"type": "paid"})
    await settle(make.event(payload={"amount": 1}))
    seen.events.clear()
    assert await settle(make.event(payload={"amount": 2}), offset=1) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [Reason.ID_CONFLICT]
    assert not seen.events
    assert decision_log.outcomes == [(0, "a", "started")]


async def test_a_conflict_of_an_event_that_errs_is_one_dead_letter(
    settle, definitions, dead_letters, make
):
    definitions.put("a", {"type": "paid", "when": "event.payload.nope"})
    await settle(make.event(payload={"amount": 1}))
    await settle(make.event(payload={"amount": 2}), offset=1)
    assert dead_letters.reasons == [Reason.EXPRESSION_ERROR, Reason.ID_CONFLICT]


async def test_a_known_event_is_recorded_at_its_other_place_without_a_start(
    settle, definitions, starter, decision_log, make
):
    definitions.put("a", {"type": "paid"})
    await settle(make.event())
    assert await settle(make.event(), offset=7) is Settled.DUPLICATE
    assert decision_log.outcomes == [(0, "a", "started"), (7, "a", "duplicate")]
    first, again = (event.decisions[0].run_id for event in decision_log.events.values())
    assert first == again == next(iter(starter.runs))
    assert starter.calls == 1


async def test_a_definition_that_changed_since_decides_a_known_event_anew(
    settle, definitions, starter, decision_log, make
):
    definitions.put("a", {"type": "paid"}, version=1)
    await settle(make.event())
    definitions.put("b", {"type": "paid"}, version=2)
    assert await settle(make.event(), offset=1) is Settled.STARTED
    assert {run.definition_id for run in starter.runs.values()} == {"a", "b"}


async def test_what_is_asked_for_again_is_done_though_it_is_known(
    route, definitions, starter, decision_log, batch
):
    definitions.put("a", {"type": "paid"})
    await route(*batch(("1", "paid")))
    await route(*batch(("1", "paid")), cause="redrive:r-1")
    assert starter.calls == 2
    assert [event.cause for event in decision_log.events.values()] == ["", "redrive:r-1"]


async def test_records_of_one_key_start_in_their_order_and_others_beside_them(
    route, definitions, starter, batch
):
    definitions.put("a", {"type": "paid"})
    started, gate = [], asyncio.Event()
    start = starter.start

    async def slow(run, *, task_queue):
        event_id = run.trigger.events[0].event_id
        if event_id == "0":
            await gate.wait()
        started.append(event_id)
        if event_id == "9":
            gate.set()
        return await start(run, task_queue=task_queue)

    starter.start = slow
    one_key = batch(("0", "paid"), ("1", "paid"), key=b"k")
    (other,) = batch(("9", "paid"), key=b"other")
    await route(*one_key, other)
    assert started == ["9", "0", "1"]


async def test_a_failure_ends_the_batch_of_its_partition_alone(
    route, definitions, starter, batch, make
):
    definitions.put("a", {"type": "paid"})
    start = starter.start

    async def failing(run, *, task_queue):
        if run.trigger.events[0].event_id == "1":
            raise TransientError("away")
        return await start(run, task_queue=task_queue)

    starter.start = failing
    records = batch(("0", "paid"), ("1", "paid"), ("2", "paid"), ("3", "other"), key=b"k")
    beside = make.record(make.event("beside"), topic="dev.other")
    results = await route(*records, beside)
    assert results.settled == {0: Settled.STARTED, 3: Settled.NO_MATCH, 4: Settled.STARTED}
    assert set(results.failed) == {1}


async def test_no_work_is_begun_when_it_may_not(route, definitions, starter, batch):
    definitions.put("a", {"type": "paid"})
    records = batch(("0", "paid"), ("1", "other"))
    results = await route(*records, may_begin=lambda: False)
    assert (results.settled, results.failed) == ({1: Settled.NO_MATCH}, {})
    assert not starter.runs


async def test_a_long_batch_lets_others_run(route, monkeypatch, batch):
    monkeypatch.setattr(admission, "PASS_S", 0.0)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await route(*batch(*((str(n), "other") for n in range(50))))
    task.cancel()
    assert turns >= 50


async def test_a_dead_letter_that_cannot_be_written_leaves_what_errs_without_outcome(
    route, definitions, dead_letters, batch
):
    definitions.put("a", {"type": "paid", "when": "event.nope"})
    dead_letters.away = True
    results = await route(*batch(("0", "paid"), ("1", "other")))
    assert (set(results.failed), results.settled) == ({0}, {1: Settled.NO_MATCH})
