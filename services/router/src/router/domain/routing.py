"""Which definitions an event starts: an index by type, then pattern, then the CEL condition.

Patterns and conditions are compiled once, when a definition arrives. A condition that gives an
error is an outcome of its own: it stops neither the other triggers nor the other definitions.
What is disabled is known and not held against anything, so that it cannot give an error either.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from contracts import definitions
from contracts.definitions import ActivityDefinition, EventMatch, ManualStart
from router.errors import DefinitionUnusableError
from rules import expressions, patterns
from rules.errors import ExpressionError, PatternError, RulesError
from rules.expressions import Expression
from rules.patterns import Pattern

VARIABLES = frozenset({"event"})


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """One compiled event trigger. `problem` says why it could not be compiled."""

    name: str
    event_type: str
    pattern: Pattern | None = None
    when: Expression | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Active:
    """The version of a definition that is in use, as far as the router needs it.

    `revision` is that of its last change, `disabled` says that it starts nothing for now, and
    `manual` holds its manual triggers by name.
    """

    definition_id: str
    version: int
    revision: int
    task_queue: str
    triggers: tuple[EventTrigger, ...] = ()
    manual: Mapping[str, ManualStart] = field(default_factory=dict)
    disabled: bool = False


class Outcome(StrEnum):
    """What became of a candidate, a definition that listens to the event's type."""

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
class Candidate:
    """A definition beside what the event meant to it: `names` are the triggers that matched.

    A definition can be matched by one trigger while another one gives an error.
    """

    definition: Active
    names: tuple[str, ...] = ()
    errors: tuple[TriggerError, ...] = ()

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
    """The definitions in use of one namespace, by id and by the event types they listen to."""

    _by_id: dict[str, Active] = field(default_factory=dict)
    _by_type: dict[str, dict[str, tuple[EventTrigger, ...]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Active]:
        return iter(self._by_id.values())

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
        for event_type in {trigger.event_type for trigger in active.triggers}:
            self._by_type.setdefault(event_type, {})[active.definition_id] = tuple(
                trigger for trigger in active.triggers if trigger.event_type == event_type
            )
        return True

    def remove(self, definition_id: str) -> None:
        """Forget a definition, as one that was retired; nothing happens when it is not there."""
        active = self._by_id.pop(definition_id, None)
        for trigger in active.triggers if active is not None else ():
            listeners = self._by_type.get(trigger.event_type)
            if listeners is not None:
                listeners.pop(definition_id, None)
                if not listeners:
                    del self._by_type[trigger.event_type]

    def candidates(self, event_type: str, document: Mapping[str, Any]) -> list[Candidate]:
        """Return every definition that listens to the type, with its outcome for this document."""
        listeners = self._by_type.get(event_type)
        if not listeners:
            return []
        evaluation = _Evaluation(document)
        return [
            evaluation.candidate(self._by_id[definition_id], triggers)
            for definition_id, triggers in listeners.items()
        ]


class _Evaluation:
    """One event against many triggers; its CEL form is made once, by the first that needs it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._inputs: expressions.Inputs | None = None

    def candidate(self, active: Active, triggers: tuple[EventTrigger, ...]) -> Candidate:
        if active.disabled:
            return Candidate(active)
        names: list[str] = []
        errors: list[TriggerError] = []
        for trigger in triggers:
            try:
                if self._matches(trigger):
                    names.append(trigger.name)
            except ExpressionError as exc:
                errors.append(TriggerError(trigger.name, str(exc)))
        return Candidate(active, tuple(names), tuple(errors))

    def _matches(self, trigger: EventTrigger) -> bool:
        if trigger.problem is not None:
            raise ExpressionError(f"it does not compile: {trigger.problem}")
        if trigger.pattern is not None and not trigger.pattern.matches(self._document):
            return False
        if trigger.when is None:
            return True
        if self._inputs is None:
            self._inputs = expressions.inputs({"event": self._document})
        return trigger.when.evaluate_bool(self._inputs)
