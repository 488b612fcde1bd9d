"""Finds out which of a batch's events wait for a definition instead of starting it now."""

from collections.abc import Sequence
from dataclasses import replace

from router.domain import decisions, waiting
from router.domain.routing import Candidate, Outcome, TriggerError
from router.domain.waiting import FlowControl
from router.ports import PendingStarts
from router.service.admission import Task
from router.service.kill_switches import KillSwitches
from rules.errors import ExpressionError


async def place(
    tasks: Sequence[Task],
    *,
    namespace: str,
    pending_starts: PendingStarts,
    switches: KillSwitches,
) -> None:
    """Note of each event by which definitions it waits, in the order of the records.

    What was queued by the batch before is known to the ledger, since that was recorded first.

    Raises:
        TransientError: it cannot be asked.
    """
    placing: list[tuple[Task, Candidate, FlowControl, str]] = []
    for task in tasks:
        if task.event is not None and task.rejection is None and not task.is_known:
            for index, candidate in enumerate(task.candidates):
                flow = candidate.definition.flow
                if flow is None and _is_stopped(candidate, switches):
                    flow = FlowControl()
                if flow is not None:
                    _key(task, index, candidate, flow, placing)
    if not placing:
        return
    asked = {
        (candidate.definition.definition_id, key)
        for _, candidate, flow, key in placing
        if waiting.asks(
            flow,
            key,
            disabled=candidate.definition.disabled,
            follows=switches.follows(candidate.definition),
        )
    }
    found = await pending_starts.find_waiting(namespace, sorted(asked)) if asked else set()
    places = waiting.Places(found)
    for task, candidate, flow, key in placing:
        definition = candidate.definition
        wait = places.place(
            flow,
            definition.definition_id,
            key,
            names=candidate.names,
            disabled=definition.disabled,
            task_queue=definition.task_queue,
            revision=definition.revision,
            switch=switches.run(definition),
            follows=switches.follows(definition),
        )
        if wait is not None:
            task.waits[definition.definition_id] = wait


def _is_stopped(candidate: Candidate, switches: KillSwitches) -> bool:
    """Say whether a kill switch has an event wait, or has had others wait that may be before it."""
    definition = candidate.definition
    return switches.run(definition) is not None or switches.follows(definition)


def _key(
    task: Task,
    index: int,
    candidate: Candidate,
    flow: FlowControl,
    placing: list[tuple[Task, Candidate, FlowControl, str]],
) -> None:
    """Add a candidate to those that are placed, with its key; an error is the candidate's."""
    if task.event is None or candidate.outcome not in {Outcome.MATCHED, Outcome.DISABLED}:
        return
    disabled = candidate.outcome is Outcome.DISABLED
    if disabled and not flow.hold:
        return
    document, record_key = task.event.document, task.record.key
    names = decisions.listening(candidate, document)
    if disabled:
        key = waiting.held_key(flow, names, document, record_key)
    else:
        try:
            key = waiting.key(flow, names, document, record_key)
        except ExpressionError as exc:
            errors = (*candidate.errors, TriggerError(names[0], str(exc)))
            task.candidates = [
                replace(other, names=(), errors=errors) if place == index else other
                for place, other in enumerate(task.candidates)
            ]
            return
    placing.append((task, candidate, flow, key))
