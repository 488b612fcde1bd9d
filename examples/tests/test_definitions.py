import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts import kinds
from contracts.catalogue import Catalogue, HttpPath, Statement
from contracts.decisions import HumanInstance
from contracts.definitions import ActivityDefinition
from contracts.envelope import Envelope
from contracts.eventtypes import EventType
from contracts.producers import Producer
from contracts.triggers import Trigger, TriggerKind, Window
from rules import checks, decisions, expressions, jsonschemas, patterns

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

OVERDUE = [
    {"id": "INV-1", "customer": "A", "email": "a@example.com", "amount": 97.5, "days_overdue": 7},
    {"id": "INV-2", "customer": "B", "email": "b@example.com", "amount": 12500, "days_overdue": 1},
]


def definition(examples: Path, name: str) -> ActivityDefinition:
    text = (examples / "definitions" / name).read_text(encoding="utf-8")
    return ActivityDefinition.model_validate(yaml.safe_load(text))


def payment(amount: float, currency: str = "EUR", *, number: int = 1) -> Envelope:
    return Envelope(
        event_id=f"e-{number}",
        type="billing.payment.received",
        source="examples/billing",
        occurred_at=NOON,
        payload={
            "payment_id": f"PAY-{number}",
            "email": "a@example.com",
            "amount": amount,
            "currency": currency,
        },
    )


def due() -> Trigger:
    return Trigger(
        kind=TriggerKind.SCHEDULE,
        names=["often"],
        definition_version=1,
        scheduled_for=NOON,
        window=Window(start=NOON.replace(hour=11), end=NOON),
    )


def test_nothing_is_wrong_with_what_is_applied(
    resources: Mapping[str, kinds.Resource], catalogue: Catalogue
) -> None:
    event_types = [one for one in resources.values() if isinstance(one, EventType)]
    surroundings = checks.Surroundings(
        event_types={
            one.metadata.id: {schema.version: schema.schema_ for schema in one.spec.schemas}
            for one in event_types
        },
        catalogue=catalogue,
    )
    problems = {
        name: checks.problems(one, surroundings)
        for name, one in resources.items()
        if isinstance(one, ActivityDefinition)
    }
    assert problems == {
        "overdue-invoices.yaml": [],
        "large-payment.yaml": [],
        "small-payments.yaml": [],
    }
    (producer,) = (one for one in resources.values() if isinstance(one, Producer))
    assert checks.producer_problems(producer, surroundings) == []
    assert [checks.event_type_problems(one) for one in event_types] == [[]]


def test_payment_is_one_that_its_type_describes_and_its_producer_may_emit(
    examples: Path, resources: Mapping[str, kinds.Resource]
) -> None:
    event = json.loads((examples / "payment.json").read_text(encoding="utf-8"))
    event_type, producer = resources["payment-received.yaml"], resources["billing-service.yaml"]
    assert isinstance(event_type, EventType)
    assert isinstance(producer, Producer)
    assert event["type"] == event_type.metadata.id
    (schema,) = event_type.spec.schemas
    assert jsonschemas.validate(schema.schema_, event["payload"]) == []
    assert producer.may_emit(source=event["source"], event_type=event["type"])


def test_overdue_invoices_are_reminded_and_the_large_one_is_called_about(examples: Path) -> None:
    decision = decisions.decide(
        definition(examples, "overdue-invoices.yaml"),
        definition_version=1,
        namespace="dev",
        run_id="billing.overdue-invoices:2026-03-02T12:00:00Z",
        trigger=due(),
        snapshot={"overdue": OVERDUE},
    )
    assert [(task.rule, task.key) for task in decision.tasks] == [
        ("remind", "INV-1"),
        ("remind", "INV-2"),
        ("call-the-customer", "INV-2"),
    ]
    call = decision.tasks[-1]
    assert isinstance(call, HumanInstance)
    assert call.title == "Call B about invoice INV-2"


def test_no_overdue_invoice_gives_no_task(examples: Path) -> None:
    decision = decisions.decide(
        definition(examples, "overdue-invoices.yaml"),
        definition_version=1,
        namespace="dev",
        run_id="billing.overdue-invoices:2026-03-02T12:00:00Z",
        trigger=due(),
        snapshot={"overdue": []},
    )
    assert decision.tasks == []


