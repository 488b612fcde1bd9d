"""Documents to apply, and a wait for conditions."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from contracts import canonical


def _resource(kind: str, metadata: dict[str, Any], spec: dict[str, Any], **more: Any) -> bytes:
    metadata = {"namespace": "dev", "owner": "billing", **metadata}
    metadata |= {name: value for name, value in more.items() if value is not None}
    return canonical.render(
        {"apiVersion": "backbone/v1", "kind": kind, "metadata": metadata, "spec": spec}
    )


def _document(
    definition_id: str = "billing.overdue",
    *,
    namespace: str = "dev",
    owner: str = "billing",
    description: str | None = None,
    every: str | None = None,
    cron: str | None = None,
    listens: str | None = None,
    when: str = "true",
    while_disabled: str = "",
) -> bytes:
    triggers: list[dict[str, Any]] = []
    missed = {"policy": "compress", "window": "1d"}
    if listens is not None:
        triggers.append({"name": "heard", "event": {"type": listens, "when": when}})
    if every is not None:
        triggers.append({"name": "often", "schedule": {"every": every, "missedRuns": missed}})
    if cron is not None:
        schedule = {"cron": cron, "timezone": "Europe/Berlin", "missedRuns": missed}
        triggers.append({"name": "at", "schedule": schedule})
    task = {
        "type": "automated",
        "handler": "send_reminder",
        "taskQueue": "notifications-tq",
        "input": {"kind": "trigger.kind"},
    }
    return _resource(
        "ActivityDefinition",
        {"id": definition_id, "namespace": namespace, "owner": owner},
        {
            "taskQueue": "billing-tq",
            "triggers": triggers,
            "rules": [{"name": "remind", "task": task}],
            **({"whileDisabled": while_disabled} if while_disabled else {}),
        },
        description=description,
    )


def _event_type(
    name: str = "billing.payment.received",
    *,
    namespace: str = "dev",
    owner: str = "billing",
    description: str | None = None,
    schemas: dict[int, dict[str, Any]] | None = None,
    compatibility: str = "backward",
) -> bytes:
    schemas = schemas or {1: {"type": "object", "properties": {"amount": {"type": "number"}}}}
    return _resource(
        "EventType",
        {"id": name, "namespace": namespace, "owner": owner},
        {
            "compatibility": compatibility,
            "schemas": [
                {"version": version, "schema": schema} for version, schema in schemas.items()
            ],
        },
        description=description,
    )


def _producer(
    producer_id: str = "billing-service",
    *,
    namespace: str = "dev",
    owner: str = "billing",
    description: str | None = None,
    types: tuple[str, ...] = ("billing.payment.*",),
) -> bytes:
    return _resource(
        "Producer",
        {"id": producer_id, "namespace": namespace, "owner": owner},
        {"sources": ["billing/*"], "types": list(types)},
        description=description,
    )


@pytest.fixture
def document() -> Callable[..., bytes]:
    """Makes definitions: `document("billing.overdue", every="15m", listens="billing.paid")`."""
    return _document


@pytest.fixture
def event_type() -> Callable[..., bytes]:
    """Makes event types: `event_type("billing.paid", schemas={1: {...}})`."""
    return _event_type


@pytest.fixture
def producer() -> Callable[..., bytes]:
    """Makes producers: `producer("billing-service", types=("billing.*",))`."""
    return _producer


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Waits until a condition holds: `await until(lambda: ..., "what is waited for")`."""

    async def wait(condition: Callable[[], Any], what: str, within_s: float = 20.0) -> None:
        try:
            async with asyncio.timeout(within_s):
                while True:
                    answer = condition()
                    if asyncio.iscoroutine(answer):
                        answer = await answer
                    if answer:
                        return
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"waited {within_s} s in vain: {what}")

    return wait
