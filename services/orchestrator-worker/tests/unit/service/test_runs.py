import json
from collections.abc import Callable
from typing import Any

import pytest

from contracts.definitions import ActivityDefinition
from contracts.envelope import Envelope
from contracts.runs import MAX_SNAPSHOT_BYTES, DecideInput, RecordOutcome, RunInput
from contracts.triggers import Trigger, TriggerKind
from orchestrator_worker.errors import (
    ContextUnavailableError,
    DecisionTooLargeError,
    DefinitionNotFoundError,
    NeighbourUnavailableError,
    UndecidableError,
)
from orchestrator_worker.service import runs as service

MakeRun = Callable[..., RunInput]
MakeDefinition = Callable[..., ActivityDefinition]

OVERDUE = {
    "name": "overdue",
    "query": {
        "connector": "billing-db",
        "statement": "overdue_invoices",
        "parameters": {"until": "trigger.input.until"},
    },
}
FOR_EACH = {
    "name": "remind",
    "when": "size(context.overdue) > 0",
    "forEach": {"item": "invoice", "in": "context.overdue"},
    "task": {
        "type": "automated",
        "handler": "send_reminder",
        "taskQueue": "notifications-tq",
        "key": "invoice.id",
        "input": {"invoice": "invoice.id"},
    },
}


def _ask(run: RunInput, execution: str = "execution-1") -> DecideInput:
    return DecideInput(run=run, workflow_run_id=execution)


async def test_decision_reads_context_and_is_recorded_with_its_snapshot(
    world: Any,
    make_definition: MakeDefinition,
    make_run: MakeRun,
) -> None:
    world.definitions.known["dev", "billing.overdue", 1] = make_definition(
        rules=[FOR_EACH], context=[OVERDUE]
    )
    world.context.answers["overdue"] = [{"id": "i1"}, {"id": "i2"}]
    run = make_run(input={"until": "2026-01-01T00:00:00Z"})

    decided = await world.decider.decide(_ask(run))

    assert decided.outcome is RecordOutcome.RECORDED
    assert [task.key for task in decided.tasks] == ["i1", "i2"]
    assert [task.input for task in decided.tasks] == [{"invoice": "i1"}, {"invoice": "i2"}]
    assert world.context.asked == [("overdue", {"until": "2026-01-01T00:00:00Z"})]
    assert json.loads(world.ledger.snapshots[run.run_id]) == {
        "overdue": [{"id": "i1"}, {"id": "i2"}]
    }


async def test_retry_of_an_execution_gets_the_decision_that_stands(
    world: Any,
    make_definition: MakeDefinition,
    make_run: MakeRun,
) -> None:
    world.definitions.known["dev", "billing.overdue", 1] = make_definition(
        rules=[FOR_EACH], context=[OVERDUE]
    )
    run = make_run(input={"until": None})
    world.context.answers["overdue"] = [{"id": "i1"}]
    first = await world.decider.decide(_ask(run))
    world.context.answers["overdue"] = [{"id": "i1"}, {"id": "i2"}]

    again = await world.decider.decide(_ask(run))

    assert again.outcome is RecordOutcome.REPEATED
    assert again.tasks == first.tasks


async def test_another_execution_of_the_run_gets_no_tasks(
    world: Any, make_definition: MakeDefinition, make_run: MakeRun
) -> None:
    world.definitions.known["dev", "billing.overdue", 1] = make_definition()
    run = make_run()
    assert len((await world.decider.decide(_ask(run))).tasks) == 1

    other = await world.decider.decide(_ask(run, "execution-2"))

    assert other.outcome is RecordOutcome.DUPLICATE
    assert other.tasks == []


async def test_human_tasks_stay_in_the_ledger(
    world: Any,
    make_definition: MakeDefinition,
    make_run: MakeRun,
) -> None:
    human = {"type": "human", "title": "'Call'", "assignees": {"groups": ["collections"]}}
    rules = [
        {"name": "call", "task": human},
        {"name": "visit", "task": {**human, "due": "2d"}},
        {"name": "sue", "task": {**human, "expiry": "9d"}},
    ]
    world.definitions.known["dev", "billing.overdue", 1] = make_definition(rules=rules)
    run = make_run()

    decided = await world.decider.decide(_ask(run))

    assert decided.tasks == []
    tasks = {task["rule"]: task for task in json.loads(world.ledger.runs[run.run_id][1])["tasks"]}
    assert tasks.keys() == {"call", "visit", "sue"}
    # Only those with which time does something are watched over.
    assert [str(task_id) for task_id in decided.timed] == [
        tasks["visit"]["task_id"],
        tasks["sue"]["task_id"],
    ]


async def test_rule_error_is_undecidable_and_records_nothing(
    world: Any,
    make_definition: MakeDefinition,
    make_run: MakeRun,
) -> None:
    broken = {**FOR_EACH, "when": "trigger.input.missing.field > 1"}
    world.definitions.known["dev", "billing.overdue", 1] = make_definition(
        rules=[broken], context=[]
    )

    with pytest.raises(UndecidableError, match="remind"):
        await world.decider.decide(_ask(make_run(input={})))
    assert world.ledger.runs == {}


