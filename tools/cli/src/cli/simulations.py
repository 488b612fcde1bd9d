"""What a definition would do: found on paper, with no effect at all and without any service."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from contracts import identifiers
from contracts.decisions import Decision
from contracts.definitions import ActivityDefinition
from contracts.envelope import Envelope
from contracts.triggers import Trigger, TriggerKind, Window
from rules import decisions, schedules
from rules.decisions import Program
from rules.errors import DecisionError
from rules.triggers import Finding, Triggers

VERSION = 1
"""What expressions see as `trigger.definition_version` of a definition that has no version yet."""

_MICROSECOND = timedelta(microseconds=1)
_LOOKED_BACK = timedelta(days=366)


@dataclass
class Simulation:
    """What one cause would do: why triggers match or not, and the run, if there is one.

    `missing` are entries of the context without a value; then nothing is decided. `failure` says
    why the run could not decide.
    """

    cause: str
    findings: Sequence[Finding]
    run_id: str | None = None
    trigger: Trigger | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: Sequence[str] = ()
    decision: Decision | None = None
    failure: str | None = None


class Simulator:
    """Simulates one definition over a context that was given."""

    def __init__(self, definition: ActivityDefinition, context: Mapping[str, Any]) -> None:
        """Compile a definition. Raises DecisionError when it does not compile."""
        self._definition = definition
        self._context = context
        self._program: Program = decisions.compile_definition(definition)
        self._triggers = Triggers(definition)

    def events(self, events: Iterable[Envelope]) -> list[Simulation]:
        """Return what events would do, each by itself; those that are gathered become one run."""
        simulated: list[Simulation] = []
        gathered: list[Envelope] = []
        names: list[str] = []
        for event in events:
            findings = self._triggers.of_event(event)
            matched = [one.trigger for one in findings if one.matched]
            simulation = Simulation(f"event {event.event_id} from {event.source}", findings)
            simulated.append(simulation)
            if self._triggers.gathers(matched):
                gathered.append(event)
                names += [name for name in matched if name not in names]
            elif matched:
                trigger = Trigger(
                    kind=TriggerKind.EVENT,
                    names=matched,
                    definition_version=VERSION,
                    events=[event],
                )
                self._run(simulation, trigger)
        if gathered:
            simulated.append(self._batch(gathered, names))
        return simulated

    def due_time(self, at: datetime) -> Simulation:
        """Return what the definition would do at a time, if a schedule of it is due just then."""
        findings = self._triggers.of_due_time(at)
        names = [one.trigger for one in findings if one.matched]
        simulation = Simulation(f"the time {identifiers.instant(at)}", findings)
        if names:
            trigger = Trigger(
                kind=TriggerKind.SCHEDULE,
                names=names,
                definition_version=VERSION,
                scheduled_for=at,
                window=Window(start=self._covered_before(at), end=at),
            )
            self._run(simulation, trigger)
        return simulation

    def next_due(self, after: datetime) -> datetime | None:
        """Return the first due time of any schedule after a time."""
        found = [
            due
            for schedule in self._definition.schedules.values()
            if (due := schedules.next_due(schedule, after)) is not None
        ]
        return min(found, default=None)

    def _covered_before(self, at: datetime) -> datetime:
        """Return the due time before one, where its window begins; itself if it is the first."""
        found = [
            due
            for schedule in self._definition.schedules.values()
            for due in schedules.last_due_times(
                schedule, after=at - _LOOKED_BACK, until=at - _MICROSECOND, count=1
            )
        ]
        return max(found, default=at)

    def _batch(self, events: list[Envelope], names: list[str]) -> Simulation:
        simulation = Simulation(f"a batch of {len(events)} events", ())
        first = events[0]
        # The real id follows from where the first record will stand, which nobody knows yet.
        trigger = Trigger(
            kind=TriggerKind.BATCH,
            names=names,
            definition_version=VERSION,
            events=events,
            batch_id=identifiers.short_hash("simulated", first.source, first.event_id),
        )
        self._run(simulation, trigger)
        return simulation

    def _run(self, simulation: Simulation, trigger: Trigger) -> None:
        simulation.trigger = trigger
        simulation.run_id = identifiers.run_id(self._definition.metadata.id, trigger.key)
        try:
            simulation.parameters = self._program.context_parameters(trigger)
            simulation.missing = [
                name for name in simulation.parameters if name not in self._context
            ]
            if simulation.missing:
                return
            simulation.decision = self._program.decide(
                definition_version=VERSION,
                namespace=self._definition.metadata.namespace,
                run_id=simulation.run_id,
                trigger=trigger,
                snapshot={name: self._context[name] for name in simulation.parameters},
            )
        except DecisionError as exc:
            simulation.failure = str(exc)
