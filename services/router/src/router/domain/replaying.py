"""What a past event would start: the decisions of a plan of a replay of events."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from contracts import canonical
from contracts.routing import RoutingOutcome
from router.domain import decisions, waiting
from router.domain.dead_letter_pages import Stretches
from router.domain.decisions import Decision, RoutedEvent
from router.domain.ingress import Event
from router.domain.routing import Candidate, Outcome, TriggerError
from rules.errors import ExpressionError


class Mode(StrEnum):
    """Which events are started once more."""

    MISSING = "missing"
    FAILED = "failed"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a replay; no definition is named when all are meant."""

    topic: str
    since: datetime
    until: datetime
    definition_ids: Collection[str]
    mode: Mode
    max_starts_per_second: int


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants which replay planned, and why."""

    namespace: str
    replay_id: str
    question: Question
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How far a plan is: what is left to be read, and how many records were."""

    left: Stretches
    records: int
    records_total: int
    complete: bool


def routed(
    event: Event, candidates: Collection[Candidate], *, digest: str, revision: int
) -> RoutedEvent:
    """Return an event with what it would mean to candidates now: what matches waits to be started.

    A replay starts what it has planned by its own rate, so that it all waits, whether or not its
    definition has its events wait.
    """
    made = [_decision(event, candidate) for candidate in candidates]
    document = event.document
    starts = any(decision.wait is not None for decision in made)
    return RoutedEvent(
        record=event.record,
        source=document["source"],
        event_id=document["event_id"],
        type=document["type"],
        digest=digest,
        revision=revision,
        decisions=made,
        envelope=canonical.render(event.envelope().document()) if starts else b"",
    )


def _decision(event: Event, candidate: Candidate) -> Decision:
    if candidate.outcome is not Outcome.MATCHED:
        return decisions.unstarted(candidate, event.document)
    try:
        wait = waiting.replayed(
            candidate.definition.flow,
            candidate.names,
            event.document,
            event.record.key,
            task_queue=candidate.definition.task_queue,
            revision=candidate.definition.revision,
        )
    except ExpressionError as exc:
        error = TriggerError(candidate.names[0], str(exc))
        failed = Candidate(candidate.definition, errors=(*candidate.errors, error))
        return decisions.unstarted(failed, event.document)
    return Decision(
        candidate.definition,
        RoutingOutcome.LIMITED,
        triggers=candidate.names,
        detail=decisions.problem(candidate),
        wait=wait,
    )
