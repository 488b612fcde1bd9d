"""The edge's reading of requests: what is malformed is refused here, in a sentence."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel, TypeAdapter, ValidationError

from backbone.ledger.v1 import ledger_pb2 as pb
from contracts import canonical, identifiers, strictjson
from contracts.decisions import Decision, HumanInstance
from contracts.definitions import MAX_TASKS_PER_RUN, Assignees, Schedule
from contracts.rejections import EventRejectedError
from contracts.runs import MAX_OUTPUT_BYTES, MAX_SNAPSHOT_BYTES, MAX_STATE_BYTES, TaskFailure
from contracts.triggers import MAX_BATCH_BYTES, Trigger
from ledger.domain.due import Epoch
from ledger.domain.runs import Done, Occasion, Recording
from ledger.errors import InvalidRequestError

# The events of the largest batch, and what a trigger has besides.
MAX_TRIGGER_BYTES = MAX_BATCH_BYTES + 64 * 1024
MAX_DECISION_BYTES = 1024 * 1024
MAX_SCHEDULES_BYTES = 256 * 1024
MAX_RUN_ID_LENGTH = 256
MAX_TEXT_LENGTH = 1000
MAX_ACKNOWLEDGED = 1000
MAX_COMMENT_LENGTH = 4000
MAX_ASSIGNEES = 100
MAX_FIELDS = 50
MAX_FIELD_LENGTH = 400

_SCHEDULES: TypeAdapter[dict[str, Schedule]] = TypeAdapter(dict[str, Schedule])
_M = TypeVar("_M", bound=BaseModel)
_E = TypeVar("_E", bound=int)
_V = TypeVar("_V")


class RequestReader:
    """Turns requests into what the use cases take; knows which namespaces are served."""

    def __init__(self, namespaces: Collection[str]) -> None:
        self._namespaces = frozenset(namespaces)

    def namespace(self, value: str) -> str:
        """Return a namespace that is served here."""
        if value not in self._namespaces:
            raise InvalidRequestError(f"the namespace {value!r} is not served here")
        return value

    @property
    def namespaces(self) -> Sequence[str]:
        """The namespaces that are served here."""
        return sorted(self._namespaces)

    def occasion(self, request: pb.RecordRunRequest | pb.RecordRunFailureRequest) -> Occasion:
        """Return which run a request reports."""
        definition_id = definition(request.definition_id)
        cause, body = trigger(request.trigger)
        run_id = identifiers.run_id(definition_id, cause.key)
        if request.run_id != run_id:
            raise InvalidRequestError(
                f"run_id is {request.run_id!r}, but definition and trigger make it {run_id!r}"
            )
        if len(run_id) > MAX_RUN_ID_LENGTH:
            raise InvalidRequestError(f"run_id is longer than {MAX_RUN_ID_LENGTH} characters")
        return Occasion(
            namespace=self.namespace(request.namespace),
            run_id=run_id,
            definition_id=definition_id,
            trigger=cause,
            trigger_body=body,
            workflow_run_id=text("workflow_run_id", request.workflow_run_id),
        )

    def recording(self, request: pb.RecordRunRequest) -> Recording:
        """Return a decided run: documents that belong together."""
        occasion = self.occasion(request)
        snapshot = document("snapshot", request.snapshot, MAX_SNAPSHOT_BYTES)
        if not isinstance(snapshot, dict):
            raise InvalidRequestError("snapshot is not a JSON object")
        body = document("decision", request.decision, MAX_DECISION_BYTES)
        recording = Recording(
            occasion=occasion,
            decision=model("decision", Decision, body),
            decision_body=canonical.render(body),
            snapshot_body=canonical.render(snapshot),
        )
        _refuse_mismatch(recording)
        return recording

    def epoch(self, request: pb.PutScheduleRequest) -> Epoch:
        """Return schedules as an epoch that has no number yet."""
        body = document("schedules", request.schedules, MAX_SCHEDULES_BYTES)
        try:
            schedules = _SCHEDULES.validate_python(body)
        except ValidationError as exc:
            raise InvalidRequestError(_told("schedules", exc)) from exc
        if request.definition_version < 1:
            raise InvalidRequestError("definition_version counts from 1")
        if not re.fullmatch(identifiers.TASK_QUEUE_PATTERN, request.task_queue):
            raise InvalidRequestError(f"not a task queue: {request.task_queue!r}")
        return Epoch(
            epoch=0,
            definition_version=request.definition_version,
            schedules=schedules,
            schedules_body=canonical.render(body),
            task_queue=request.task_queue,
            effective_from=moment("effective_from", request.effective_from),
            enabled=request.enabled,
        )


def trigger(raw: bytes) -> tuple[Trigger, bytes]:
    """Return the cause of a run, and its canonical JSON."""
    body = document("trigger", raw, MAX_TRIGGER_BYTES)
    cause = model("trigger", Trigger, body)
    for name in cause.names:
        text("trigger.names", name)
    return cause, canonical.render(body)


def definition(value: str) -> str:
    """Return a definition's id."""
    if not re.fullmatch(identifiers.DEFINITION_ID_PATTERN, value) or len(value) > 128:
        raise InvalidRequestError(f"not a definition id: {value!r}")
    return value


