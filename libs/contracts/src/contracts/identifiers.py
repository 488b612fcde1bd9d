"""Every identifier of Backbone, built here and nowhere else.

Two deliveries of one cause give one identifier: that is what makes a run, a task and an emitted
event exactly-once in effect. Nothing personal goes into a run id, since Temporal keeps workflow ids
in plain text; what could be personal (an event's source and id) goes in as a hash.
"""

import base64
import functools
import hashlib
import hmac
import re
import uuid
from datetime import UTC, datetime
from typing import NewType

DefinitionId = NewType("DefinitionId", str)
RunId = NewType("RunId", str)
TriggerKey = NewType("TriggerKey", str)
TaskId = NewType("TaskId", uuid.UUID)
EventId = NewType("EventId", str)

DEFINITION_ID_PATTERN = r"^[a-z][a-z0-9]*([-.][a-z0-9]+)*$"
NAMESPACE_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
NAME_PATTERN = r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$"
TASK_QUEUE_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*-tq$"
REQUEST_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
BATCH_ID_PATTERN = r"^[a-z2-7]{26}$"
KEY_HASH_PATTERN = r"^[a-z2-7]{26}$"
ROUTING_CAUSE_PATTERN = r"^(redrive|replay):[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z"

_REPLAY = "replay:"

# The root of every UUIDv5 below. Changing it would change every id that was ever derived.
_ROOT = uuid.UUID("6b7f5f9c-1f0e-5d0a-9d52-0c5b8f1b6a01")


def is_encodable(text: str) -> bool:
    """Say whether a text has a form in UTF-8: half of a surrogate pair, from JSON, has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def short_hash(*parts: str) -> str:
    """Return SHA-256 over the length-prefixed parts, cut to 128 bits, in 26 base32 characters.

    The length prefixes keep ("ab", "c") and ("a", "bc") apart.
    """
    state = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        state.update(len(encoded).to_bytes(4, "big"))
        state.update(encoded)
    return base64.b32encode(state.digest()[:16]).decode().rstrip("=").lower()


def instant(moment: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with `Z`; fractions appear only when there are any.

    Raises:
        ValueError: the time is naive.
    """
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone cannot be part of an identifier: {moment}")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def schedule_trigger_key(scheduled_for: datetime) -> TriggerKey:
    """Return the key of a due time; a backfill of the same instant has the same key."""
    return TriggerKey(instant(scheduled_for))


@functools.lru_cache(maxsize=4096)  # One event's is asked for at each step of its way.
def event_trigger_key(source: str, event_id: str) -> TriggerKey:
    """Return the key of an event, which (source, event_id) identifies as in CloudEvents 1.0."""
    return TriggerKey(f"event:{short_hash(source, event_id)}")


def manual_trigger_key(request_id: str) -> TriggerKey:
    """Return the key of a start by hand.

    Raises:
        ValueError: the request id does not match `REQUEST_ID_PATTERN`.
    """
    if not re.fullmatch(REQUEST_ID_PATTERN, request_id):
        raise ValueError(f"not a request id: {request_id!r}")
    return TriggerKey(f"manual:{request_id}")


def retry_trigger_key(retried: TriggerKey, number: int) -> TriggerKey:
    """Return the key of the `number`th run (from 1) that decides again what `retried` caused."""
    return TriggerKey(f"{retried}:retry:{number}")


def redrive_cause(request_id: str) -> str:
    """Return the cause of a record that is routed because a dead letter is redriven.

    Raises:
        ValueError: the request id does not match `REQUEST_ID_PATTERN`.
    """
    if not re.fullmatch(REQUEST_ID_PATTERN, request_id):
        raise ValueError(f"not a request id: {request_id!r}")
    return f"redrive:{request_id}"


def replay_cause(replay_id: str) -> str:
    """Return the cause of an event that a replay of events routes again.

    Raises:
        ValueError: the replay id does not match `REQUEST_ID_PATTERN`.
    """
    if not re.fullmatch(REQUEST_ID_PATTERN, replay_id):
        raise ValueError(f"not a replay id: {replay_id!r}")
    return f"{_REPLAY}{replay_id}"


