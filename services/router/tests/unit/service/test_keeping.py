"""What is sensitive in an event is kept elsewhere before anything of the event is."""

import json
from datetime import timedelta

import pytest

from contracts.envelope import Envelope
from contracts.eventtypes import EventType
from contracts.rejections import Reason
from contracts.routing import PendingOutcome, RoutingOutcome
from router.domain.authentication import Authentication
from router.domain.instances import Directory
from router.domain.pending import DueStart
from router.errors import TransientError
from router.service.dispatching import Dispatcher
from router.service.routing import Router, Settled

CANARY = "ada.canary@example.org"
SCHEMA = {
    "type": "object",
    "properties": {
        "customer": {},
        "email": {"type": "string", "sensitive": True},
        "amount": {"type": "number"},
    },
}


@pytest.fixture
def policy(definitions):
    """Takes the type `paid`, in whose payload `email` is sensitive and of `customer`."""
    event_type = EventType.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "EventType",
            "metadata": {"id": "paid", "namespace": "dev", "owner": "tests"},
            "spec": {
                "subject": "payload.customer",
                "schemas": [{"version": 1, "schema": SCHEMA}],
            },
        }
    )
    definitions.policies["dev"].put_event_type(event_type)
    return definitions.policies["dev"]


@pytest.fixture
def router(  # noqa: PLR0917 - fixtures
    definitions,
    starter,
    seen,
    dead_letters,
    decision_log,
    pending,
    counts,
    sensitive_values,
    policy,
):
    assert policy.marks("paid", 1) is not None
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
        sensitive_values=sensitive_values,
    )


@pytest.fixture
def settle(router, make):
    async def settle(event_id="e-1", offset=0, **payload):
        told = {"customer": "ada", "email": CANARY, **payload}
        value = make.event(event_id, payload={k: v for k, v in told.items() if v is not None})
        return await router.settle(make.record(value, offset=offset), attempts=1)

    return settle


def written(decision_log):
    """Return all that the ledger is told, as text."""
    return repr([(event.decisions, event.envelope) for event in decision_log.events.values()])


async def test_a_run_is_started_with_references_and_conditions_see_values(
    settle, definitions, starter, sensitive_values, decision_log
):
    definitions.put("a", {"type": "paid", "when": f"event.payload.email == '{CANARY}'"})
    definitions.put("b", {"type": "paid", "match": {"payload": {"email": [{"prefix": "ada"}]}}})
    definitions.put("c", {"type": "paid", "when": "event.payload.email.startsWith('bob')"})
    assert await settle() is Settled.STARTED
    assert {run.definition_id for run in starter.runs.values()} == {"a", "b"}
    for run in starter.runs.values():
        assert CANARY not in run.model_dump_json()
        [event] = run.trigger.events
        [(blob_id, kept)] = sensitive_values.kept.items()
        assert event.payload["email"] == {
            "$sensitive": blob_id,
            "hash": sensitive_values.hash_of(blob_id),
        }
        assert (kept.subject, kept.value) == ("ada", CANARY)
    # What a condition saw is told by the reference as well.
    assert "event.payload.email = " in written(decision_log)
    assert CANARY not in written(decision_log)


async def test_the_same_event_again_is_kept_once_and_starts_once(
    settle, definitions, starter, sensitive_values, seen
):
    definitions.put("a", {"type": "paid"})
    await settle()
    seen.events.clear()
    await settle(offset=1)
    assert len(starter.runs) == len(sensitive_values.kept) == 1


async def test_nothing_is_started_or_written_while_it_cannot_be_kept(
    settle, definitions, starter, sensitive_values, decision_log
):
    definitions.put("a", {"type": "paid"})
    sensitive_values.away = True
    with pytest.raises(TransientError):
        await settle()
    assert (starter.runs, decision_log.events) == ({}, {})
    sensitive_values.away = False
    assert await settle() is Settled.STARTED


async def test_what_has_nothing_sensitive_asks_nobody(settle, definitions, sensitive_values):
    definitions.put("a", {"type": "paid"})
    sensitive_values.away = True
    assert await settle(email=None, customer=None) is Settled.STARTED
    assert sensitive_values.calls == 0


async def test_what_nobody_wants_is_not_kept(settle, definitions, sensitive_values):
    definitions.put("a", {"type": "other"})
    assert await settle() is Settled.NO_MATCH
    assert sensitive_values.kept == {}


