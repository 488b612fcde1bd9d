"""Example records of Backbone's own topics: what a consumer of a topic has to be able to take.

Each event type comes minimal, full, as a later release may write it, and twice: delivery is at
least once. Beside them stand records that nobody has to accept, and that must hang nobody.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from contracts import envelope as envelopes
from contracts import events, identifiers, names
from contracts.decisions import RunStatus
from contracts.definitions import Assignees
from contracts.envelope import Envelope
from contracts.names import EventType, Extension, Header, Topic
from contracts.rejections import Reason
from contracts.resources import ResourceKind, ResourceState
from contracts.runs import TaskFailure

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SHA256 = "0" * 64
DEFINITION_ID = "billing.overdue-invoices"
RUN_ID = identifiers.run_id(DEFINITION_ID, identifiers.schedule_trigger_key(NOW))
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"

_RUN: dict[str, Any] = {
    "run_id": RUN_ID,
    "definition_id": DEFINITION_ID,
    "definition_version": 3,
}
_TRIGGER: dict[str, Any] = {
    "trigger_kind": "schedule",
    "trigger_key": identifiers.instant(NOW),
    "trigger_names": ["hourly"],
    "trigger_sha256": SHA256,
    "workflow_run_id": "0193a1c0-0000-7000-8000-000000000000",
}
_TASK: dict[str, Any] = {
    "task_id": identifiers.task_id("dev", RUN_ID, "remind", "INV-0001"),
    "run_id": RUN_ID,
    "definition_id": DEFINITION_ID,
    "rule": "remind",
    "key": "INV-0001",
    "type": "automated",
}
_CHANGE: dict[str, Any] = {
    "kind": ResourceKind.ACTIVITY_DEFINITION,
    "resource_id": DEFINITION_ID,
    "version": 3,
    "revision": 17,
    "state": ResourceState.ACTIVE,
    "actor": "local/ana",
    "reason": "grün: first try",
}
_HUMAN: dict[str, Any] = _TASK | {"type": "human"}
_NOTICE: dict[str, Any] = _HUMAN | {
    "title": "Call the customer",
    "assignees": Assignees(users=["ana"], groups=["collections"]),
    "scheduled_for": NOW,
}
_FAILURE = TaskFailure(type="Timeout", message="no attempt ended in time")
_RETRIED: dict[str, Any] = {
    **_RUN,
    "root_run_id": _RUN["run_id"],
    "new_run_id": f"{_RUN['run_id']}:retry:1",
    "request_id": "req-1",
    "actor": "local/ana",
    "reason": "the registry is back",
}
_HANDLED: dict[str, Any] = {
    "run_id": _RUN["run_id"],
    "definition_id": DEFINITION_ID,
    "call_id": identifiers.failure_call_id("dev", RUN_ID, None, 1),
    "handler": "notify_owner",
}

PAYLOADS: dict[EventType, tuple[BaseModel, BaseModel]] = {
    EventType.RESOURCE_APPLIED: (
        events.ResourceApplied(**_CHANGE, content_sha256=SHA256, content={}),
        events.ResourceApplied(
            **_CHANGE,
            content_sha256=SHA256,
            content={
                "apiVersion": "backbone/v1",
                "kind": "ActivityDefinition",
                "metadata": {"id": DEFINITION_ID, "namespace": "dev", "owner": "billing"},
            },
        ),
    ),
    EventType.RESOURCE_ACTIVATED: (
        events.ResourceActivated(**_CHANGE),
        events.ResourceActivated(**_CHANGE | {"kind": ResourceKind.EVENT_TYPE}),
    ),
    EventType.RESOURCE_ENABLED: (
        events.ResourceEnabled(**_CHANGE),
        events.ResourceEnabled(**_CHANGE),
    ),
    EventType.RESOURCE_DISABLED: (
        events.ResourceDisabled(**_CHANGE | {"state": ResourceState.DISABLED}),
        events.ResourceDisabled(**_CHANGE | {"state": ResourceState.DISABLED}),
    ),
    EventType.RESOURCE_RETIRED: (
        events.ResourceRetired(**_CHANGE | {"state": ResourceState.RETIRED}),
        events.ResourceRetired(
            **_CHANGE | {"state": ResourceState.RETIRED, "kind": ResourceKind.PRODUCER}
        ),
    ),
    EventType.RUN_DECIDED: (
        events.RunDecided(
            **_RUN,
            **_TRIGGER,
            snapshot_sha256=SHA256,
            decision_sha256=SHA256,
            tasks=0,
            status=RunStatus.COMPLETED,
        ),
        events.RunDecided(
            **_RUN,
            **_TRIGGER,
            snapshot_sha256=SHA256,
            decision_sha256=SHA256,
            tasks=2,
            human_tasks=1,
            status=RunStatus.RUNNING,
            scheduled_for=NOW,
        ),
    ),
    EventType.RUN_FAILED: (
        events.RunFailed(**_RUN, **_TRIGGER, failure=_FAILURE),
        events.RunFailed(**_RUN, **_TRIGGER, failure=_FAILURE),
    ),
    EventType.RUN_COMPLETED: (events.RunCompleted(**_RUN), events.RunCompleted(**_RUN)),
    EventType.RUN_CANCELLED: (
        events.RunCancelled(**_RUN, actor="local/ana", reason="wrong data", cancelled_tasks=0),
        events.RunCancelled(**_RUN, actor="local/ana", reason="wrong data", cancelled_tasks=3),
    ),
    EventType.RUN_REOPENED: (
        events.RunReopened(**_RUN, actor="local/ana", reason="the mail server is back"),
        events.RunReopened(**_RUN, actor="local/ana", reason="the mail server is back"),
    ),
    EventType.RUN_RETRIED: (
        events.RunRetried(**_RETRIED, number=1),
        events.RunRetried(**_RETRIED, number=2),
    ),
    EventType.FAILURE_HANDLED: (
        events.FailureHandled(**_HANDLED),
        events.FailureHandled(**_HANDLED, task_id=_TASK["task_id"], failure=_FAILURE),
    ),
    EventType.TASK_CREATED: (
        events.TaskCreated(
            **_TASK,
            definition_version=3,
            input={"invoice": "INV-0001", "amount": 97.5, "nested": {"list": [1, None, True]}},
            handler="send_reminder",
            task_queue="notifications-tq",
        ),
        events.TaskCreated(
            **_HUMAN,
            definition_version=3,
            input={},
            title="Call the customer",
            assignees=Assignees(users=["ana"], groups=["collections"]),
            due_at=NOW,
            remind_at=[NOW],
            escalates_at=NOW,
            escalates_to=Assignees(groups=["managers"]),
            expires_at=NOW,
            form={"type": "object", "additionalProperties": False},
        ),
    ),
    EventType.TASK_COMPLETED: (
        events.TaskCompleted(**_TASK),
        events.TaskCompleted(**_HUMAN, output=[1, "two"], actor="local/ana", reason="called"),
    ),
    EventType.TASK_FAILED: (
        events.TaskFailed(**_TASK, failure=_FAILURE),
        events.TaskFailed(**_HUMAN, failure=_FAILURE),
    ),
    EventType.TASK_CANCELLED: (
        events.TaskCancelled(**_TASK, actor="local/ana", reason="paid"),
        events.TaskCancelled(**_HUMAN, actor="local/ana", reason="grün: paid"),
    ),
    EventType.TASK_EXPIRED: (
        events.TaskExpired(**_HUMAN, expires_at=NOW),
        events.TaskExpired(**_HUMAN, expires_at=NOW),
    ),
    EventType.TASK_CLAIMED: (
        events.TaskClaimed(**_HUMAN, actor="local/ana"),
        events.TaskClaimed(**_HUMAN, actor="local/ana", reason="I know him"),
    ),
    EventType.TASK_RELEASED: (
        events.TaskReleased(**_HUMAN, actor="local/ana"),
        events.TaskReleased(**_HUMAN, actor="local/ana", reason="no time"),
    ),
    EventType.TASK_REASSIGNED: (
        events.TaskReassigned(
            **_HUMAN, assignees=Assignees(users=["bo"]), actor="local/ana", reason="ill"
        ),
        events.TaskReassigned(
            **_HUMAN,
            assignees=Assignees(users=["bo", "cy"], groups=["collections"]),
            actor="local/ana",
            reason="ill",
        ),
    ),
    EventType.TASK_COMMENTED: (
        events.TaskCommented(**_HUMAN, comment="called", actor="local/ana"),
        events.TaskCommented(**_HUMAN, comment="grün:\ncalled", actor="local/ana"),
    ),
    EventType.TASK_REMINDED: (
        events.TaskReminded(**_NOTICE, due_at=NOW),
        events.TaskReminded(**_NOTICE, due_at=NOW, claimed_by="local/ana"),
    ),
    EventType.TASK_OVERDUE: (
        events.TaskOverdue(**_NOTICE, due_at=NOW),
        events.TaskOverdue(**_NOTICE, due_at=NOW, claimed_by="local/ana"),
    ),
    EventType.TASK_ESCALATED: (
        events.TaskEscalated(**_NOTICE),
        events.TaskEscalated(**_NOTICE, claimed_by="local/ana"),
    ),
    EventType.TASK_CANCELLED: (
        events.TaskCancelled(**_TASK, actor="local/ana", reason="wrong data"),
        events.TaskCancelled(**(_TASK | {"type": "human"}), actor="local/ana", reason="wrong data"),
    ),
    EventType.TASK_RETRIED: (
        events.TaskRetried(**_TASK, generation=2, actor="local/ana", reason="try again"),
        events.TaskRetried(**_TASK, generation=3, actor="local/ana", reason="try again"),
    ),
    EventType.SUBJECT_ERASED: (
        events.SubjectErased(
            subject_ref="abcdefghijklmnopqrstuvwxyz", values=0, actor="local/ana", reason="asked"
        ),
        events.SubjectErased(
            subject_ref="abcdefghijklmnopqrstuvwxyz", values=7, actor="local/ana", reason="asked"
        ),
    ),
    EventType.KILL_SWITCH_THROWN: (
        events.KillSwitchThrown(
            switch_id="abcdefghijklmnopqrstuvwxyz",
            point="run",
            labels={},
            actor="local/ana",
            reason="an outage",
        ),
        events.KillSwitchThrown(
            switch_id="abcdefghijklmnopqrstuvwxyz",
            point="effect",
            labels={"team": "payments"},
            actor="local/ana",
            reason="an outage",
        ),
    ),
    EventType.KILL_SWITCH_RESET: (
        events.KillSwitchReset(
            switch_id="abcdefghijklmnopqrstuvwxyz", actor="local/ana", reason="it is over"
        ),
        events.KillSwitchReset(
            switch_id="abcdefghijklmnopqrstuvwxyz", actor="local/ana", reason="it is over"
        ),
    ),
}
"""For each event type a payload with as little, and one with as much, as it may hold."""


@dataclass(frozen=True)
class Example:
    """A record of a topic; one that is not `acceptable` may be refused."""

    name: str
    topic: str
    key: str
    headers: dict[str, str]
    value: bytes
    acceptable: bool = True

    def document(self) -> dict[str, Any]:
        """Return the example as JSON, as `events tail` shows records."""
        raw = None
        try:
            value = json.loads(self.value)
        except ValueError:
            value, raw = None, base64.b64encode(self.value).decode()
        return {
            "example": self.name,
            "topic": self.topic,
            "key": self.key,
            "headers": self.headers,
            "value": value,
            "value_base64": raw,
            "acceptable": self.acceptable,
        }


def of_topic(topic: Topic, *, namespace: str) -> list[Example]:
    """Return the examples of one of Backbone's topics that a consumer has to accept."""
    if topic is Topic.DEAD_LETTERS:
        return list(_dead_letters(namespace))
    return [
        example
        for event_type, its_topic in names.TOPIC_OF.items()
        if its_topic is topic
        for example in _of_type(event_type, namespace=namespace)
    ]


