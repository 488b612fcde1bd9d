"""Parts of a good history, for tests that plant faults in one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import identity
from history import FoundRun, FoundTask, Record, Row

TASK_EVENTS, RUN_EVENTS = "dev.backbone.task-events", "dev.backbone.run-events"
DEFINITIONS = "dev.backbone.definition-events"


def row(stream: str, version: int, event_type: str, topic: str, **payload: Any) -> Row:
    """Return a row of an event with its payload."""
    service = "registry" if topic == DEFINITIONS else "ledger"
    event_id = identity.event(service, stream, version)
    headers = {
        "backbone-event-id": event_id,
        "backbone-event-type": event_type,
        "backbone-stream": stream,
        "backbone-stream-version": str(version),
    }
    body = {"event_id": event_id, "type": event_type, "payload": payload}
    return Row(
        service=service,
        namespace="dev",
        stream=stream,
        version=version,
        event_id=event_id,
        type=event_type,
        topic=topic,
        key=stream,
        headers=headers,
        body=json.dumps(body).encode(),
    )


def published(one: Row, *, offset: int = 0) -> Record:
    """Return the copy of a row on Kafka."""
    return Record(one.topic, one.key.encode(), dict(one.headers), one.body, 0, offset)


def carried_out(
    run_id: str, names: Sequence[str], *, kind: str, decided: Mapping[str, Any] | None = None
) -> tuple[FoundRun, list[Row]]:
    """Return a run whose automated tasks are done and whose human ones are open, and its rows.

    `decided` is what its decision's event tells.
    """
    stream, rows, tasks = f"run:{run_id}", [], []

    def append(event_type: str, topic: str, **payload: Any) -> None:
        rows.append(row(stream, len(rows) + 1, f"backbone.{event_type}", topic, **payload))

    append("RunDecided", RUN_EVENTS, **(decided or {}))
    for name in names:
        append("TaskCreated", TASK_EVENTS, task_id=identity.task(run_id, name))
    for name in names:
        human = name.startswith("approve/")
        task_id = identity.task(run_id, name)
        if not human:
            append("TaskCompleted", TASK_EVENTS, task_id=task_id)
        tasks.append(
            FoundTask(
                task_id,
                name,
                "human" if human else "automated",
                "open" if human else "completed",
            )
        )
    waits = any(task.type == "human" for task in tasks)
    if not waits:
        append("RunCompleted", RUN_EVENTS)
    return (
        FoundRun(
            run_id=run_id,
            definition_id=run_id.partition(":")[0],
            status="waiting" if waits else "completed",
            kind=kind,
            tasks=tuple(tasks),
            source="s" if kind == "event" else "",
            event_id="1" if kind == "event" else "",
        ),
        rows,
    )