@pytest.mark.parametrize("customer", [None, "", True, 1.5, ["ada"], "x" * 600, "a\0b"])
async def test_it_has_to_be_said_whose_it_is(settle, definitions, starter, dead_letters, customer):
    definitions.put("a", {"type": "paid"})
    assert await settle(customer=customer) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [Reason.SUBJECT_MISSING]
    assert starter.runs == {}


async def test_another_value_under_the_same_id_is_a_conflict(
    settle, definitions, dead_letters, seen
):
    definitions.put("a", {"type": "paid"})
    await settle()
    seen.events.clear()
    assert await settle(offset=1, email="somebody@example.org") is Settled.DEAD_LETTER
    assert dead_letters.reasons == [Reason.ID_CONFLICT]
    assert CANARY not in dead_letters.parked[0][2]


@pytest.mark.parametrize("spelled", ["$sensitive", "\\u0024sensitive"])
async def test_no_producer_hands_in_a_reference(router, definitions, make, dead_letters, spelled):
    definitions.put("a", {"type": "paid"})
    value = make.event(payload={"note": {"MARK": "b", "hash": "h"}}).replace(
        b"MARK", spelled.encode()
    )
    assert await router.settle(make.record(value), attempts=1) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [Reason.RESERVED_NAME]


async def test_an_error_does_not_quote_what_it_saw(settle, definitions, decision_log):
    definitions.put("a", {"type": "paid", "when": "int(event.payload.email) > 5"})
    await settle()
    told = written(decision_log)
    assert "its text is left out" in told
    assert CANARY not in told


async def test_it_is_no_correlation_key(settle, definitions, decision_log):
    definitions.put(
        "a",
        {
            "type": "paid",
            "correlate": "event.payload.email",
            "batch": {"maxEvents": 5, "maxWait": "5s"},
        },
    )
    assert await settle() is Settled.DEAD_LETTER
    [decision] = [d for event in decision_log.events.values() for d in event.decisions]
    assert decision.outcome is RoutingOutcome.ERRORED
    assert CANARY not in written(decision_log)


async def test_what_waits_waits_with_references(settle, definitions, decision_log):
    definitions.put("a", {"type": "paid"}, disabled=True, whileDisabled="hold")
    assert await settle() is Settled.WAITING
    [event] = decision_log.events.values()
    assert json.loads(event.envelope)["payload"]["email"].keys() == {"$sensitive", "hash"}
    assert CANARY not in written(decision_log)


@pytest.fixture
def held(definitions, starter, pending, counts, sensitive_values, settle, decision_log):  # noqa: PLR0917 - fixtures
    """Settle an event that is held, have its definition changed, and dispatch it."""

    async def held(*, when):
        definitions.put("a", {"type": "paid"}, disabled=True, whileDisabled="hold")
        await settle()
        [event] = decision_log.events.values()
        definitions.put("a", {"type": "paid", "when": when}, version=2)
        pending.due = [
            DueStart(
                pending_id="p" * 26, lease="l", definition_id="a", definition_version=1,
                task_queue="test-tq", trigger_names=[], reason="held", key="",
                events=[Envelope.model_validate_json(event.envelope)], attempts=1, as_one_run=False,
            )
        ]  # fmt: skip
        dispatcher = Dispatcher(
            "dev",
            definitions=definitions,
            pending_starts=pending,
            starter=starter,
            directory=Directory(b"a secret of these tests"),
            observer=counts,
            limit=10,
            poll=timedelta(seconds=1),
            sensitive_values=sensitive_values,
        )
        await dispatcher.dispatch()
        [told] = pending.told
        return told

    return held


async def test_what_was_held_is_matched_by_values_and_started_with_references(held, starter):
    told = await held(when=f"event.payload.email == '{CANARY}'")
    assert told.outcome is PendingOutcome.STARTED
    [run] = starter.runs.values()
    assert CANARY not in run.model_dump_json()


async def test_what_was_held_and_does_not_match_is_told_by_the_reference(held):
    told = await held(when="event.payload.email == 'bob'")
    assert told.outcome is PendingOutcome.FILTERED
    assert CANARY not in told.seen
    assert "$sensitive" in told.seen


async def test_what_was_erased_meanwhile_is_null(held, sensitive_values, starter):
    sensitive_values.erased.add("ada")
    assert (await held(when="event.payload.email == null")).outcome is PendingOutcome.STARTED
    assert len(starter.runs) == 1
