"""Which triggers of a definition a cause satisfies, and why it does not satisfy the others.

For whoever asks what a definition would do, or would have done: nothing is started here. What
waits (limits, held events, missed due times) is a matter of the moment, and is not looked at.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from contracts import sensitive
from contracts.definitions import ActivityDefinition, EventMatch
from contracts.envelope import Envelope
from contracts.triggers import Trigger, TriggerKind
from rules import expressions, failures, jsonschemas, patterns, schedules
from rules.errors import GatheredOtherwiseError, NotTriggeredError, RulesError

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a cause is to one trigger; `detail` says why it does not match, in a sentence's part."""

    trigger: str
    matched: bool
    detail: str = ""


class Triggers:
    """The triggers of one version of a definition, compiled once and asked many times."""

    def __init__(self, definition: ActivityDefinition) -> None:
        self.definition = definition
        self._events = {name: _condition(event) for name, event in definition.events.items()}

    def of_event(self, event: Envelope) -> list[Finding]:
        """Hold an event against every event trigger."""
        document = event.document()
        found = []
        for name, refusal in self._events.items():
            detail = refusal(document)
            found.append(Finding(name, matched=not detail, detail=detail))
        return found

    def of_due_time(self, at: datetime) -> list[Finding]:
        """Say which schedule triggers are due at exactly this instant."""
        found = []
        for name, schedule in self.definition.schedules.items():
            try:
                due = list(schedules.due_times(schedule, after=at - _MICROSECOND, until=at))
                detail = "" if due else "it is not due at this time"
            except RulesError as exc:
                detail = str(exc)
            found.append(Finding(name, matched=not detail, detail=detail))
        return found

    def of_input(self, value: JsonValue) -> list[Finding]:
        """Say which manual triggers take the input of a start by hand."""
        found = []
        for name, manual in self.definition.manual_starts.items():
            wrong = [] if manual.input is None else jsonschemas.validate(manual.input, value)
            found.append(Finding(name, matched=not wrong, detail="; ".join(wrong)))
        return found

    def gathers(self, names: Collection[str]) -> bool:
        """Say whether an event that satisfies these triggers is gathered into a batch."""
        events = self.definition.events
        return bool(names) and all(
            name in events and events[name].batch is not None for name in names
        )

    def again(
        self,
        trigger: Trigger,
        *,
        before: ActivityDefinition,
        definition_version: int,
        revealed: Mapping[str, Any] | None = None,
    ) -> Trigger:
        """Return the trigger as this version would have it, where `before` had `trigger`.

        Its window, its due times and its events stay as they were: only the names are found anew,
        and those only when the triggers have changed. Conditions see the values of sensitive fields
        that `revealed` has by blob id.

        Raises:
            NotTriggeredError: the cause satisfies no trigger of this version.
            GatheredOtherwiseError: this version gathers events otherwise, so that nobody knows
                which of them would be one run.
        """
        names = trigger.names
        if self.definition.spec.triggers != before.spec.triggers:
            names = self._names(_seen(trigger, revealed) if revealed else trigger, before)
        return trigger.model_copy(update={"names": names, "definition_version": definition_version})

    def _names(self, trigger: Trigger, before: ActivityDefinition) -> list[str]:
        if trigger.event is not None:
            names = _matched(self.of_event(trigger.event))
            if self.gathers(names):
                raise GatheredOtherwiseError("it gathers this event into a batch")
            return names
        if trigger.events:
            return self._names_of_batch(trigger, before)
        if trigger.scheduled_for is not None:
            return self._names_of_due_time(trigger, trigger.scheduled_for, before)
        if trigger.kind is TriggerKind.MANUAL and self.definition.manual_starts:
            return _matched(self.of_input(trigger.input))
        known = {one.name for one in self.definition.spec.triggers}
        return [name for name in trigger.names if name in known]

    def _names_of_due_time(
        self, trigger: Trigger, at: datetime, before: ActivityDefinition
    ) -> list[str]:
        # A trigger that was due then and did not run was left out by its policy.
        left_out = {
            name
            for name, schedule in before.schedules.items()
            if name not in trigger.names and self.definition.schedules.get(name) == schedule
        }
        names = [name for name in _matched(self.of_due_time(at)) if name not in left_out]
        if not names:
            raise NotTriggeredError("none of its schedules is due at that time")
        return names

    def _names_of_batch(self, trigger: Trigger, before: ActivityDefinition) -> list[str]:
        events = self.definition.events
        if all(
            name in events and events[name] == before.events.get(name) for name in trigger.names
        ):
            return trigger.names
        findings = [finding for event in trigger.events for finding in self.of_event(event)]
        if not any(finding.matched for finding in findings):
            raise NotTriggeredError(_told(findings))
        raise GatheredOtherwiseError("it gathers these events otherwise")


def _seen(trigger: Trigger, revealed: Mapping[str, Any]) -> Trigger:
    events = [
        event.model_copy(update={"payload": sensitive.revealed(event.payload, revealed)})
        for event in trigger.events
    ]
    return trigger.model_copy(update={"events": events})


def _matched(findings: list[Finding]) -> list[str]:
    names = [finding.trigger for finding in findings if finding.matched]
    if not names:
        raise NotTriggeredError(_told(findings))
    return names


def _told(findings: list[Finding]) -> str:
    told = dict.fromkeys(f"{one.trigger}: {one.detail}" for one in findings if not one.matched)
    return "; ".join(told) or "it has no trigger of that kind"


def _condition(event: EventMatch) -> Callable[[dict[str, JsonValue]], str]:
    """Return what says of an event's document why a trigger does not match, empty if it does."""
    try:
        pattern = None if event.match is None else patterns.compile(event.match)
        when = None if event.when is None else expressions.compile(event.when, variables=("event",))
    except RulesError as exc:
        problem = f"it does not compile: {exc}"
        return lambda _: problem

    def refusal(document: dict[str, JsonValue]) -> str:
        if document["type"] != event.type:
            return f"it listens to {event.type!r}"
        failure = None if pattern is None else failures.first(pattern, document)
        if failure is not None:
            return str(failure)
        try:
            if when is not None and not when.evaluate_bool({"event": document}):
                return f"{when.text} is false"
        except RulesError as exc:
            return str(exc)
        return ""

    return refusal
