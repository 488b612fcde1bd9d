"""Starts that waited and are due, and what becomes of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts import identifiers
from contracts.envelope import Envelope
from contracts.routing import PendingOutcome
from contracts.runs import RunInput
from contracts.triggers import Trigger, TriggerKind
from router.domain import decisions, routing, sensitive_events
from router.domain.decisions import Application
from router.domain.routing import Active

HELD = "held"
"""The reason of a start that was held while its definition was disabled."""


@dataclass(frozen=True, slots=True)
class DueStart:
    """A start that this process may make until its lease is over."""

    pending_id: str
    lease: str
    definition_id: str
    definition_version: int
    task_queue: str
    trigger_names: Sequence[str]
    reason: str
    key: str
    events: Sequence[Envelope]
    attempts: int
    as_one_run: bool
    replay_id: str | None = None

    def run_id(self) -> str:
        """Return the id of its run."""
        if self.as_one_run:
            trigger_key = identifiers.batch_trigger_key(self.pending_id)
        else:
            [event] = self.events
            trigger_key = identifiers.event_trigger_key(event.source, event.event_id)
        if self.replay_id is not None:
            trigger_key = identifiers.replayed(trigger_key, self.replay_id)
        return identifiers.run_id(self.definition_id, trigger_key)


@dataclass(frozen=True, slots=True)
class Left:
    """Why an event was not started: errored, or filtered by a clause, with what that saw."""

    outcome: PendingOutcome
    clause: str = ""
    seen: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What became of a start; `left` are events of it that were not started, by their index.

    `application` waits for its turn in an instance from then on.
    """

    start: DueStart
    outcome: PendingOutcome
    definition_version: int = 0
    definition_revision: int = 0
    run_id: str = ""
    clause: str = ""
    seen: str = ""
    detail: str = ""
    left: Mapping[int, Left] = field(default_factory=dict)
    application: Application | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """The run that a start asks for, on which queue, and the events that are not part of it."""

    run: RunInput
    task_queue: str
    left: Mapping[int, Left]


def plan(
    start: DueStart,
    definition: Active,
    namespace: str,
    *,
    seen: Sequence[Mapping[str, Any]] | None = None,
) -> Planned | Confirmation:
    """Return the run that a start asks for, or what became of it when nothing of it is started.

    What was held is held against the version in use, since it may have been mended for it. What was
    gathered or limited was matched already: the version that matched it, the newest of a batch, is
    the one that runs. `seen` has its events as conditions see them, where that is not what is kept.
    """
    if start.reason != HELD:
        return _planned(
            start,
            namespace,
            range(len(start.events)),
            names=start.trigger_names,
            version=start.definition_version,
            task_queue=start.task_queue,
            left={},
        )
    names: dict[str, None] = {}
    taken: list[int] = []
    left: dict[int, Left] = {}
    for index, event in enumerate(start.events):
        document = event.document()
        looked_at = document if seen is None else seen[index]
        candidate = routing.evaluate(definition, looked_at)
        if looked_at != document:
            [candidate] = sensitive_events.silenced([candidate])
        if candidate.names:
            taken.append(index)
            names.update(dict.fromkeys(candidate.names))
        else:
            told = decisions.unstarted(candidate, document)
            left[index] = Left(PendingOutcome(told.outcome), told.clause, told.seen, told.detail)
    if not taken:
        first = left[0]
        return Confirmation(
            start,
            first.outcome,
            definition_version=definition.version,
            clause=first.clause,
            seen=first.seen,
            detail=first.detail,
            left=left if len(left) > 1 else {},
        )
    return _planned(
        start,
        namespace,
        taken,
        names=list(names),
        version=definition.version,
        task_queue=definition.task_queue,
        left=left,
    )


def as_started(start: DueStart, earlier: RunInput) -> Confirmation:
    """Return what became of a start whose run is there: with the events that the run has."""
    taken = {(event.source, event.event_id) for event in earlier.trigger.events}
    return Confirmation(
        start,
        PendingOutcome.STARTED,
        definition_version=earlier.trigger.definition_version,
        run_id=earlier.run_id,
        left={
            index: Left(PendingOutcome.FILTERED)
            for index, event in enumerate(start.events)
            if (event.source, event.event_id) not in taken
        },
    )


def _planned(
    start: DueStart,
    namespace: str,
    taken: Iterable[int],
    *,
    names: Sequence[str],
    version: int,
    task_queue: str,
    left: Mapping[int, Left],
) -> Planned:
    trigger = Trigger(
        kind=_kind(start),
        names=list(names),
        definition_version=version,
        events=[start.events[index] for index in taken],
        batch_id=start.pending_id if start.as_one_run else None,
        replay_id=start.replay_id,
    )
    run = RunInput(
        namespace=namespace,
        run_id=start.run_id(),
        definition_id=start.definition_id,
        trigger=trigger,
    )
    return Planned(run, task_queue, left)


def _kind(start: DueStart) -> TriggerKind:
    if start.replay_id is not None:
        return TriggerKind.REPLAY
    return TriggerKind.BATCH if start.as_one_run else TriggerKind.EVENT