def replay_of(cause: str) -> str | None:
    """Return the id of the replay that a routing cause names, None for any other cause."""
    return cause.removeprefix(_REPLAY) if cause.startswith(_REPLAY) else None


def replayed(key: TriggerKey, replay_id: str) -> TriggerKey:
    """Return the key of what has `key` when a replay of events routes it again."""
    return TriggerKey(f"{key}:{replay_cause(replay_id)}")


def pending_id(
    definition_id: str, *, topic: str, partition: int, offset: int, cause: str, event_id: str
) -> str:
    """Return what names an event that waits, or the batch that begins with it.

    It follows from where the record stood, so that whoever records it again names it the same.
    """
    return short_hash(definition_id, topic, str(partition), str(offset), cause, event_id)


def timer_trigger_key(key_hash: str, generation: int, sequence: int, name: str) -> TriggerKey:
    """Return the key of a timer of an instance, set by the `sequence`th of its generation.

    Raises:
        ValueError: the hash or the name does not match its pattern.
    """
    if not re.fullmatch(KEY_HASH_PATTERN, key_hash):
        raise ValueError(f"not the hash of a correlation key: {key_hash!r}")
    if not re.fullmatch(NAME_PATTERN, name):
        raise ValueError(f"not the name of a timer: {name!r}")
    return TriggerKey(f"timer:{key_hash}:{generation}:{sequence}:{name}")


def batch_trigger_key(batch_id: str) -> TriggerKey:
    """Return the key of a batch, whose id is the `pending_id` of its first event.

    Raises:
        ValueError: the batch id does not match `BATCH_ID_PATTERN`.
    """
    if not re.fullmatch(BATCH_ID_PATTERN, batch_id):
        raise ValueError(f"not a batch id: {batch_id!r}")
    return TriggerKey(f"batch:{batch_id}")


def run_id(definition_id: str, trigger_key: TriggerKey) -> RunId:
    """Return the id of the one run that `trigger_key` gives `definition_id`.

    It is the Temporal workflow id too. Raises ValueError for a malformed definition id.
    """
    if not re.fullmatch(DEFINITION_ID_PATTERN, definition_id):
        raise ValueError(f"not a definition id: {definition_id!r}")
    return RunId(f"{definition_id}:{trigger_key}")


def key_hash(secret: bytes, definition_id: str, correlation_key: str) -> str:
    """Return what stands for a correlation key, which may be personal, in ids.

    HMAC-SHA256 under the installation's secret, cut to 128 bits, in 26 base32 characters: without
    the secret nobody finds out a key by trying.
    """
    message = b"".join(
        len(part).to_bytes(4, "big") + part
        for part in (definition_id.encode(), correlation_key.encode())
    )
    digest = hmac.digest(secret, message, "sha256")
    return base64.b32encode(digest[:16]).decode().rstrip("=").lower()


def instance_workflow_id(definition_id: str, key_hash: str) -> str:
    """Return the workflow id of the instance of a correlation key, whatever its generation.

    Raises:
        ValueError: an argument does not match its pattern.
    """
    if not re.fullmatch(DEFINITION_ID_PATTERN, definition_id):
        raise ValueError(f"not a definition id: {definition_id!r}")
    if not re.fullmatch(KEY_HASH_PATTERN, key_hash):
        raise ValueError(f"not the hash of a correlation key: {key_hash!r}")
    return f"{definition_id}:instance:{key_hash}"


def instance_id(definition_id: str, key_hash: str, generation: int) -> str:
    """Return the id of one generation of an instance, counted from 1. Raises as its workflow's."""
    return f"{instance_workflow_id(definition_id, key_hash)}:{generation}"


def holds_for_instance(definition_id: str, workflow_run_id: str) -> bool:
    """Say whether what stands for a run's execution is the name of an instance of the definition.

    An instance that records a run holds it so, until an execution carries it out.
    """
    return workflow_run_id.startswith(f"{definition_id}:instance:")


