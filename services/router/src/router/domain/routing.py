"""Which definitions an event starts: one index over all patterns, then the CEL condition.

A candidate is a definition with at least one trigger whose pattern matches the event. A definition
that listens to the event's type and whose pattern does not match is none, and costs nothing: why it
did not run is told when somebody asks, from its pattern and the event (`rules.failures`).

Patterns and conditions are compiled once, when a definition arrives. A condition that gives an
error is an outcome of its own: it stops neither the other triggers nor the other definitions. The
conditions of what is disabled are not looked at, so that they cannot give an error either.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import Any

from pydantic import ValidationError

from contracts import definitions
from contracts.definitions import ActivityDefinition, EventMatch, ManualStart
from router.domain import waiting
from router.domain.waiting import FlowControl
from router.errors import DefinitionUnusableError
from rules import correlations, expressions, matching, patterns
from rules.correlations import Correlation
from rules.errors import ExpressionError, PatternError, RulesError
from rules.expressions import Expression
from rules.patterns import Pattern

VARIABLES = frozenset({"event"})


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """One compiled event trigger. `problem` says why it could not be compiled.

    Without a pattern, or with a problem, it is there for every event of its type.
    """

    name: str
    event_type: str
    pattern: Pattern | None = None
    when: Expression | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Active:
    """The version of a definition that is in use, as far as the router needs it.

    `revision` is that of its last change, `disabled` says that it starts nothing for now, `manual`
    holds its manual triggers by name, `flow` says how its events wait, if they ever do,
    `correlation` whose instance an event is, where it is stateful, and `labels` are its own.
    """

    definition_id: str
    version: int
    revision: int
    task_queue: str
    triggers: tuple[EventTrigger, ...] = ()
    manual: Mapping[str, ManualStart] = field(default_factory=dict)
    disabled: bool = False
    flow: FlowControl | None = None
    correlation: Correlation | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class Outcome(StrEnum):
    """What became of a candidate; filtered are those whose conditions are all false."""

    MATCHED = "matched"
    FILTERED = "filtered"
    ERRORED = "errored"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class TriggerError:
    """A trigger whose condition gave an error."""

    trigger: str
    message: str


@dataclass(frozen=True, slots=True)
class TriggerFiltered:
    """A trigger whose condition `when` is false."""

    trigger: str
    when: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A definition beside what the event meant to it: `names` are the triggers that matched.

    A definition can be matched by one trigger while another one gives an error. `filtered` and
    `errors` hold its other triggers whose pattern matched.
    """

    definition: Active
    names: tuple[str, ...] = ()
    errors: tuple[TriggerError, ...] = ()
    filtered: tuple[TriggerFiltered, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """DISABLED, or MATCHED when any trigger matched, else ERRORED when any gave an error."""
        if self.definition.disabled:
            return Outcome.DISABLED
        if self.names:
            return Outcome.MATCHED
        return Outcome.ERRORED if self.errors else Outcome.FILTERED


def compile_definition(
    content: bytes, *, version: int, revision: int, disabled: bool = False
) -> Active:
    """Read and compile a definition as the registry serves it.

    A trigger that does not compile is kept with its problem, so that its events are not lost in
    silence.

    Raises:
        DefinitionUnusableError: the content is not a definition that this release can read.
    """
    try:
        definition = definitions.load(content)
    except ValidationError as exc:
        raise DefinitionUnusableError(
            f"{exc.error_count()} problems, first: {exc.errors(include_url=False)[0]['msg']}"
        ) from exc
    return _active(definition, version=version, revision=revision, disabled=disabled)


def _active(
    definition: ActivityDefinition, *, version: int, revision: int, disabled: bool
) -> Active:
    return Active(
        definition_id=definition.metadata.id,
        version=version,
        revision=revision,
        task_queue=definition.spec.task_queue,
        triggers=tuple(_trigger(name, event) for name, event in definition.events.items()),
        manual=definition.manual_starts,
        disabled=disabled,
        flow=waiting.flow_control(definition),
        correlation=correlations.correlation(definition),
        labels=definition.metadata.labels,
    )


def _trigger(name: str, event: EventMatch) -> EventTrigger:
    try:
        return EventTrigger(
            name=name,
            event_type=event.type,
            pattern=patterns.compile(event.match) if event.match is not None else None,
            when=(
                expressions.compile(event.when, variables=VARIABLES)
                if event.when is not None
                else None
            ),
        )
    except (PatternError, RulesError) as exc:
        return EventTrigger(name=name, event_type=event.type, problem=str(exc))


@dataclass(slots=True)
class Index:
    """The definitions in use of one namespace, by id and by what their triggers match."""

    _by_id: dict[str, Active] = field(default_factory=dict)
    # A trigger is named by its definition and its place among the triggers of it.
    _patterns: matching.Index[tuple[str, int]] = field(default_factory=matching.Index)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Active]:
        return iter(self._by_id.values())

    @property
    def weak(self) -> int:
        """How many patterns each cost something with every event of their type."""
        return self._patterns.weak

    def get(self, definition_id: str) -> Active | None:
        """Return the version of a definition that is in use."""
        return self._by_id.get(definition_id)

    def put(self, active: Active) -> bool:
        """Replace the earlier version of a definition; False for one that is older than it."""
        known = self._by_id.get(active.definition_id)
        if known is not None:
            if active.revision < known.revision:
                return False
            self.remove(active.definition_id)
        self._by_id[active.definition_id] = active
        for place, trigger in enumerate(active.triggers):
            self._patterns.put(
                (active.definition_id, place), trigger.pattern, event_type=trigger.event_type
            )
        return True

    def remove(self, definition_id: str) -> None:
        """Forget a definition, as one that was retired; nothing happens when it is not there."""
        active = self._by_id.pop(definition_id, None)
        for place in range(len(active.triggers) if active is not None else 0):
            self._patterns.remove((definition_id, place))

    def candidates(self, event_type: str, document: Mapping[str, Any]) -> list[Candidate]:
        """Return the definitions with a trigger whose pattern matches, by id, with their outcomes.

        `document` is of an event that was admitted: what it holds was read strictly.
        It costs what the event's own fields and the candidates cost, however many listen.
        """
        found = self._patterns.match(event_type, document)
        if not found:
            return []
        evaluation = _Evaluation(document)
        candidates = []
        for definition_id, places in groupby(sorted(found), key=itemgetter(0)):
            active = self._by_id[definition_id]
            triggers = [active.triggers[place] for _, place in places]
            candidates.append(evaluation.candidate(active, triggers))
        return candidates