def garbage(topic: Topic, *, namespace: str) -> list[Example]:
    """Return records that are no events at all, as anybody may write them by mistake."""
    event = _COMPLETED.value(namespace)
    values = {
        "empty": b"",
        "cut": event[: len(event) // 2],
        "no envelope": b'{"hello":"world"}',
        "no object": b"[]",
        "not UTF-8": b"\xff\xfe\x00{",
        "deeply nested": b"[" * 100_000,
    }
    return [
        Example(
            name=f"garbage: {name}",
            topic=names.topic(namespace, topic),
            key="garbage",
            headers={},
            value=value,
            acceptable=False,
        )
        for name, value in values.items()
    ]


def _of_type(event_type: EventType, *, namespace: str) -> Iterator[Example]:
    minimal, full = PAYLOADS[event_type]
    # No two events of a stream share a version, of which their ids are made.
    version = list(EventType).index(event_type) * 10
    cases = (
        ("minimal", Event(event_type, minimal, version + 1)),
        ("full", Event(event_type, full, version + 2, chained=True)),
        ("of a later release", Event(event_type, full, version + 3, chained=True, later=True)),
        ("first time", Event(event_type, minimal, version + 4)),
        ("second time", Event(event_type, minimal, version + 4)),
    )
    for name, event in cases:
        yield Example(
            name=f"{event_type}: {name}",
            topic=names.topic(namespace, names.TOPIC_OF[event_type]),
            key=event.key,
            headers=event.headers(namespace),
            value=event.value(namespace),
        )


_STREAM_OF_TYPE = {
    EventType.SUBJECT_ERASED: "subject",
    EventType.KILL_SWITCH_THROWN: "kill-switch",
    EventType.KILL_SWITCH_RESET: "kill-switch",
}
_KEYS = ("resource_id", "run_id", "subject_ref", "switch_id")
"""The field of a payload that an event travels by: the first of these that it has."""


@dataclass(frozen=True)
class Event:
    """An event of Backbone's at a version of its stream.

    One that is `chained` says what caused it; one of a `later` release has fields of its own.
    """

    type: EventType
    payload: BaseModel
    version: int
    chained: bool = False
    later: bool = False

    @property
    def source(self) -> str:
        """The service that emits it, as the envelope names it."""
        of_registry = names.TOPIC_OF[self.type] is Topic.DEFINITION_EVENTS
        return names.source("registry" if of_registry else "ledger")

    @property
    def key(self) -> str:
        """The Kafka key: what it is in order with."""
        fields = dict(self.payload)
        return str(next(fields[name] for name in _KEYS if name in fields))

    @property
    def stream(self) -> str:
        """The stream it stands in."""
        kind = dict(self.payload).get("kind")
        of = _STREAM_OF_TYPE.get(self.type, "run")
        return f"{of}:{self.key}" if kind is None else f"{_STREAM_OF[kind]}:{self.key}"

    def headers(self, namespace: str) -> dict[str, str]:
        """Return the headers it is published with."""
        headers = {
            Header.EVENT_ID.value: self._id(namespace),
            Header.EVENT_TYPE.value: self.type.value,
            Header.STREAM.value: self.stream,
            Header.STREAM_VERSION.value: str(self.version),
        }
        return headers | ({Header.TRACEPARENT.value: TRACEPARENT} if self.chained else {})

    def value(self, namespace: str) -> bytes:
        """Return the bytes that are published."""
        payload = self.payload.model_dump(mode="json", by_alias=True, exclude_none=True)
        fields: dict[str, Any] = {
            "event_id": self._id(namespace),
            "type": self.type,
            "source": self.source,
            "occurred_at": NOW,
            "subject": str(dict(self.payload).get("task_id", self.key)),
            "namespace": namespace,
            "correlation_id": "order-1",
            "payload": payload | ({"added_later": {"any": [1]}} if self.later else {}),
            Extension.HOPS.value: 1,
        }
        if self.chained:
            fields["causation_id"] = "payment-1"
            fields["trace_id"] = TRACE_ID
            fields[Extension.TRACEPARENT.value] = TRACEPARENT
        if self.later:
            fields["added_later"] = "kept"
        return envelopes.render(Envelope.model_validate(fields))

    def _id(self, namespace: str) -> str:
        return identifiers.emitted_event_id(namespace, self.source, self.stream, self.version)


_STREAM_OF = {
    ResourceKind.ACTIVITY_DEFINITION: "definition",
    ResourceKind.EVENT_TYPE: "event-type",
    ResourceKind.PRODUCER: "producer",
}
_COMPLETED = Event(EventType.RUN_COMPLETED, PAYLOADS[EventType.RUN_COMPLETED][0], 1)


def _dead_letters(namespace: str) -> Iterator[Example]:
    cases: dict[str, tuple[bytes, Reason, dict[Header, str]]] = {
        "malformed": (b'{"event_id": ', Reason.MALFORMED_JSON, {}),
        "unreadable headers": (
            b"\xff\x00",
            Reason.NOT_UTF8,
            {Header.HEADERS_UNREADABLE: "true"},
        ),
        "cut": (b"x" * 64, Reason.OVERSIZE, {Header.VALUE_CUT_FROM: str(5 * 1024 * 1024)}),
        "sound, but not routed": (
            _COMPLETED.value(namespace),
            Reason.UNROUTABLE,
            {Header.EVENT_TYPE: EventType.RUN_COMPLETED.value},
        ),
    }
    for name, (value, reason, more) in cases.items():
        headers = {
            Header.REASON: reason.value,
            Header.DETAIL: f"an example of {reason}",
            Header.ORIGIN_TOPIC: f"{namespace}.events",
            Header.ORIGIN_PARTITION: "0",
            Header.ORIGIN_OFFSET: "42",
            Header.ORIGIN_TIMESTAMP: identifiers.instant(NOW),
            Header.ATTEMPTS: "1",
        } | more
        yield Example(
            name=f"dead letter: {name}",
            topic=names.topic(namespace, Topic.DEAD_LETTERS),
            key="order-1",
            headers={header.value: text for header, text in headers.items()},
            value=value,
        )
