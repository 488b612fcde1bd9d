"""Every field of every request, set to what a stranger might: one hostile value at a time.

A request begins as one that could be right, so that what is looked at first does not hide the rest;
then each of its fields, and each field of the messages within, takes each value of its kind.
"""

import base64
import copy
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

SQL = "x'; DROP TABLE ledger.events; --"
LINE_BREAK_BEHIND = "a line break behind what is right"
_DEEP = "[" * 5_000
_WIDE = 12_000
"""Elements of a list: many, and far below what a message can hold."""

TEXTS: dict[str, str] = {
    "NUL": "a\x00b",
    "a line break": "\n",
    "a new line and an escape": 'x\n{"level":"error"}\x1b[2J',
    "SQL": SQL,
    "a template": "{{7*7}}${7*7}{0.__class__}%s%n",
    "a path": "../../../../etc/passwd",
    "a megabyte": "a" * (1 << 20),
    "digits": "9" * 5_000,
    "right to left": "\u202egnp.exe",
    "no character": "\ufffe\U0010ffff",
    "a token that nests": base64.urlsafe_b64encode(_DEEP.encode()).decode(),
    "a token of a number": base64.urlsafe_b64encode(b'["x", 1e999]').decode(),
    "no base64": "\u00e9",
}
NUMBERS: dict[str, int] = {"negative": -1, "the least": -(2**63), "the greatest": 2**63 - 1}
DOCUMENTS: dict[str, bytes] = {
    "nested": _DEEP.encode(),
    "a key twice": b'{"a":1,"a":2}',
    "not finite": b'{"a":NaN}',
    "digits": b'{"a":' + b"9" * 100_000 + b"}",
    "a large exponent": b'{"a":1e999}',
    "half of a pair": b'{"a":"\\ud800"}',
    "NUL": b'{"a":"\\u0000"}',
    "not UTF-8": b"\xff\xfe",
    "a megabyte": b'"' + b"a" * (1 << 20) + b'"',
    "no object": b"[]",
}

_NOW_S = 1_780_000_000
_PLAUSIBLE: dict[str, Any] = {
    "namespace": "dev",
    "definition_id": "billing",
    "run_id": "billing:manual:r-1",
    "task_id": str(uuid.UUID(int=7)),
    "request_id": "r-1",
    "replay_id": "replay-1",
    "backfill_id": "backfill-1",
    "shadow_id": "shadow-1",
    "call_id": str(uuid.UUID(int=8)),
    "event_id": str(uuid.UUID(int=9)),
    "pending_id": str(uuid.UUID(int=10)),
    "operation_id": str(uuid.UUID(int=11)),
    "lease": str(uuid.UUID(int=12)),
    "instance_id": "billing:aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "key_hash": "a" * 26,
    "task_queue": "work-tq",
    "page_token": "",
    "source": "shop",
    "type": "billing.paid",
    "topic": "dev.events",
    "resource_id": "billing",
    "assigned_user": "",
    "assigned_group": "",
    "workflow_id": "billing/manual/r-1",
    "name": "daily",
    "trigger_name": "daily",
    "owner": "",
    "etag": "",
    "plan_sha256": "",
    "prune_owner": "",
    # A run that is started by hand.
    "trigger": b'{"kind":"manual","definition_version":1,"request_id":"r-1"}',
    "digest": bytes(32),
    "sha256": bytes(32).hex(),
    "mode": "missing",
    "state": "open",
    "reason": "why",
    "actor": "somebody",
    "event": b"",
    "topics": "dev.orders",
    "schedules": b"{}",
    "workflow_run_id": "w-1",
}
_OF_MESSAGE: dict[str, Any] = {
    "ListPendingStartsRequest.reason": "held",
    "DeadLetterResolution.topic": "dev.backbone.dead-letters",
    "ListDeadLetterResolutionsRequest.topic": "dev.backbone.dead-letters",
    "PlanReplayRequest.topic": "dev.orders",
    "GetInstanceRequest.instance_id": f"billing:instance:{'a' * 26}",
}
_EARLIER = ("_from", "since")
_LATER = ("expires_at", "_to", "until")


@dataclass(frozen=True)
class Hostile:
    """A request with one hostile value, and where that is."""

    where: str
    what: str
    request: Message


def plausible(kind: Descriptor) -> Message:
    """Return a request of a kind that could be right."""
    message: Message = GetMessageClass(kind)()
    for field in kind.fields:
        _fill(message, field)
    return message


def hostile(method: MethodDescriptor) -> Iterator[Hostile]:
    """Yield requests of a method, each with one hostile value."""
    yield from _below(plausible(method.input_type), lambda message: message, "")