def duration(name: str, value: Duration, least: timedelta, most: timedelta) -> timedelta:
    """Return a duration within bounds."""
    given = any_duration(name, value)
    if not least <= given <= most:
        raise InvalidRequestError(f"{name} has to be from {least} to {most}")
    return given


def any_duration(name: str, value: Duration) -> timedelta:
    """Return a duration of any length, also one below zero."""
    try:
        return value.ToTimedelta()
    except (ValueError, OverflowError) as exc:
        raise InvalidRequestError(f"{name} is not a duration") from exc


def run_id(value: str) -> str:
    """Return a run's id; whether there is such a run is not looked at."""
    return text("run_id", value, MAX_RUN_ID_LENGTH)


def fields(values: Sequence[str]) -> list[str]:
    """Return the paths of fields, at least one."""
    if not values or len(values) > MAX_FIELDS:
        raise InvalidRequestError(f"fields has 1 to {MAX_FIELDS} paths")
    for value in values:
        if not all(text("fields", value, MAX_FIELD_LENGTH).split(".")):
            raise InvalidRequestError(f"not the path of a field: {value!r}")
    return list(values)


def task_id(value: str) -> UUID:
    """Return a task's id."""
    try:
        return UUID(value)
    except ValueError as exc:
        raise InvalidRequestError(f"not a task id: {value!r}") from exc


def request_id(value: str) -> str:
    """Return the caller's request id, which makes the request idempotent."""
    if not re.fullmatch(identifiers.REQUEST_ID_PATTERN, value):
        raise InvalidRequestError(f"not a request_id: {value!r}")
    return value


def text(name: str, value: str, limit: int = MAX_TEXT_LENGTH) -> str:
    """Return a text that is there, has at most `limit` characters and none that is NUL."""
    if not value:
        raise InvalidRequestError(f"{name} is missing")
    return optional_text(name, value, limit)


def optional_text(name: str, value: str, limit: int = MAX_TEXT_LENGTH) -> str:
    """Return a text that may be empty."""
    if len(value) > limit or "\x00" in value:
        raise InvalidRequestError(
            f"{name} is longer than {limit} characters or holds a NUL character"
        )
    return value


def moment(name: str, value: Timestamp) -> datetime:
    """Return a time."""
    if not value.seconds and not value.nanos:
        raise InvalidRequestError(f"{name} is missing")
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidRequestError(f"{name} is not a time") from exc


def one_of(name: str, value: int, known: Mapping[_E, _V]) -> _V | None:
    """Return what an enum's number means, None for the unspecified one."""
    for number, meaning in known.items():
        if number == value:
            return meaning
    if value:
        raise InvalidRequestError(f"{name} is {value}, which is not known here")
    return None


def failure(value: pb.Failure) -> TaskFailure:
    """Return why something failed: cut rather than refused, since a failure has to be recorded."""
    kind = value.type.replace("\x00", "\ufffd")[:200] or "Failure"
    return TaskFailure(type=kind, message=value.message.replace("\x00", "\ufffd")[:2000])


