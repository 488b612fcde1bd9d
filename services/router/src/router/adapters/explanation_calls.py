"""The calls of `RouterService` that explain: requests in, what an event means out."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from backbone.router.v1 import router_pb2 as pb
from router.domain.evaluating import Evaluation
from router.domain.searching import Found
from router.errors import (
    DefinitionAbsentError,
    DefinitionUnknownError,
    DefinitionUnusableError,
    RecordGoneError,
    RequestInvalidError,
    TransientError,
)
from router.service.explaining import EventExplainer, Explanation
from runtime import rpcerrors

MAX_TEXT = 256
"""Characters of an id, a source or a topic that is asked for."""


class ExplanationCalls:
    """Reads requests, calls the use cases, tells the answers."""

    def __init__(self, explainer: EventExplainer) -> None:
        self._explainer = explainer

    async def evaluate(self, request: pb.EvaluateEventRequest) -> pb.EvaluateEventResponse:
        """Say what an event means to definitions."""
        as_of = _moment(request, "as_of")
        with _as_statuses():
            if request.HasField("place") == bool(request.event):
                raise RequestInvalidError("either place or event is required, not both")
            if request.HasField("place"):
                place = request.place
                explanation = await self._explainer.evaluate_at(
                    request.namespace,
                    (place.topic, place.partition, place.offset),
                    definition_id=request.definition_id,
                    as_of=as_of,
                )
            else:
                explanation = await self._explainer.evaluate(
                    request.namespace,
                    request.event,
                    definition_id=request.definition_id,
                    as_of=as_of,
                )
        return _explanation(explanation)

    async def find(self, request: pb.FindEventRequest) -> pb.FindEventResponse:
        """Look for an event."""
        with _as_statuses():
            for name in ("event_id", "source"):
                if len(getattr(request, name)) > MAX_TEXT:
                    raise RequestInvalidError(f"{name} has more than {MAX_TEXT} characters")
            search = await self._explainer.find(
                request.namespace,
                request.event_id,
                source=request.source,
                since=_moment(request, "since"),
                until=_moment(request, "until"),
                topics=list(dict.fromkeys(request.topics)),
            )
        return pb.FindEventResponse(
            found=[_found(one) for one in search.found],
            records_looked_at=search.looked_at,
            incomplete=not search.complete,
        )


def _explanation(explanation: Explanation) -> pb.EvaluateEventResponse:
    document = explanation.event.document if explanation.event is not None else {}
    rejection, listening = explanation.rejection, explanation.listening
    return pb.EvaluateEventResponse(
        source=document.get("source", ""),
        event_id=document.get("event_id", ""),
        type=document.get("type", ""),
        rejection=rejection.reason if rejection is not None else "",
        detail=rejection.detail if rejection is not None else "",
        evaluations=[_evaluation(one) for one in explanation.evaluations],
        listening=-1 if listening is None else listening,
    )


def _evaluation(evaluation: Evaluation) -> pb.Evaluation:
    return pb.Evaluation(
        definition_id=evaluation.definition.definition_id,
        definition_version=evaluation.definition.version,
        outcome=evaluation.outcome,
        triggers=[
            pb.TriggerEvaluation(
                name=trigger.name,
                outcome=trigger.outcome,
                clause=trigger.clause,
                seen=trigger.seen,
                detail=trigger.detail,
            )
            for trigger in evaluation.triggers
        ],
    )


def _found(found: Found) -> pb.FoundEvent:
    record = found.record
    message = pb.FoundEvent(
        place=pb.Place(topic=record.topic, partition=record.partition, offset=record.offset),
        source=found.source,
    )
    # The sender chooses it: any 64-bit number.
    at = record.timestamp_ms
    if at is not None and -62_135_596_800_000 <= at < 253_402_300_800_000:
        message.timestamp.FromMilliseconds(at)
    return message


def _moment(request: Any, name: str) -> datetime | None:
    if not request.HasField(name):
        return None
    stamp: Timestamp = getattr(request, name)
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as exc:
        raise rpcerrors.InvalidArgumentError(f"{name} is no time") from exc


@contextmanager
def _as_statuses() -> Iterator[None]:
    try:
        yield
    except RequestInvalidError as exc:
        raise rpcerrors.InvalidArgumentError(str(exc)) from exc
    except RecordGoneError as exc:
        raise rpcerrors.NotFoundError(str(exc), reason="RECORD_GONE") from exc
    except DefinitionAbsentError as exc:
        raise rpcerrors.NotFoundError(str(exc), reason="DEFINITION_ABSENT") from exc
    except DefinitionUnknownError as exc:
        raise rpcerrors.NotFoundError(str(exc), reason="DEFINITION_UNKNOWN") from exc
    except DefinitionUnusableError as exc:
        raise rpcerrors.FailedPreconditionError(
            f"this release cannot read the definition: {exc}", reason="DEFINITION_UNREADABLE"
        ) from exc
    except TransientError as exc:
        raise rpcerrors.UnavailableError(str(exc)) from exc