def _fill(message: Any, field: FieldDescriptor) -> None:
    if field.containing_oneof is not None and field.containing_oneof.fields[0] is not field:
        return
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            return
        within = getattr(message, field.name)
        within = within.add() if field.is_repeated else within
        if field.message_type.full_name == "google.protobuf.Timestamp":
            within.seconds = _NOW_S
            if field.name.endswith(_EARLIER):
                within.seconds -= 3600
            elif field.name.endswith(_LATER):
                within.seconds = int(time.time()) + 3600
        elif field.message_type.full_name == "google.protobuf.Duration":
            within.seconds = 30
        else:
            within.SetInParent()
            for inner in field.message_type.fields:
                _fill(within, inner)
        return
    value = _value(field)
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _value(field: FieldDescriptor) -> Any:
    named = f"{field.containing_type.name}.{field.name}"
    known = _OF_MESSAGE.get(named, _PLAUSIBLE.get(field.name))
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return known if isinstance(known, str) else "x"
        case FieldDescriptor.TYPE_BYTES:
            return known if isinstance(known, bytes) else b"{}"
        case FieldDescriptor.TYPE_BOOL:
            return False
        case FieldDescriptor.TYPE_ENUM:
            return 1
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return 1.0
        case _:
            return 1


def _below(root: Message, find: Callable[[Any], Any], path: str) -> Iterator[Hostile]:
    for field in find(root).DESCRIPTOR.fields:
        where = f"{path}.{field.name}" if path else field.name

        def changed(what: str, change: Callable[[Any], None], where: str = where) -> Hostile:
            request = copy.deepcopy(root)
            change(find(request))
            return Hostile(where, what, request)

        yield from _of_field(field, changed)
        if field.message_type is None or field.message_type.full_name.startswith("google."):
            continue
        if field.is_repeated and not len(getattr(find(root), field.name)):
            continue

        def inner(message: Any, field: FieldDescriptor = field) -> Any:
            found = getattr(find(message), field.name)
            return found[0] if field.is_repeated else found

        yield from _below(root, inner, where)


def _of_field(field: FieldDescriptor, changed: Callable[..., Hostile]) -> Iterator[Hostile]:
    name = field.name
    for what, value in _values(field):
        if field.message_type is not None:

            def stamp(message: Any, value: Any = value) -> None:
                within = getattr(message, name)
                within = within.add() if field.is_repeated else within
                within.seconds, within.nanos = value

            yield changed(what, stamp)
        elif field.is_repeated:
            yield changed(what, lambda message, value=value: getattr(message, name).append(value))
        else:
            yield changed(what, lambda message, value=value: setattr(message, name, value))
            if field.type == FieldDescriptor.TYPE_STRING and what == "a line break":
                yield changed(
                    LINE_BREAK_BEHIND,
                    lambda message: setattr(message, name, getattr(message, name) + "\n"),
                )
    if field.is_repeated and field.message_type is None:
        yield changed(
            "very many", lambda message: getattr(message, name).extend([_value(field)] * _WIDE)
        )
    elif field.is_repeated and not field.message_type.GetOptions().map_entry:
        yield changed(
            "very many",
            lambda message: getattr(message, name).extend([getattr(message, name)[0]] * _WIDE),
        )


def _values(field: FieldDescriptor) -> Iterator[tuple[str, Any]]:
    if field.message_type is not None:
        if field.message_type.full_name in (
            "google.protobuf.Timestamp",
            "google.protobuf.Duration",
        ):
            yield "the last second that a number holds", (2**63 - 1, 0)
            yield "the first second that a number holds", (-(2**63), 0)
            yield "nanoseconds of years", (_NOW_S, 2**31 - 1)
            yield "ten thousand years", (315_576_000_000, 0)
        return
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            yield from TEXTS.items()
        case FieldDescriptor.TYPE_BYTES:
            yield from DOCUMENTS.items()
        case FieldDescriptor.TYPE_ENUM:
            yield "unknown", 9_999
        case FieldDescriptor.TYPE_INT64 | FieldDescriptor.TYPE_SINT64:
            yield from NUMBERS.items()
        case FieldDescriptor.TYPE_INT32 | FieldDescriptor.TYPE_SINT32:
            yield from {"negative": -1, "the least": -(2**31), "the greatest": 2**31 - 1}.items()
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            yield from {"NaN": float("nan"), "infinite": float("inf"), "negative": -1.0}.items()


def forged(*values: Any) -> str:
    """Return a page token that says `values`, as the services write them."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