def done(request: pb.RecordTaskOutcomeRequest) -> Done:
    """Return how a task ended."""
    if request.HasField("failure"):
        return Done(failure=failure(request.failure))
    if not request.output:
        return Done()
    return Done(output=document("output", request.output, MAX_OUTPUT_BYTES))


def answer(raw: bytes) -> Any:
    """Return a person's answer."""
    return document("answer", raw, MAX_OUTPUT_BYTES)


def assignees(users: Sequence[str], groups: Sequence[str]) -> Assignees:
    """Return whom a task is given to."""
    if len(users) + len(groups) > MAX_ASSIGNEES:
        raise InvalidRequestError(f"a task is for at most {MAX_ASSIGNEES} users and groups")
    for user in users:
        text("an assigned user", user)
    return model("assigned", Assignees, {"users": list(users), "groups": list(groups)})


def version(value: int) -> int:
    """Return the version that the caller looked at; 0 for none."""
    if value < 0:
        raise InvalidRequestError(f"version is {value}, but versions count from 1")
    return value


def _refuse_mismatch(recording: Recording) -> None:
    occasion, decision = recording.occasion, recording.decision
    if decision.definition_id != occasion.definition_id:
        raise InvalidRequestError("the decision is of another definition than the run")
    if decision.definition_version != occasion.trigger.definition_version:
        raise InvalidRequestError("the decision is of another version than the trigger pins")
    if decision.snapshot_sha256 != canonical.digest(recording.snapshot_body):
        raise InvalidRequestError("the decision was not made from this snapshot")
    if len(decision.tasks) > MAX_TASKS_PER_RUN:
        raise InvalidRequestError(
            f"{len(decision.tasks)} tasks, more than the {MAX_TASKS_PER_RUN} a run may have"
        )
    known: set[UUID] = set()
    for task in decision.tasks:
        expected = identifiers.task_id(
            occasion.namespace, identifiers.RunId(occasion.run_id), task.rule, task.key
        )
        if task.task_id != expected:
            raise InvalidRequestError(f"a task of the rule {task.rule} has an id not its own")
        if task.task_id in known:
            raise InvalidRequestError(f"two tasks of the rule {task.rule} have the same key")
        known.add(task.task_id)
        text("a task's rule", task.rule)
        optional_text("a task's key", task.key)
        if isinstance(task, HumanInstance):
            text("a task's title", task.title)
            escalated = task.escalation.assignees if task.escalation else None
            for some in (task.assignees, escalated):
                for assignee in (*some.users, *some.groups) if some else ():
                    text("an assignee", assignee)
        else:
            text("a task's handler", task.handler)
            text("a task's queue", task.task_queue)


def state(name: str, raw: bytes) -> bytes:
    """Return the state document of an instance as canonical JSON."""
    found = document(name, raw, MAX_STATE_BYTES)
    if not isinstance(found, dict):
        raise InvalidRequestError(f"{name} is not a JSON object")
    return canonical.render(found)


def key_hash(value: str) -> str:
    """Return the keyed hash of a correlation key."""
    if not re.fullmatch(identifiers.KEY_HASH_PATTERN, value):
        raise InvalidRequestError(f"not the hash of a correlation key: {value!r}")
    return value


def document(name: str, raw: bytes, limit: int) -> Any:
    """Return a JSON document of at most `limit` bytes, read strictly."""
    if len(raw) > limit:
        raise InvalidRequestError(f"{name} has {len(raw)} bytes, more than the {limit} allowed")
    try:
        return strictjson.parse(raw)
    except EventRejectedError as exc:
        raise InvalidRequestError(f"{name} is not accepted: {exc.detail}") from exc


def model(name: str, kind: type[_M], content: Any) -> _M:
    """Return a document as a model."""
    try:
        return kind.model_validate(content)
    except ValidationError as exc:
        raise InvalidRequestError(_told(name, exc)) from exc


def _told(name: str, exc: ValidationError) -> str:
    errors = exc.errors(include_url=False, include_input=False)
    return "; ".join(
        f"{'.'.join([name, *map(str, error['loc'])])}: {error['msg']}" for error in errors[:5]
    )
