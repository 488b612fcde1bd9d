"""What a definition would do: which runs causes would start, and what those would decide."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from contracts import identifiers
from contracts.decisions import Decision
from contracts.envelope import Envelope
from contracts.simulations import LookedAt
from contracts.triggers import Trigger, TriggerKind, Window
from rules import correlations, schedules
from rules.backtests import Version
from rules.errors import DecisionError, ExpressionError
from rules.triggers import Finding

_MICROSECOND = timedelta(microseconds=1)
_LOOKED_BACK = timedelta(days=366)


@dataclass
class Simulation:
    """What one cause would do: why triggers match or not, and the run, if there is one.

    `missing` are entries of the context without a value; then nothing is decided. `failure` says
    why the run could not decide, `waits` what it would wait for. `instance` is the correlation key
    of a stateful definition, `state` what its instance remembers afterwards.
    """

    cause: str
    findings: Sequence[Finding]
    run_id: str | None = None
    trigger: Trigger | None = None
    instance: str | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: Sequence[str] = ()
    looked_at: Sequence[LookedAt] = ()
    decision: Decision | None = None
    state: Mapping[str, Any] | None = None
    failure: str | None = None
    waits: str | None = None

    @property
    def undecided(self) -> bool:
        """Whether there would be a run, and it is not known what it would decide."""
        return self.trigger is not None and self.decision is None


class Deciding(Protocol):
    """Decides the run of a simulation, and puts into it what came of that."""

    async def decide(self, simulation: Simulation, state: Mapping[str, Any] | None) -> None:
        """Decide a run; `state` is that of its instance, None for one that begins."""
        ...


async def decide(
    simulations: Iterable[Simulation],
    deciding: Deciding,
    *,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Decide the runs there would be, in order: each instance goes on from the event before.

    `state` is that of the instance which the first run is of.
    """
    states: dict[str | None, Mapping[str, Any] | None] = {}
    for one in simulations:
        if one.trigger is None or one.failure is not None:
            continue
        before = states.get(one.instance) if states else state
        states[one.instance] = before
        await deciding.decide(one, before)
        if one.decision is not None and one.decision.state is not None:
            states[one.instance] = None if one.decision.state.ended else one.state


class Paper:
    """Decides over a context that was given, with no effect at all and without any service."""

    def __init__(self, version: Version, context: Mapping[str, Any]) -> None:
        self._version = version
        self._context = context

    async def decide(self, simulation: Simulation, state: Mapping[str, Any] | None) -> None:
        """Decide a run, unless a value is missing."""
        trigger, version = simulation.trigger, self._version
        if trigger is None or simulation.run_id is None:
            return
        try:
            simulation.parameters = version.program.context_parameters(trigger)
            names = list(simulation.parameters)
            simulation.missing = [name for name in names if name not in self._context]
            if simulation.missing:
                return
            simulation.decision, step = version.decide(
                namespace=version.definition.metadata.namespace,
                run_id=simulation.run_id,
                trigger=trigger,
                snapshot={name: self._context[name] for name in names},
                state=state,
            )
            simulation.state = None if step is None else step.state
        except DecisionError as exc:
            simulation.failure = str(exc)


class Simulator:
    """Finds the runs that causes would start by one version of a definition."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._definition = version.definition
        self._triggers = version.triggers

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
                    definition_version=self._version.number,
                    events=[event],
                )
                self._start(simulation, trigger)
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
                definition_version=self._version.number,
                scheduled_for=at,
                window=Window(start=self._covered_before(at), end=at),
            )
            self._start(simulation, trigger)
        return simulation

    def next_due(self, after: datetime) -> datetime | None:
        """Return the first due time of any schedule after a time."""
        return schedules.next_due_of(self._definition.schedules.values(), after)

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
            definition_version=self._version.number,
            events=events,
            batch_id=identifiers.short_hash("simulated", first.source, first.event_id),
        )
        self._start(simulation, trigger)
        return simulation

    def _start(self, simulation: Simulation, trigger: Trigger) -> None:
        simulation.trigger = trigger
        simulation.run_id = identifiers.run_id(self._definition.metadata.id, trigger.key)
        if self._version.correlation is None or trigger.event is None:
            return
        try:
            simulation.instance = correlations.key(
                self._version.correlation, trigger.names, trigger.event.document()
            )
        except ExpressionError as exc:
            simulation.failure = str(exc)
