"""A shadow decides what was recorded, tells only the ledger's shadows, and holds nobody up."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from contracts.definitions import ActivityDefinition
from contracts.runs import DecideInput, RecordOutcome, RunInput
from contracts.shadows import ShadowOutcome
from orchestrator_worker.errors import ContextUnavailableError, NeighbourUnavailableError
from orchestrator_worker.service import shadows as service
from orchestrator_worker.service.lookout import Lookout
from orchestrator_worker.service.runs import Decider
from orchestrator_worker.service.shadows import Shadows

MakeRun = Callable[..., RunInput]
MakeDefinition = Callable[..., ActivityDefinition]

OVERDUE = {"name": "overdue", "query": {"connector": "db", "statement": "overdue"}}
CUSTOMERS = {"name": "customers", "query": {"connector": "db", "statement": "customers"}}
SHADOW = "shadow-1"


def rule(when: str = "true", handler: str = "send") -> dict[str, Any]:
    task = {"type": "automated", "handler": handler, "taskQueue": "mail-tq"}
    return {"name": "remind", "when": when, "task": task}


class Records:
    """`ports.ShadowRecords` in memory."""

    def __init__(self) -> None:
        self.known: dict[str, ActivityDefinition] = {}
        self.asked = 0
        self.recorded: list[tuple[str, ShadowOutcome, str, bytes]] = []
        self.error: Exception | None = None

    async def get(self, _namespace: str, shadow_id: str) -> tuple[ActivityDefinition, int]:
        self.asked += 1
        return self.known[shadow_id], 8

    async def record(
        self,
        run: RunInput,
        *,
        shadow_id: str,
        outcome: ShadowOutcome,
        reason: str = "",
        decision: bytes = b"",
    ) -> None:
        assert shadow_id == SHADOW
        if self.error is not None:
            raise self.error
        self.recorded.append((run.run_id, outcome, reason, decision))


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def lookout(context: Any, ledger: Any) -> Lookout:
    return Lookout(context=context, ledger=ledger)


@pytest.fixture
async def shadows(records: Records, lookout: Lookout) -> AsyncIterator[Shadows]:
    running = Shadows(records=records, lookout=lookout)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def decider(world: Any, lookout: Lookout, ledger: Any, instances: Any, shadows: Shadows) -> Decider:
    ledger.shadow_id = SHADOW
    return Decider(
        definitions=world.definitions,
        lookout=lookout,
        ledger=ledger,
        instances=instances,
        sensitive_values=world.sensitive_values,
        cached_definitions=2,
        shadows=shadows,
    )


@pytest.fixture
def decide(
    decider: Decider, definitions: Any, shadows: Shadows, make_run: MakeRun
) -> Callable[..., Any]:
    async def work(own: ActivityDefinition, run: RunInput | None = None) -> tuple[RunInput, Any]:
        definitions.known["dev", "billing.overdue", 1] = own
        run = run or make_run()
        decided = await decider.decide(DecideInput(run=run, workflow_run_id="execution-1"))
        async with asyncio.timeout(10):
            await shadows.drained()
        return run, decided

    return work


async def test_a_recorded_run_is_decided_by_the_shadow_over_the_same_snapshot(
    decide: Any, records: Records, context: Any, ledger: Any, make_definition: MakeDefinition
) -> None:
    context.answers["overdue"] = [1, 2]
    records.known[SHADOW] = make_definition(
        rules=[rule("size(context.overdue) == 2", handler="other")], context=[OVERDUE]
    )
    run, decided = await decide(make_definition(rules=[rule()], context=[OVERDUE]))
    # The run is what it would have been.
    assert decided.outcome is RecordOutcome.RECORDED
    assert [task.handler for task in decided.tasks] == ["send"]
    assert list(ledger.runs) == [run.run_id]
    ((run_id, outcome, reason, decision),) = records.recorded
    assert (run_id, outcome, reason) == (run.run_id, ShadowOutcome.DECIDED, "")
    document = json.loads(decision)
    assert document["definition_version"] == 8
    assert [task["handler"] for task in document["tasks"]] == ["other"]
    # The world was asked once.
    assert [name for name, _ in context.asked] == ["overdue"]


async def test_what_only_the_shadow_looks_at_is_looked_up(
    decide: Any, records: Records, context: Any, make_definition: MakeDefinition
) -> None:
    context.answers |= {"overdue": [1], "customers": ["ann"]}
    records.known[SHADOW] = make_definition(
        rules=[rule("size(context.customers) == 1")], context=[OVERDUE, CUSTOMERS]
    )
    await decide(make_definition(rules=[rule()], context=[OVERDUE]))
    assert [name for name, _ in context.asked] == ["overdue", "customers"]
    assert records.recorded[0][1] is ShadowOutcome.DECIDED


@pytest.mark.parametrize(
    ("shadow", "outcome", "said"),
    [
        ({"rules": [rule("context.overdue.x")]}, ShadowOutcome.FAILED, "rule 'remind', when"),
        ({"context": [OVERDUE, CUSTOMERS]}, ShadowOutcome.NOT_COMPARABLE, "could not be had"),
    ],
)
async def test_why_a_shadow_decided_nothing_is_told(
    decide: Any,
    records: Records,
    context: Any,
    make_definition: MakeDefinition,
    *,
    shadow: dict[str, Any],
    outcome: ShadowOutcome,
    said: str,
) -> None:
    context.answers |= {"overdue": [1], "customers": ContextUnavailableError("it is away")}
    records.known[SHADOW] = make_definition(**{"rules": [rule()], "context": [OVERDUE], **shadow})
    _, decided = await decide(make_definition(rules=[rule()], context=[OVERDUE]))
    assert len(decided.tasks) == 1
    ((_, found, reason, decision),) = records.recorded
    assert (found, decision) == (outcome, b"")
    assert said in reason


async def test_a_shadow_that_would_not_have_been_started_says_so(
    decide: Any, records: Records, make_definition: MakeDefinition
) -> None:
    shadow = make_definition().model_dump(mode="json", by_alias=True, exclude_none=True)
    shadow["spec"]["triggers"] = [
        {"name": "hand", "manual": {"input": {"type": "object", "required": ["why"]}}}
    ]
    records.known[SHADOW] = ActivityDefinition.model_validate(shadow)
    await decide(make_definition())
    assert records.recorded[0][1] is ShadowOutcome.NOT_STARTED


async def test_a_context_that_takes_too_long_is_given_up(
    decide: Any,
    records: Records,
    context: Any,
    make_definition: MakeDefinition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "SHADOW_LOOKUP_TIMEOUT", timedelta(milliseconds=10))
    look = context.look

    async def slow(entry: Any, parameters: Any) -> Any:
        if entry.name == "customers":
            await asyncio.Event().wait()
        return await look(entry, parameters)

    context.look = slow
    context.answers["overdue"] = [1]
    records.known[SHADOW] = make_definition(context=[OVERDUE, CUSTOMERS])
    await decide(make_definition(context=[OVERDUE]))
    assert records.recorded[0][1:3] == (
        ShadowOutcome.NOT_COMPARABLE,
        "its context could not be looked up in time",
    )


async def test_a_ledger_that_does_not_take_it_harms_neither_the_run_nor_the_next_shadow(
    decide: Any, records: Records, make_definition: MakeDefinition
) -> None:
    records.known[SHADOW] = make_definition()
    records.error = NeighbourUnavailableError("away")
    for _ in range(service.SHADOWS_AT_ONCE + 1):
        _, decided = await decide(make_definition())
        assert len(decided.tasks) == 1
    records.error = None
    await decide(make_definition())
    assert len(records.recorded) == 1
    assert records.asked == 1


async def test_a_shadow_that_is_unknown_harms_nobody(
    decide: Any, records: Records, make_definition: MakeDefinition
) -> None:
    _, decided = await decide(make_definition())
    assert len(decided.tasks) == 1
    assert records.recorded == []


async def test_what_is_too_much_is_dropped_and_no_run_waits(
    decider: Decider,
    records: Records,
    context: Any,
    definitions: Any,
    *,
    make_definition: MakeDefinition,
    make_run: MakeRun,
) -> None:
    gate = asyncio.Event()
    look = context.look

    async def held(entry: Any, parameters: Any) -> Any:
        await gate.wait()
        return await look(entry, parameters)

    context.look = held
    context.answers["customers"] = []
    definitions.known["dev", "billing.overdue", 1] = make_definition()
    records.known[SHADOW] = make_definition(context=[CUSTOMERS])
    most = service.MAX_SHADOWS_WAITING + service.SHADOWS_AT_ONCE
    for _ in range(most + 5):
        decided = await decider.decide(DecideInput(run=make_run(), workflow_run_id="execution-1"))
        assert len(decided.tasks) == 1
    gate.set()
    assert decider._shadows is not None
    async with asyncio.timeout(10):
        await decider._shadows.drained()
    assert service.MAX_SHADOWS_WAITING <= len(records.recorded) <= most


async def test_a_run_without_a_shadow_is_left_alone(
    decide: Any, records: Records, ledger: Any, make_definition: MakeDefinition
) -> None:
    ledger.shadow_id = ""
    await decide(make_definition())
    assert records.asked == 0
