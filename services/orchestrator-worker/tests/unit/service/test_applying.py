"""An instance is moved on by values and keeps references, also once its subject is erased."""

import json
from collections.abc import Callable
from typing import Any

from contracts.definitions import ActivityDefinition
from contracts.envelope import Envelope
from contracts.runs import ApplyNextInput, RunInput
from contracts.triggers import Trigger, TriggerKind
from orchestrator_worker.service.applying import Applier

KEY_HASH = "k" * 26
QUESTION = ApplyNextInput(
    namespace="dev", definition_id="billing.overdue", key_hash=KEY_HASH, workflow_run_id="w-1"
)
INSTANCE = {
    "initial": {"emails": "[]"},
    "update": {"emails": "state.emails + [event.payload.email]"},
}
RULE = {
    "name": "again",
    "when": "state.emails.exists(one, one == 'ada@example.org') && size(state.emails) == 2",
    "task": {
        "type": "automated",
        "handler": "welcome",
        "taskQueue": "notifications-tq",
        "input": {"known": "state.emails"},
    },
}


def reference(number: int) -> dict[str, str]:
    return {"$sensitive": f"b-{number}", "hash": "h" * 26}


def visit(number: int) -> RunInput:
    event = Envelope.model_validate(
        {
            "event_id": f"e-{number}",
            "type": "visit",
            "source": "shop",
            "occurred_at": "2026-11-23T10:00:00Z",
            "payload": {"who": "ada", "email": reference(number)},
        }
    )
    trigger = Trigger(kind=TriggerKind.EVENT, names=["t"], definition_version=1, events=[event])
    return RunInput(
        namespace="dev",
        run_id=f"billing.overdue:{trigger.key}",
        definition_id="billing.overdue",
        trigger=trigger,
    )


async def test_an_instance_is_moved_on_by_values_and_keeps_references(
    world: Any, instances: Any, ledger: Any, make_definition: Callable[..., ActivityDefinition]
) -> None:
    definition = make_definition(
        rules=[RULE],
        mode="stateful",
        instance=INSTANCE,
        triggers=[{"name": "t", "event": {"type": "visit", "correlate": "event.payload.who"}}],
    )
    world.definitions.known["dev", "billing.overdue", 1] = definition
    applier = Applier(
        decider=world.decider, ledger=ledger, instances=instances, cached_definitions=2
    )
    world.sensitive_values.known |= {"b-1": "ada@example.org", "b-2": "ada@example.com"}
    for number in (1, 2):
        instances.put(KEY_HASH, visit(number))
    applied = await applier.apply(QUESTION)
    assert applied.begin is not None
    decision = json.loads(instances.runs[applied.begin.run_id])
    assert [task["input"] for task in decision["tasks"]] == [
        {"known": [reference(1), reference(2)]}
    ]
    # Erased, what it knew is null; what it keeps stays.
    world.sensitive_values.known.clear()
    instances.put(KEY_HASH, visit(3))
    await applier.apply(QUESTION.model_copy(update={"begun": applied.begin.run_id}))
    state = json.loads(instances.states[KEY_HASH][-1])
    assert state == {"emails": [reference(1), reference(2), reference(3)]}
    assert "ada@" not in repr((instances.states, instances.runs))
    assert instances.failed == set()