def listening(active: Active, document: Mapping[str, Any]) -> tuple[EventTrigger, ...]:
    """Return the triggers of a definition whose pattern matches an event, as the index would."""
    return tuple(
        trigger
        for trigger in active.triggers
        if trigger.event_type == document["type"]
        and (trigger.pattern is None or trigger.pattern.matches(document))
    )


def evaluate(active: Active, document: Mapping[str, Any]) -> Candidate:
    """Return what an event means to one definition, whether or not it is disabled."""
    triggers = listening(active, document)
    return _Evaluation(document).candidate(replace(active, disabled=False), triggers)


class _Evaluation:
    """One event against triggers whose pattern matches it.

    Its CEL form is made once, by the first condition that needs it.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._inputs: expressions.Inputs | None = None

    def candidate(self, active: Active, triggers: Iterable[EventTrigger]) -> Candidate:
        if active.disabled:
            return Candidate(active)
        names: list[str] = []
        errors: list[TriggerError] = []
        filtered: list[TriggerFiltered] = []
        for trigger in triggers:
            try:
                if self._holds(trigger):
                    names.append(trigger.name)
                elif trigger.when is not None:
                    filtered.append(TriggerFiltered(trigger.name, trigger.when.text))
            except ExpressionError as exc:
                errors.append(TriggerError(trigger.name, str(exc)))
        return Candidate(active, tuple(names), tuple(errors), tuple(filtered))

    def _holds(self, trigger: EventTrigger) -> bool:
        if trigger.problem is not None:
            raise ExpressionError(f"it does not compile: {trigger.problem}")
        if trigger.when is None:
            return True
        if self._inputs is None:
            self._inputs = expressions.parsed({"event": self._document})
        return trigger.when.evaluate_bool(self._inputs)