async def test_unknown_version_is_not_found(world: Any, make_run: MakeRun) -> None:
    with pytest.raises(DefinitionNotFoundError):
        await world.decider.decide(_ask(make_run(version=7)))


async def test_context_that_is_away_records_nothing(
    world: Any,
    make_definition: MakeDefinition,
    make_run: MakeRun,
) -> None:
    world.definitions.known["dev", "billing.overdue", 1] = make_definition(
        rules=[FOR_EACH], context=[OVERDUE]
    )
    world.context.answers["overdue"] = ContextUnavailableError("away")

    with pytest.raises(ContextUnavailableError):
        await world.decider.decide(_ask(make_run(input={"until": None})))
    assert world.ledger.runs == {}


async def test_tasks_too_large_for_temporal_are_refused_before_they_are_recorded(
    world: Any,
    make_definition: MakeDefinition,
    make_run: MakeRun,
) -> None:
    heavy = {
        **FOR_EACH,
        "task": {**FOR_EACH["task"], "input": {"all": "context.overdue"}},  # type: ignore[dict-item]
    }
    world.definitions.known["dev", "billing.overdue", 1] = make_definition(
        rules=[heavy], context=[OVERDUE]
    )
    count = 20
    filler = "x" * (service.MAX_TASKS_BYTES // count // count + 1)
    world.context.answers["overdue"] = [{"id": f"i{n}", "text": filler} for n in range(count)]

    with pytest.raises(DecisionTooLargeError):
        await world.decider.decide(_ask(make_run(input={"until": None})))
    assert world.ledger.runs == {}


async def test_definitions_are_fetched_once_while_they_are_kept(
    world: Any, make_definition: MakeDefinition, make_run: MakeRun
) -> None:
    for version in (1, 2, 3):
        world.definitions.known["dev", "billing.overdue", version] = make_definition()

    for version in (1, 1, 2, 1, 3, 1, 2):
        await world.decider.decide(_ask(make_run(version=version)))

    # Two are kept: 3 pushes 2 out, which was used longest ago, and 2 is fetched again.
    assert world.definitions.asked == [1, 2, 3, 2]


async def test_a_snapshot_that_is_too_large_says_what_to_do(
    world: Any, make_definition: MakeDefinition, make_run: MakeRun
) -> None:
    world.definitions.known["dev", "billing.overdue", 1] = make_definition(
        rules=[FOR_EACH], context=[OVERDUE]
    )
    world.context.answers["overdue"] = "x" * MAX_SNAPSHOT_BYTES
    with pytest.raises(DecisionTooLargeError, match="select fewer rows or fields"):
        await world.decider.decide(_ask(make_run(input={"until": None})))


CUSTOMER = {"$sensitive": "b-1", "hash": "h" * 26}
WELCOME = {
    "name": "welcome",
    "when": "event.payload.email.endsWith('.org')",
    "task": {
        "type": "automated",
        "handler": "welcome",
        "taskQueue": "notifications-tq",
        "input": {"to": "event.payload.email"},
    },
}


def _by_event(email: Any) -> RunInput:
    event = Envelope.model_validate(
        {
            "event_id": "e-1",
            "type": "signed-up",
            "source": "shop",
            "occurred_at": "2026-11-23T10:00:00Z",
            "payload": {"email": email},
        }
    )
    trigger = Trigger(kind=TriggerKind.EVENT, definition_version=1, events=[event])
    return RunInput(
        namespace="dev",
        run_id=f"billing.overdue:{trigger.key}",
        definition_id="billing.overdue",
        trigger=trigger,
    )


async def test_a_run_decides_upon_values_and_keeps_references(
    world: Any, make_definition: MakeDefinition
) -> None:
    world.definitions.known["dev", "billing.overdue", 1] = make_definition(rules=[WELCOME])
    world.sensitive_values.known["b-1"] = "ada@example.org"
    run = _by_event(CUSTOMER)
    decided = await world.decider.decide(_ask(run))
    assert [task.input for task in decided.tasks] == [{"to": CUSTOMER}]
    assert "ada@" not in repr(vars(world.ledger))


async def test_a_run_waits_for_values_that_cannot_be_told_now(
    world: Any, make_definition: MakeDefinition
) -> None:
    world.definitions.known["dev", "billing.overdue", 1] = make_definition(rules=[WELCOME])
    world.sensitive_values.away = True
    with pytest.raises(NeighbourUnavailableError):
        await world.decider.decide(_ask(_by_event(CUSTOMER)))
    # What has nothing sensitive asks nobody.
    assert (await world.decider.decide(_ask(_by_event("a@b.org")))).tasks
    assert world.sensitive_values.asked == 1


async def test_why_a_run_cannot_be_decided_quotes_nothing_sensitive(
    world: Any, make_definition: MakeDefinition
) -> None:
    rule = WELCOME | {"when": "int(event.payload.email) > 5"}
    world.definitions.known["dev", "billing.overdue", 1] = make_definition(rules=[rule])
    world.sensitive_values.known["b-1"] = "ada@example.org"
    with pytest.raises(UndecidableError, match=r"rule 'welcome', when: .* left out") as failure:
        await world.decider.decide(_ask(_by_event(CUSTOMER)))
    assert "ada" not in str(failure.value)
