"""Decides an event for each of its candidates; starts what matched and need not wait."""

import asyncio
from collections.abc import Awaitable, Sequence

from opentelemetry.trace import SpanKind

from contracts import identifiers
from contracts.envelope import Envelope
from contracts.rejections import EventRejectedError, Reason
from contracts.routing import RoutingOutcome
from contracts.runs import RunInput
from contracts.telemetry import Attribute, Span
from contracts.triggers import Trigger, TriggerKind
from router.domain import decisions
from router.domain.decisions import Decision
from router.domain.ingress import Event
from router.domain.instances import Directory
from router.domain.routing import Candidate, Outcome
from router.errors import StartRefusedError
from router.ports import WorkflowStarter
from router.service.admission import Task
from rules.errors import ExpressionError
from runtime import telemetry

_tracer = telemetry.tracer(__name__)


class Deciding:
    """Decides events of one namespace."""

    def __init__(self, namespace: str, starter: WorkflowStarter, directory: Directory) -> None:
        self._namespace = namespace
        self._starter = starter
        self._directory = directory

    async def decide(self, task: Task, event: Event) -> None:
        """Give a task the decision of each candidate; a rejection too if it has to be looked at.

        What it starts is in the current trace.

        Raises:
            TransientError: Temporal could not be asked to start what has to be, or it cannot be
                told whose instance an event is.
        """
        if task.is_known:
            task.decisions = [
                _known(candidate, event)
                if candidate.outcome is Outcome.MATCHED or _held_before(candidate)
                else decisions.unstarted(candidate, event.document)
                for candidate in task.candidates
            ]
            return
        started = [
            candidate
            for candidate in task.candidates
            if candidate.outcome is Outcome.MATCHED
            and candidate.definition.definition_id not in task.waits
        ]
        made = {
            decision.definition.definition_id: decision
            for decision in (await self._start_all(started, event) if started else ())
        }
        task.decisions = [
            made.get(candidate.definition.definition_id) or _unstarted(candidate, task, event)
            for candidate in task.candidates
        ]
        task.rejection = _rejection(task.candidates, task.decisions)

    async def _start_all(self, candidates: Sequence[Candidate], event: Event) -> list[Decision]:
        envelope = event.envelope()
        with _tracer.start_as_current_span(
            Span.ROUTE,
            kind=SpanKind.CONSUMER,
            attributes={
                Attribute.NAMESPACE: self._namespace,
                Attribute.EVENT_ID: envelope.event_id,
                Attribute.EVENT_TYPE: envelope.type,
            },
        ):
            return await _all([self._start(candidate, envelope) for candidate in candidates])

    async def _start(self, candidate: Candidate, envelope: Envelope) -> Decision:
        definition = candidate.definition
        trigger = Trigger(
            kind=TriggerKind.EVENT,
            names=list(candidate.names),
            definition_version=definition.version,
            events=[envelope],
        )
        run_id = identifiers.run_id(definition.definition_id, trigger.key)
        run = RunInput(
            namespace=self._namespace,
            run_id=run_id,
            definition_id=definition.definition_id,
            trigger=trigger,
        )
        told, application = "", None
        try:
            if definition.correlation is None:
                await self._starter.start(run, task_queue=definition.task_queue)
            else:
                # Nothing is started: what waits for an instance is the ledger's, which hears of it
                # with the decision.
                application = decisions.application(self._directory, definition, trigger)
                told = f"to the instance {application.address.workflow_id}"
        except (ExpressionError, StartRefusedError) as exc:
            return Decision(
                definition,
                RoutingOutcome.ERRORED,
                triggers=candidate.names,
                detail=str(exc)[: decisions.MAX_DETAIL],
            )
        return Decision(
            definition,
            RoutingOutcome.STARTED if application is None else RoutingOutcome.SIGNALLED,
            triggers=candidate.names,
            run_id=run_id,
            detail="; ".join(filter(None, (told, decisions.problem(candidate))))[
                : decisions.MAX_DETAIL
            ],
            application=application,
        )


async def _all(starts: Sequence[Awaitable[Decision]]) -> list[Decision]:
    """Return the decisions in their order, when all are there.

    What fails with one definition never keeps another one from starting; then it raises.
    """
    if len(starts) == 1:
        return [await starts[0]]
    made: list[Decision] = []
    failure: BaseException | None = None
    for result in await asyncio.gather(*starts, return_exceptions=True):
        if isinstance(result, BaseException):
            failure = result
        else:
            made.append(result)
    if failure is not None:
        raise failure
    return made


def _rejection(
    candidates: Sequence[Candidate], made: Sequence[Decision]
) -> EventRejectedError | None:
    """Return why an event that was decided has to be looked at: a condition, or Temporal, erred."""
    wrong = [
        f"{candidate.definition.definition_id}, {decisions.problem(candidate)}"
        for candidate in candidates
        if candidate.errors
    ]
    refused = [
        f"{decision.definition.definition_id}: {decision.detail}"
        for candidate, decision in zip(candidates, made, strict=True)
        if candidate.outcome is Outcome.MATCHED and decision.outcome is RoutingOutcome.ERRORED
    ]
    if wrong:
        return EventRejectedError(Reason.EXPRESSION_ERROR, "; ".join([*wrong, *refused]))
    return EventRejectedError(Reason.UNROUTABLE, "; ".join(refused)) if refused else None


def _held_before(candidate: Candidate) -> bool:
    """Say whether an event that is known was held for a definition that has not changed since."""
    flow = candidate.definition.flow
    return candidate.outcome is Outcome.DISABLED and flow is not None and flow.hold


def _unstarted(candidate: Candidate, task: Task, event: Event) -> Decision:
    wait = task.waits.get(candidate.definition.definition_id)
    if wait is None:
        return decisions.unstarted(candidate, event.document)
    return decisions.waiting(candidate, wait)


def _known(candidate: Candidate, event: Event) -> Decision:
    key = identifiers.event_trigger_key(event.document["source"], event.document["event_id"])
    definition = candidate.definition
    return Decision(
        definition,
        RoutingOutcome.DUPLICATE,
        triggers=candidate.names,
        # What has waited may be part of a batch: the ledger knows.
        run_id=""
        if definition.flow is not None
        else identifiers.run_id(definition.definition_id, key),
    )
