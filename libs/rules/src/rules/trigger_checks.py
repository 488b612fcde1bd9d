"""Checks of what starts a definition: schedules, event patterns, starts by hand."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from contracts import names
from contracts.definitions import ActivityDefinition, EventMatch, Mode, Overlap, Schedule
from rules import clocks, cron, expressions, inference, operators, patterns, schedules, shapes
from rules.environment import Environment, EventTypes
from rules.errors import PatternError, ScheduleError
from rules.expression_checks import KEY, TRUTH, ExpressionChecks
from rules.inference import MAX_FINDINGS
from rules.jitter import MAX_JITTER
from rules.jsonschemas import Checker
from rules.problems import Problem
from rules.shapes import Kind, Shape

_LETS_ONE_GO = frozenset({Overlap.SKIP, Overlap.CANCEL_OTHER})


def check(
    definition: ActivityDefinition,
    environment: Environment,
    checks: ExpressionChecks,
    schemas: Checker,
    *,
    event_types: EventTypes | None,
) -> None:
    """Note what is wrong with the triggers of a definition, and with the limits of their runs."""
    for i, trigger in enumerate(definition.spec.triggers):
        path = f"spec.triggers[{i}]"
        if trigger.schedule is not None:
            checks.problems += _schedule(trigger.schedule, f"{path}.schedule")
        if trigger.event is not None:
            stateful = definition.spec.mode is Mode.STATEFUL
            checks.problems += _event_type(trigger.event.type, f"{path}.event.type", event_types)
            _event(trigger.event, f"{path}.event", environment, checks, stateful=stateful)
        if trigger.manual is not None and trigger.manual.input is not None:
            checks.problems += schemas.problems(
                trigger.manual.input, path=f"{path}.manual.input", root_object=False
            )

    _limits(definition, environment, checks)


def _limits(
    definition: ActivityDefinition, environment: Environment, checks: ExpressionChecks
) -> None:
    limits, events = definition.spec.limits, definition.events.values()
    for name, limit in (("maxRuns", limits.max_runs), ("concurrency", limits.concurrency)):
        if limit is not None and not events:
            checks.note(
                f"spec.limits.{name}",
                f"{name} holds back runs that events start, and no trigger listens to events; "
                "leave it out",
            )
    if limits.concurrency is None or limits.concurrency.key is None:
        return
    path = "spec.limits.concurrency.key"
    if any(event.correlate is not None for event in events):
        checks.note(
            path,
            "a trigger's correlate is the key by which runs are counted already; leave this out",
        )
    if events:
        checks.check(limits.concurrency.key, path, {"event": environment.limited()}, wanted=KEY)


def _schedule(schedule: Schedule, path: str) -> Iterator[Problem]:
    found = [
        *_times(schedule, path),
        *_jitter(schedule, path),
    ]
    yield from found
    if schedule.missed_runs.policy == "catchUp" and schedule.overlap in _LETS_ONE_GO:
        yield Problem(
            f"{path}.overlap",
            f"catchUp starts several runs at once, of which overlap: {schedule.overlap} would let "
            "only one run; write overlap: bufferAll or allowAll",
        )
    if not found and schedules.first_due(schedule) is None:
        yield Problem(*_never_due(schedule, path))


def _times(schedule: Schedule, path: str) -> Iterator[Problem]:
    if schedule.cron is not None:
        try:
            cron.parse(schedule.cron)
        except ScheduleError as exc:
            yield Problem(f"{path}.cron", str(exc))
    for name, calendars in (
        ("calendars", schedule.calendars or ()),
        ("exclusions", schedule.exclusions),
    ):
        for i, calendar in enumerate(calendars):
            for field, fault in cron.calendar_faults(calendar):
                yield Problem(f"{path}.{name}[{i}].{field}", fault)
    if schedule.every is None or schedule.exclusions:
        try:
            clocks.zone(schedule.timezone)
        except ScheduleError as exc:
            yield Problem(f"{path}.timezone", _zone_sentence(schedule.timezone, exc))
    elif schedule.timezone != "UTC":
        yield Problem(
            f"{path}.timezone", "every counts time that passes, in no zone; leave timezone out"
        )


def _jitter(schedule: Schedule, path: str) -> Iterator[Problem]:
    if schedule.jitter is None:
        return
    if schedule.jitter > MAX_JITTER:
        yield Problem(f"{path}.jitter", "a jitter is at most 12h")
    elif schedule.every is not None and schedule.jitter >= schedule.every:
        yield Problem(
            f"{path}.jitter",
            "the jitter is not shorter than the period, so that a due time would wait for those "
            "before it; write one that is shorter than every",
        )


def _never_due(schedule: Schedule, path: str) -> tuple[str, str]:
    bounded = schedule.start is not None or schedule.end is not None
    if schedule.exclusions:
        between = " between start and end" if bounded else ""
        return (
            f"{path}.exclusions",
            f"never due: the exclusions leave no time{between}; narrow them, or take the trigger "
            "out",
        )
    if schedule.every is not None and schedule.end is None:
        return f"{path}.start", "never due: the start is the end of the calendar; move it earlier"
    if schedule.end is not None:
        return (
            f"{path}.end",
            "never due: nothing falls between start and end; move end to a later time",
        )
    source = "cron" if schedule.cron is not None else "calendars"
    return (
        f"{path}.{source}",
        "never due: no day of the next decades matches; look at the day, the month and the year",
    )


def _zone_sentence(name: str, error: ScheduleError) -> str:
    sentence = expressions.did_you_mean(name, _zones(), "time zone")
    return sentence if "did you mean" in sentence else str(error)


@cache
def _zones() -> Sequence[str]:
    return sorted(zone for zone in available_timezones() if "/" in zone or zone == "UTC")


def _event_type(event_type: str, path: str, registered: EventTypes | None) -> Iterator[Problem]:
    if event_type.startswith(names.RESERVED_PREFIX):
        if event_type not in list(names.EventType):
            known = [str(own) for own in names.EventType]
            yield Problem(path, expressions.did_you_mean(event_type, known, "event type"))
    elif registered is not None and event_type not in registered:
        sentence = expressions.did_you_mean(event_type, list(registered), "event type")
        if "did you mean" not in sentence:
            sentence = f"unknown event type {event_type!r}; apply an EventType of that name"
        yield Problem(path, sentence)


def _event(
    match: EventMatch,
    path: str,
    environment: Environment,
    checks: ExpressionChecks,
    *,
    stateful: bool,
) -> None:
    event = environment.event(match)
    if match.match is not None:
        try:
            patterns.compile(match.match)
        except PatternError as exc:
            below = f"{path}.match"
            checks.note(f"{below}.{exc.path}" if exc.path else below, exc.message)
        else:
            _PatternChecks(checks).check(match.match, event, f"{path}.match", "event")
    if match.when is not None:
        checks.check(match.when, f"{path}.when", {"event": event}, wanted=TRUTH)
    if match.correlate is not None:
        checks.check(match.correlate, f"{path}.correlate", {"event": event}, wanted=KEY)
        if not stateful and match.batch is None:
            checks.note(
                f"{path}.correlate",
                "correlate is the key of a stateful instance or of a batch, and this trigger has "
                "neither; leave it out, or write mode: stateful",
            )
    elif stateful:
        checks.note(path, "mode: stateful needs correlate, which says whose instance an event is")


class _PatternChecks:
    """Holds a pattern that compiles against the shape of what it is to match."""

    def __init__(self, checks: ExpressionChecks) -> None:
        self._checks = checks
        self._left = MAX_FINDINGS

    def _note(self, path: str, message: str) -> None:
        self._left -= 1
        self._checks.note(path, message)

    def check(self, pattern: Mapping[str, Any], shape: Shape, path: str, where: str) -> None:
        """Note the fields that are never there, and the values that are never in them."""
        for name, expected in pattern.items():
            if self._left <= 0:
                return
            below = f"{path}.{name}"
            if name == "$or":
                for i, group in enumerate(expected):
                    self.check(group, shape, f"{below}[{i}]", where)
                continue
            # An envelope's extension is never an object: what is looked for within is a field.
            extension = inference.guarded(shape) and not isinstance(expected, Mapping)
            problem = None if extension else self._checks.field(name, shape, where)
            if problem is not None:
                if not _only_absent(expected):
                    self._note(below, problem)
                continue
            found = _within(_field(shape, name))
            if isinstance(expected, Mapping):
                self._object(expected, found, below, f"{where}.{name}")
            else:
                self._leaf(expected, found, below, f"{where}.{name}")

    def _object(self, pattern: Mapping[str, Any], found: Shape, path: str, where: str) -> None:
        if found.kinds and Kind.OBJECT not in found.kinds:
            self._note(path, f"{where} is {found}, which has no fields to match")
            return
        self.check(pattern, found, path, where)

    def _leaf(self, alternatives: Sequence[Any], found: Shape, path: str, where: str) -> None:
        if not found.known:
            return
        for i, item in enumerate(alternatives):
            if self._left <= 0:
                return
            problem = _never(item, found)
            if problem is not None:
                self._note(f"{path}[{i}]", f"{where} is {problem}")


def _field(shape: Shape, name: str) -> Shape:
    found = []
    for form in shape.objects:
        if name in form.fields:
            found.append(form.fields[name]())
        elif form.openness is not shapes.Openness.CLOSED:
            return shapes.ANYTHING
    return shapes.join(found) if found else shapes.ANYTHING


def _within(shape: Shape) -> Shape:
    """Return what a pattern looks at: the elements in the place of a list."""
    for _ in range(patterns.MAX_DEPTH):
        if Kind.LIST not in shape.kinds or not shape.known:
            return shape
        rest = Shape(shape.kinds - {Kind.LIST}, shape.objects, (), shape.texts)
        shape = shapes.join([rest, shapes.element(shape)])
    return shapes.ANYTHING


def _only_absent(expected: Any) -> bool:
    return isinstance(expected, list | tuple) and all(
        isinstance(item, Mapping) and item.get("exists") is False for item in expected
    )


_ON_TEXT = ("prefix", "suffix", "equals-ignore-case", "wildcard", "cidr")


def _never(item: Any, found: Shape) -> str | None:
    """Return why an alternative of a pattern can never match; None when it may."""
    if not isinstance(item, Mapping):
        given = shapes.value(item)
        if not operators.never_equal(found, given):
            return None
        one, other = operators.as_told(found, given), operators.as_told(given, found)
        return f"{one}, which is never equal to {other}"
    [(name, _)] = item.items()
    if name in _ON_TEXT and Kind.TEXT not in found.kinds:
        return f"{found}, and {name} matches texts"
    if name == "numeric" and found.kinds.isdisjoint(shapes.NUMBERS):
        return f"{found}, and numeric matches numbers"
    return None
