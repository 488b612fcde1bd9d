"""What a run finds, and what is kept of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts import canonical
from contracts.decisions import Decision, RunStatus
from contracts.definitions import ActivityDefinition, RunEnd
from contracts.runs import DecideInput, LastRun, RunInput
from contracts.triggers import Window
from orchestrator_worker.errors import (
    ConnectorError,
    ContextGivenUpError,
    ContextUnavailableError,
    StatementError,
)

MakeRun = Callable[..., RunInput]
MakeDefinition = Callable[..., ActivityDefinition]

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


def _entry(**fields: Any) -> dict[str, Any]:
    return {"name": "overdue", "query": {"connector": "db", "statement": "overdue"}, **fields}


def _by_turns(*turns: Any) -> Callable[[], Any]:
    """Give or raise one after the other, and the last one for ever."""
    left = list(turns)

    async def answer() -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


AWAY = ContextUnavailableError("the database is away")


@pytest.fixture
def looks(
    world: Any, make_definition: MakeDefinition, make_run: MakeRun
) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Decide a run of a definition with these context entries; return what was kept of it."""

    async def decide(*entries: dict[str, Any], rules: Any = None) -> dict[str, Any]:
        version = len(world.definitions.known) + 1
        world.definitions.known["dev", "billing.overdue", version] = make_definition(
            context=list(entries), rules=rules
        )
        run = make_run(version=version)
        await world.decider.decide(DecideInput(run=run, workflow_run_id="execution-1"))
        kept: dict[str, Any] = json.loads(world.ledger.snapshots[run.run_id])
        decision = Decision.model_validate_json(world.ledger.runs[run.run_id][1])
        assert decision.snapshot_sha256 == canonical.digest(world.ledger.snapshots[run.run_id])
        return kept

    return decide


Looks = Callable[..., Awaitable[dict[str, Any]]]


async def test_an_entry_is_tried_again_as_often_as_it_says(world: Any, looks: Looks) -> None:
    world.context.answers["overdue"] = _by_turns(AWAY, AWAY, [1])
    assert await looks(_entry(retries=2)) == {"overdue": [1]}
    assert len(world.context.asked) == 3


async def test_an_entry_that_is_given_up_fails_the_run_with_its_reason(
    world: Any, looks: Looks
) -> None:
    world.context.answers["overdue"] = AWAY
    says = "given up after 2 of 2 attempts: the database is away"
    with pytest.raises(ContextGivenUpError, match=says):
        await looks(_entry(retries=1))
    assert len(world.context.asked) == 2
    assert world.ledger.runs == {}


async def test_a_run_goes_on_with_null_where_its_definition_says_so(
    world: Any, looks: Looks
) -> None:
    world.context.answers["overdue"] = AWAY
    rules = [{"name": "r", "when": "context.overdue == null", "task": FOR_EACH["task"]}]
    rules[0]["task"] = {**FOR_EACH["task"], "key": "'k'", "input": {}}  # type: ignore[dict-item]
    kept = await looks(_entry(retries=0, onFailure=None), rules=rules)
    assert kept == {
        "overdue": None,
        "$failures": {"overdue": "given up after 1 of 1 attempts: the database is away"},
    }
    [(_, decision)] = world.ledger.runs.values()
    assert len(json.loads(decision)["tasks"]) == 1


async def test_an_answer_that_cannot_be_used_is_not_asked_for_again(
    world: Any, looks: Looks
) -> None:
    world.context.answers["overdue"] = StatementError("too many rows")
    kept = await looks(_entry(retries=5, onFailure="null"))
    assert kept["$failures"] == {"overdue": "too many rows"}
    assert len(world.context.asked) == 1


async def test_a_catalogue_without_the_connector_fails_whatever_the_definition_says(
    world: Any, looks: Looks
) -> None:
    world.context.answers["overdue"] = ConnectorError("no such connector")
    with pytest.raises(ConnectorError):
        await looks(_entry(retries=0, onFailure=None))


async def test_an_entry_has_a_time_limit_of_its_own(world: Any, looks: Looks) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    world.context.answers["overdue"] = never
    with pytest.raises(ContextUnavailableError, match="no answer within 1 s"):
        await looks(_entry(timeout="1s"))
    with pytest.raises(ContextGivenUpError, match="context overdue: there is no answer within 1 s"):
        await looks(_entry(timeout="1s", retries=0))


async def test_entries_are_looked_at_together_and_the_final_failure_is_told(
    world: Any, looks: Looks
) -> None:
    met = asyncio.Barrier(3)

    def after_all(result: Any) -> Callable[[], Any]:
        async def answer() -> Any:
            await met.wait()
            return result

        return answer

    entries = [{**_entry(), "name": name} for name in ("one", "two", "three")]
    world.context.answers = {name: after_all(name) for name in ("one", "two", "three")}
    async with asyncio.timeout(5):
        assert await looks(*entries) == {"one": "one", "two": "two", "three": "three"}
        world.context.answers = {
            "one": after_all(AWAY),
            "two": after_all("two"),
            "three": after_all(StatementError("never")),
        }
        with pytest.raises(StatementError):
            await looks(*entries)


async def test_redacted_fields_are_seen_by_rules_and_not_kept(world: Any, looks: Looks) -> None:
    world.context.answers["overdue"] = [{"id": "i1", "email": "ann@example.com"}]
    world.context.redact = ["email"]
    rule = {**FOR_EACH, "when": "context.overdue[0].email == 'ann@example.com'"}
    kept = await looks(_entry(), rules=[rule])
    assert kept["overdue"][0]["id"] == "i1"
    assert list(kept["overdue"][0]["email"]) == ["$redacted"]
    [(_, decision)] = world.ledger.runs.values()
    assert len(json.loads(decision)["tasks"]) == 1
    assert b"ann@example.com" not in b"".join(world.ledger.snapshots.values()) + decision


async def test_the_last_run_is_what_the_ledger_says(world: Any, looks: Looks) -> None:
    entry = {"name": "last", "lastRun": {"status": "completed"}}
    assert await looks(entry) == {"last": None}
    at = datetime(2026, 1, 1, tzinfo=UTC)
    world.ledger.last = LastRun(
        run_id="billing.overdue:x",
        definition_version=2,
        status=RunStatus.COMPLETED,
        trigger_kind="schedule",
        scheduled_for=at,
        window=Window(start=at - timedelta(hours=1), end=at),
        recorded_at=at,
    )
    kept = await looks(entry)
    assert kept["last"] == {
        "run_id": "billing.overdue:x",
        "definition_version": 2,
        "status": "completed",
        "trigger_kind": "schedule",
        "scheduled_for": "2026-01-01T00:00:00Z",
        "window": {"start": "2025-12-31T23:00:00Z", "end": "2026-01-01T00:00:00Z"},
        "recorded_at": "2026-01-01T00:00:00Z",
        "closed_at": None,
    }
    assert kept["last"].keys() == LastRun.model_fields.keys()
    assert world.ledger.asked_last[-1] == (list(world.ledger.runs)[-1], RunEnd.COMPLETED)
