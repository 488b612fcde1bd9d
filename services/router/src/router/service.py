"""The router's use cases: settle a record, and start a run by hand.

A record is settled when its outcome is durable: every definition it starts was started, or it is a
dead letter with a reason. Whatever else happens raises, and the record is read again.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from contracts import canonical, envelope, identifiers, strictjson
from contracts.envelope import MAX_EVENT_BYTES, Envelope
from contracts.names import Extension
from contracts.rejections import EventRejectedError, Reason
from contracts.runs import RunInput
from contracts.telemetry import Attribute, Span
from contracts.triggers import Trigger, TriggerKind
from router.domain import manual
from router.domain.records import Record
from router.domain.routing import Active, Candidate, Outcome
from router.errors import (
    DefinitionDisabledError,
    RequestIdReusedError,
    RequestInvalidError,
    StartRefusedError,
    TransientError,
)
from router.ports import ActiveDefinitions, DeadLetters, Observer, SeenEvents, WorkflowStarter
from runtime import logs, telemetry

_log = logs.get_logger(__name__)
_tracer = telemetry.tracer(__name__)


class Settled(StrEnum):
    """The durable outcome of a record."""

    STARTED = "started"
    NO_MATCH = "no_match"
    DUPLICATE = "duplicate"
    DEAD_LETTER = "dead_letter"


class Router:
    """Settles records."""

    def __init__(
        self,
        *,
        definitions: ActiveDefinitions,
        starter: WorkflowStarter,
        seen: SeenEvents,
        dead_letters: DeadLetters,
        observer: Observer,
    ) -> None:
        self._definitions = definitions
        self._starter = starter
        self._seen = seen
        self._dead_letters = dead_letters
        self._observer = observer

    async def settle(self, record: Record, *, namespace: str, attempts: int) -> Settled:
        """Route a record or park it; return when the outcome is durable.

        `namespace` is the one that the record's topic belongs to, `attempts` counts from 1.

        Raises:
            TransientError: there is no durable outcome yet; the same record has to come again.
        """
        started = time.perf_counter()
        try:
            outcome = await self._route(record, namespace)
        except TransientError:
            raise
        except EventRejectedError as exc:
            outcome = await self._park(record, namespace, exc, attempts)
        except Exception as exc:  # noqa: BLE001 - see the comment
            # A fault of ours must neither lose the record nor stop those behind it.
            _log.exception("route_failed", topic=record.topic, offset=record.offset)
            rejection = EventRejectedError(Reason.UNROUTABLE, f"{type(exc).__name__}: {exc}")
            outcome = await self._park(record, namespace, rejection, attempts)
        self._observer.settled(namespace, outcome, time.perf_counter() - started)
        return outcome

    async def _park(
        self, record: Record, namespace: str, rejection: EventRejectedError, attempts: int
    ) -> Settled:
        await self._dead_letters.park(
            record,
            namespace=namespace,
            reason=rejection.reason,
            detail=rejection.detail,
            attempts=attempts,
        )
        self._observer.parked(namespace, rejection.reason)
        _log.warning(
            "record_parked",
            namespace=namespace,
            reason=rejection.reason.value,
            detail=rejection.detail[:500],
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
        return Settled.DEAD_LETTER

    async def _route(self, record: Record, namespace: str) -> Settled:
        event = envelope.parse(record.value)
        if event.namespace is not None and event.namespace != namespace:
            raise EventRejectedError(
                Reason.WRONG_NAMESPACE,
                f"the event says {event.namespace!r}, its topic belongs to {namespace!r}",
            )
        digest = canonical.digest(record.value or b"")
        known = await self._seen.digest(namespace, event.source, event.event_id)
        if known == digest:
            return Settled.DUPLICATE
        if known is not None:
            raise EventRejectedError(
                Reason.ID_CONFLICT,
                f"source {event.source!r} used event id {event.event_id!r} for other bytes before",
            )
        event = _traced(event, record)
        with (
            telemetry.attached(event.traceparent),
            _tracer.start_as_current_span(
                Span.ROUTE,
                attributes={
                    Attribute.NAMESPACE: namespace,
                    Attribute.EVENT_ID: event.event_id,
                    Attribute.EVENT_TYPE: event.type,
                },
            ),
        ):
            outcome = await self._start_all(event, namespace)
        self._seen.remember(namespace, event.source, event.event_id, digest)
        return outcome

    async def _start_all(self, event: Envelope, namespace: str) -> Settled:
        candidates = self._definitions.index(namespace).candidates(event.type, event.document())
        if not candidates:
            return Settled.NO_MATCH
        self._observer.candidates(
            namespace, ((c.definition.definition_id, c.outcome) for c in candidates)
        )
        matched = [c for c in candidates if c.outcome is Outcome.MATCHED]
        refusals = await self._start_matched(event, namespace, matched)
        # Only now: what is wrong with one definition never keeps another one from starting.
        _raise_errors(candidates, refusals)
        return Settled.STARTED if matched else Settled.NO_MATCH

    async def _start_matched(
        self, event: Envelope, namespace: str, matched: Sequence[Candidate]
    ) -> list[str]:
        if not matched:
            return []
        results = await asyncio.gather(
            *(self._start(event, namespace, candidate) for candidate in matched),
            return_exceptions=True,
        )
        refusals = []
        transient: BaseException | None = None
        for candidate, result in zip(matched, results, strict=True):
            if isinstance(result, StartRefusedError):
                refusals.append(f"{candidate.definition.definition_id}: {result}")
            elif isinstance(result, BaseException):
                transient = result
        if transient is not None:
            raise transient
        return refusals

    async def _start(self, event: Envelope, namespace: str, candidate: Candidate) -> bool:
        trigger = Trigger(
            kind=TriggerKind.EVENT,
            names=list(candidate.names),
            definition_version=candidate.definition.version,
            events=[event],
        )
        run = _run(namespace, candidate.definition, trigger)
        return await self._starter.start(run, task_queue=candidate.definition.task_queue)


@dataclass(frozen=True)
class ManualStart:
    """What became of a start by hand; `started` is False for a repeated request."""

    run_id: str
    definition_version: int
    started: bool


class ManualTrigger:
    """Starts runs for people and services."""

    def __init__(self, *, definitions: ActiveDefinitions, starter: WorkflowStarter) -> None:
        self._definitions = definitions
        self._starter = starter

    async def trigger(
        self,
        *,
        namespace: str,
        definition_id: str,
        request_id: str,
        input_json: bytes,
        actor: str,
        reason: str,
    ) -> ManualStart:
        """Start a run of the version in use; the same request id is the same run.

        Raises:
            RequestInvalidError: an id is malformed, the namespace is not served here, or the input
                is not JSON of at most 256 KiB, or not what the definition's manual triggers take.
            DefinitionUnknownError: there is no such definition, or it is retired.
            DefinitionDisabledError: the definition is disabled.
            DefinitionUnusableError: this release cannot read the definition.
            RequestIdReusedError: the request id started a run with another input.
            StartRefusedError: Temporal refuses the start.
            TransientError: try again, with the same request id.
        """
        value = _manual_input(input_json)
        try:
            key = identifiers.manual_trigger_key(request_id)
            run_id = identifiers.run_id(definition_id, key)
            self._definitions.index(namespace)
        except ValueError as exc:
            raise RequestInvalidError(str(exc)) from exc
        except KeyError as exc:
            raise RequestInvalidError(f"namespace {namespace!r} is not served here") from exc
        definition = await self._definitions.latest(namespace, definition_id)
        try:
            names = manual.triggers(definition, value)
        except (DefinitionDisabledError, RequestInvalidError):
            # A request that is repeated is answered by what it started when it still could.
            earlier = await self._earlier(namespace, run_id, value)
            if earlier is None:
                raise
            return earlier
        trigger = Trigger(
            kind=TriggerKind.MANUAL,
            names=names,
            definition_version=definition.version,
            request_id=request_id,
            input=value,
            actor=actor,
            reason=reason or None,
        )
        run = _run(namespace, definition, trigger)
        started = await self._starter.start(run, task_queue=definition.task_queue)
        if not started:
            earlier = await self._earlier(namespace, run_id, value)
            if earlier is not None:
                return earlier
        return ManualStart(run_id, definition.version, started=started)

    async def _earlier(self, namespace: str, run_id: str, value: JsonValue) -> ManualStart | None:
        earlier = await self._starter.started(namespace, run_id)
        if earlier is None:
            return None
        if earlier.trigger.input != value:
            raise RequestIdReusedError(
                f"request id {earlier.trigger.request_id!r} has started a run with another input"
            )
        return ManualStart(run_id, earlier.trigger.definition_version, started=False)


def _run(namespace: str, definition: Active, trigger: Trigger) -> RunInput:
    return RunInput(
        namespace=namespace,
        run_id=identifiers.run_id(definition.definition_id, trigger.key),
        definition_id=definition.definition_id,
        trigger=trigger,
    )


def _traced(event: Envelope, record: Record) -> Envelope:
    if event.traceparent is not None or record.traceparent is None:
        return event
    return event.model_copy(update={Extension.TRACEPARENT.value: record.traceparent})


def _raise_errors(candidates: Sequence[Candidate], refusals: Sequence[str]) -> None:
    wrong = [
        f"{candidate.definition.definition_id}, trigger {error.trigger!r}: {error.message}"
        for candidate in candidates
        for error in candidate.errors
    ]
    if wrong:
        raise EventRejectedError(Reason.EXPRESSION_ERROR, "; ".join([*wrong, *refusals]))
    if refusals:
        raise EventRejectedError(Reason.UNROUTABLE, "; ".join(refusals))


def _manual_input(input_json: bytes) -> JsonValue:
    if not input_json:
        return None
    if len(input_json) > MAX_EVENT_BYTES:
        raise RequestInvalidError(
            f"the input has {len(input_json)} bytes, more than the {MAX_EVENT_BYTES} that are taken"
        )
    try:
        value: JsonValue = strictjson.parse(input_json)
    except EventRejectedError as exc:
        raise RequestInvalidError(f"the input is not JSON: {exc.detail}") from exc
    return value
