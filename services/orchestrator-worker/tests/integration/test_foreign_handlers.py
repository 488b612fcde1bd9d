"""Handlers with nothing of ours: Temporal's SDK, its default converter, dictionaries in and out.

They stand for handlers in other languages; docs/handlers.md is what they are written from.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.converter import default as default_converter
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from contracts import jsonschemas
from contracts.runs import RecordOutcome, RunResult
from rules import jsonschemas as schemas

pytestmark = pytest.mark.usefixtures("serving")

TASK_CALL = json.loads(Path(jsonschemas.DIRECTORY / "task-call.schema.json").read_text())


class Foreign:
    """A worker of another team."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()

    @activity.defn(name="completes")
    async def completes(self, call: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(call)
        return {"sent": call["task"]["input"], "key": call["task"]["task_id"]}

    @activity.defn(name="says_nothing")
    async def says_nothing(self, _call: dict[str, Any]) -> None:
        return None

    @activity.defn(name="lists")
    async def lists(self, _call: dict[str, Any]) -> list[Any]:
        return [1, "two", None, {"recorded": True}]

    @activity.defn(name="fails_for_good")
    async def fails_for_good(self, call: dict[str, Any]) -> None:
        self.calls.append(call)
        raise ApplicationError("no such customer", type="UnknownCustomer", non_retryable=True)

    @activity.defn(name="stumbles")
    async def stumbles(self, call: dict[str, Any]) -> int:
        self.calls.append(call)
        if len(self.calls) < 2:
            raise RuntimeError("not yet")
        return activity.info().attempt

    @activity.defn(name="hangs")
    async def hangs(self, _call: dict[str, Any]) -> None:
        self.began.set()
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @activity.defn(name="hangs_silently")
    async def hangs_silently(self, _call: dict[str, Any]) -> None:
        await asyncio.sleep(3600)

    @activity.defn(name="returns_bytes")
    async def returns_bytes(self, _call: dict[str, Any]) -> bytes:
        return b"\xff\x00"

    @activity.defn(name="returns_no_json")
    async def returns_no_json(self, _call: dict[str, Any]) -> RawValue:
        payload = default_converter().payload_converter.to_payload({"a": 1})
        payload.data = b'{"a": '
        return RawValue(payload)

    @activity.defn(name="returns_nan")
    async def returns_nan(self, _call: dict[str, Any]) -> RawValue:
        payload = default_converter().payload_converter.to_payload({"a": 1})
        payload.data = b'{"a": NaN}'
        return RawValue(payload)

    @activity.defn(name="returns_too_much")
    async def returns_too_much(self, _call: dict[str, Any]) -> str:
        return "x" * (300 * 1024)

    @activity.defn(name="returns_more_than_temporal_takes")
    async def returns_more_than_temporal_takes(self, _call: dict[str, Any]) -> str:
        return "x" * (3 * 1024 * 1024)

    @activity.defn(name="returns_more_than_a_message_takes")
    async def returns_more_than_a_message_takes(self, _call: dict[str, Any]) -> str:
        return "x" * (9 * 1024 * 1024)


@pytest.fixture
async def foreign(temporal_address: str, handlers_queue: str) -> AsyncIterator[Foreign]:
    foreign = Foreign()
    client = await Client.connect(temporal_address, namespace="dev")
    activities = [
        getattr(foreign, name) for name, value in vars(Foreign).items() if not name.startswith("_")
    ]
    async with Worker(
        client,
        task_queue=handlers_queue,
        activities=activities,
        default_heartbeat_throttle_interval=timedelta(milliseconds=100),
        max_heartbeat_throttle_interval=timedelta(milliseconds=100),
    ):
        yield foreign


Start = Callable[..., Awaitable[Any]]


async def _result(start: Start) -> RunResult:
    async with asyncio.timeout(60):
        result: RunResult = await (await start()).result()
        return result


def _failures(ledger: Any) -> list[str]:
    return [one.failure.type for one in ledger.outcomes.values() if one.failure]


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    ("handler", "output"),
    [("says_nothing", None), ("lists", [1, "two", None, {"recorded": True}])],
)
async def test_any_json_is_an_output(
    start: Start, define: Any, ledger: Any, handler: str, output: Any
) -> None:
    define(handler)
    assert (await _result(start)).completed == 1
    assert [one.output for one in ledger.outcomes.values()] == [output]


async def test_the_call_is_the_published_json_and_its_output_is_recorded(
    start: Start, define: Any, ledger: Any, foreign: Foreign
) -> None:
    define("completes")
    result = await _result(start)
    assert result == RunResult(outcome=RecordOutcome.RECORDED, completed=1)
    [call] = foreign.calls
    assert schemas.validate(TASK_CALL, call) == []
    [(task_id, outcome)] = ledger.outcomes.items()
    assert outcome.output == {"sent": {"kind": "manual"}, "key": str(task_id)}
    assert call["chain"] == {"correlation_id": call["run_id"], "causation_id": None, "hops": 0}


async def test_a_failure_for_good_is_recorded_by_its_type_and_not_tried_again(
    start: Start, define: Any, ledger: Any, foreign: Foreign
) -> None:
    define("fails_for_good", attempts=5)
    assert (await _result(start)).failed == 1
    [outcome] = ledger.outcomes.values()
    assert (outcome.failure.type, outcome.failure.message) == (
        "UnknownCustomer",
        "no such customer",
    )
    assert len(foreign.calls) == 1


@pytest.mark.usefixtures("foreign")
async def test_another_failure_is_tried_again(start: Start, define: Any, ledger: Any) -> None:
    define("stumbles", attempts=3)
    assert (await _result(start)).completed == 1
    assert [one.output for one in ledger.outcomes.values()] == [2]


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("handler", ["hangs", "hangs_silently"])
async def test_what_does_not_end_in_time_is_a_timeout(
    start: Start, define: Any, ledger: Any, handler: str
) -> None:
    define(handler, timeout="1s", attempts=1)
    assert (await _result(start)).failed == 1
    assert _failures(ledger) == ["Timeout"]


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    ("handler", "failure"),
    [
        ("returns_bytes", "InvalidOutput"),
        ("returns_no_json", "InvalidOutput"),
        ("returns_nan", "InvalidOutput"),
        ("returns_too_much", "OutputTooLarge"),
        # What Temporal does not take fails there; what no message takes is never heard of.
        ("returns_more_than_temporal_takes", "ServerError"),
        ("returns_more_than_a_message_takes", "Timeout"),
    ],
)
async def test_an_output_that_cannot_be_kept_fails_the_task_and_the_run_ends(
    start: Start, define: Any, ledger: Any, handler: str, failure: str
) -> None:
    define(handler, timeout="5s", attempts=1)
    assert (await _result(start)).failed == 1
    assert _failures(ledger) == [failure]


async def test_a_cancellation_reaches_a_handler_that_heartbeats(
    start: Start, define: Any, ledger: Any, foreign: Foreign
) -> None:
    define("hangs")
    handle = await start()
    async with asyncio.timeout(60):
        await foreign.began.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        await foreign.cancelled.wait()
    assert _failures(ledger) == ["Cancelled"]


@pytest.mark.usefixtures("foreign")
async def test_a_handler_that_nobody_has_is_told_by_its_name(
    start: Start, define: Any, ledger: Any
) -> None:
    define("misspelled", attempts=1)
    assert (await _result(start)).failed == 1
    [outcome] = ledger.outcomes.values()
    assert "misspelled" in outcome.failure.message