def test_query_is_bound_to_the_window_and_to_null_when_there_is_none(examples: Path) -> None:
    program = decisions.compile_definition(definition(examples, "overdue-invoices.yaml"))
    by_hand = Trigger(kind=TriggerKind.MANUAL, definition_version=1, request_id="r-1")
    assert program.context_parameters(due()) == {"overdue": {"until": "2026-03-02T12:00:00Z"}}
    assert program.context_parameters(by_hand) == {"overdue": {"until": None}}


@pytest.mark.parametrize(
    ("amount", "currency", "matches"),
    [(1000, "EUR", False), (1000.01, "EUR", True), (5000, "USD", False)],
)
def test_large_payment_starts_only_on_large_payments_in_euros(
    examples: Path, amount: float, currency: str, *, matches: bool
) -> None:
    (event,) = definition(examples, "large-payment.yaml").events.values()
    assert event.match is not None
    assert event.when is not None
    document = payment(amount, currency).document()
    when = expressions.compile(event.when, variables={"event"})
    matched = patterns.compile(event.match).matches(document)
    assert (matched and when.evaluate_bool({"event": document})) is matches


@pytest.mark.parametrize(
    ("amount", "rules"), [(9999.99, ["confirm"]), (10000, ["confirm", "review"])]
)
def test_very_large_payment_is_reviewed_by_a_person(
    examples: Path, amount: float, rules: list[str]
) -> None:
    trigger = Trigger(
        kind=TriggerKind.EVENT,
        names=["large-payment"],
        definition_version=1,
        events=[payment(amount)],
    )
    snapshot: dict[str, Any] = {}
    decision = decisions.decide(
        definition(examples, "large-payment.yaml"),
        definition_version=1,
        namespace="dev",
        run_id="billing.large-payment:event:x",
        trigger=trigger,
        snapshot=snapshot,
    )
    assert [task.rule for task in decision.tasks] == rules


RATES = {"rates": {"USD": 1.25}}


@pytest.mark.parametrize(
    ("rates", "before", "tasks"),
    [
        (RATES, None, [("post", "PAY-1"), ("post", "PAY-2")]),
        (RATES, "completed", [("post", "PAY-1"), ("post", "PAY-2")]),
        (None, None, [("post-by-hand", "")]),
        (RATES, "cancelled", [("post", "PAY-1"), ("post", "PAY-2"), ("look-into-it", "")]),
    ],
)
def test_small_payments_are_posted_together_or_given_to_a_person(
    examples: Path, rates: Any, before: str | None, tasks: list[tuple[str, str]]
) -> None:
    euros, dollars = payment(100), payment(50, "USD", number=2)
    trigger = Trigger(
        kind=TriggerKind.BATCH,
        names=["small-payment"],
        definition_version=1,
        events=[euros, dollars],
        batch_id="a" * 26,
    )
    program = decisions.compile_definition(definition(examples, "small-payments.yaml"))
    assert program.context_parameters(trigger) == {"rates": {"base": "EUR"}, "before": {}}
    decision = program.decide(
        definition_version=1,
        namespace="dev",
        run_id=f"billing.small-payments:{trigger.key}",
        trigger=trigger,
        snapshot={"rates": rates, "before": before and {"run_id": "r", "status": before}},
    )
    assert [(task.rule, task.key) for task in decision.tasks] == tasks
    if rates:
        assert [task.input["euros"] for task in decision.tasks[:2]] == [100, 40]


def test_catalogue_has_what_definitions_name(
    resources: Mapping[str, kinds.Resource], catalogue: Catalogue
) -> None:
    for one in resources.values():
        for entry in one.spec.context if isinstance(one, ActivityDefinition) else ():
            asked: Statement | HttpPath
            if entry.query is not None:
                postgres = catalogue.connectors[entry.query.connector].postgres
                assert postgres is not None
                asked = postgres.statements[entry.query.statement]
            elif entry.http is not None:
                http = catalogue.connectors[entry.http.connector].http
                assert http is not None
                asked = http.paths[entry.http.path]
            else:
                continue
            declared = [parameter.name for parameter in asked.parameters]
            assert declared == list(decisions.parameters(entry))