def parse_instance_id(instance: str) -> tuple[str, str, int]:
    """Return the definition's id, the key's hash and the generation of an instance id.

    Raises:
        ValueError: it is not one.
    """
    found = re.fullmatch(r"([^:]+):instance:([a-z2-7]{26}):([1-9][0-9]{0,8})", instance)
    if found is None or not re.fullmatch(DEFINITION_ID_PATTERN, found[1]):
        raise ValueError(f"not the id of an instance: {instance!r}")
    return found[1], found[2], int(found[3])


def task_id(namespace: str, run: RunId, rule: str, key: str) -> TaskId:
    """Return the UUIDv5 of a task: a retried decision derives the same tasks."""
    return TaskId(uuid.uuid5(_ROOT, f"task:{short_hash(namespace, run, rule, key)}"))


def blob_id(namespace: str, source: str, event_id: str, pointer: str) -> uuid.UUID:
    """Return the UUIDv5 of a sensitive value: by the event that brought it and its place there.

    `pointer` is a JSON Pointer into the event's payload. Whoever routes the event again names the
    value the same.
    """
    return uuid.uuid5(_ROOT, f"blob:{short_hash(namespace, source, event_id, pointer)}")


def retry_workflow_id(task: uuid.UUID, generation: int) -> str:
    """Return the id of the Temporal workflow that carries out a task again."""
    return f"task:{task}:{generation}"


def failure_call_id(namespace: str, run: str, task: uuid.UUID | None, generation: int) -> uuid.UUID:
    """Return the UUIDv5 of the one call of `onFailure` for a run, or for a failure of a task."""
    return uuid.uuid5(
        _ROOT, f"failure:{short_hash(namespace, run, str(task or ''), str(generation))}"
    )


def failure_workflow_id(call: uuid.UUID) -> str:
    """Return the id of the Temporal workflow that makes a call of `onFailure` for a run."""
    return f"failure:{call}"


def emitted_event_id(namespace: str, source: str, stream: str, version: int) -> EventId:
    """Return the UUIDv5 of the event at `version` (counted from 1) of `stream`."""
    return EventId(
        str(uuid.uuid5(_ROOT, f"event:{short_hash(namespace, source, stream, str(version))}"))
    )


def published_event_id(task: uuid.UUID) -> EventId:
    """Return the UUIDv5 of the one event that a task publishes."""
    return EventId(str(uuid.uuid5(_ROOT, f"published:{task}")))


def shadow_id(namespace: str, definition_id: str, request_id: str) -> str:
    """Return what names the shadow that a request starts."""
    return short_hash("shadow", namespace, definition_id, request_id)


def schedule_id(definition_id: str) -> str:
    """Return the id of the one Temporal Schedule that wakes a definition."""
    return f"schedule:{definition_id}"


def definition_of_schedule(schedule: str) -> DefinitionId | None:
    """Return whose Temporal Schedule this id names, None when it is not one of ours."""
    prefix, _, definition_id = schedule.partition(":")
    if prefix != "schedule" or not re.fullmatch(DEFINITION_ID_PATTERN, definition_id):
        return None
    return DefinitionId(definition_id)


def task_timers_workflow_id(task: uuid.UUID) -> str:
    """Return the workflow id of what watches over the timers of a human task."""
    return f"task-timers:{task}"


def tick_workflow_id(definition_id: str) -> str:
    """Return the workflow id of a definition's ticks; Temporal appends the wake-up's time."""
    return f"tick:{definition_id}"


def asked_tick_workflow_id(definition_id: str, *asked_by: str) -> str:
    """Return the workflow id of the tick that the ledger asks for; `asked_by` is why, once."""
    return f"{tick_workflow_id(definition_id)}:{short_hash(*asked_by)}"


def backfill_request_id(backfill_id: str, ordinal: int) -> str:
    """Return the request id under which a backfill retries the run of one of its due times."""
    return f"backfill-{short_hash(backfill_id, str(ordinal))}"


def simulation_workflow_id(unique: uuid.UUID) -> str:
    """Return the workflow id of a simulation on line."""
    return f"simulation:{unique}"


SWEEP_ID = "backbone-sweep"
"""The id of the one Temporal Schedule of a namespace that wakes the sweep, and of its workflow."""
