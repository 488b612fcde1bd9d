"""Everything that can be found wrong in a definition without asking anyone, all at once."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.definitions import (
    ActivityDefinition,
    AutomatedTask,
    HumanTask,
    Overlap,
    Rule,
    Schedule,
)
from rules import cron, decisions, expressions, patterns, schedules
from rules.errors import ExpressionError, PatternError, ScheduleError

_BOOL = frozenset({"BOOL", "DYN"})
_TEXT = frozenset({"STRING", "DYN"})
_KEY = frozenset({"STRING", "INT", "UINT", "DYN"})


@dataclass(frozen=True)
class Problem:
    """Something wrong: where, as `spec.rules[0].when`, and a sentence that says what and how."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def problems(definition: ActivityDefinition) -> list[Problem]:
    """Return everything that is wrong with a definition, in the order of its text.

    A definition without problems can still fail to decide: what the context holds is known only
    when it runs.
    """
    return list(_Checker(definition).problems())


class _Checker:
    def __init__(self, definition: ActivityDefinition) -> None:
        self._spec = definition.spec
        # What is read from a variable whose fields are known here.
        self._fields: dict[str, tuple[str, Collection[str]]] = {
            "context": ("context entry", [entry.name for entry in self._spec.context]),
            "trigger": ("field of trigger", decisions.TRIGGER_FIELDS),
            "window": ("field of window", decisions.WINDOW_FIELDS),
        }

    def problems(self) -> Iterator[Problem]:
        for i, trigger in enumerate(self._spec.triggers):
            path = f"spec.triggers[{i}]"
            if trigger.schedule is not None:
                yield from _schedule(trigger.schedule, f"{path}.schedule")
            if trigger.event is not None and trigger.event.match is not None:
                yield from _pattern(trigger.event.match, f"{path}.event.match")
            if trigger.event is not None and trigger.event.when is not None:
                yield from self._expression(
                    trigger.event.when, f"{path}.event.when", decisions.EVENT_VARIABLES, _BOOL
                )
        for i, entry in enumerate(self._spec.context):
            for name, text in entry.query.parameters.items():
                path = f"spec.context[{i}].query.parameters.{name}"
                yield from self._expression(text, path, decisions.TRIGGER_VARIABLES)
        for i, rule in enumerate(self._spec.rules):
            yield from self._rule(rule, f"spec.rules[{i}]")

    def _rule(self, rule: Rule, path: str) -> Iterator[Problem]:
        yield from self._expression(rule.when, f"{path}.when", decisions.RULE_VARIABLES, _BOOL)
        if rule.for_each is not None:
            if rule.for_each.item in decisions.RULE_VARIABLES:
                yield Problem(
                    f"{path}.forEach.item",
                    f"{rule.for_each.item!r} is a variable already; give the item another name",
                )
            yield from self._expression(
                rule.for_each.in_, f"{path}.forEach.in", decisions.RULE_VARIABLES, lists=True
            )
        task, variables = rule.task, decisions.rule_variables(rule)
        if isinstance(task, HumanTask):
            yield from self._expression(task.title, f"{path}.task.title", variables, _TEXT)
        if task.key is not None:
            yield from self._expression(task.key, f"{path}.task.key", variables, _KEY)
        for name, text in task.input.items():
            yield from self._expression(text, f"{path}.task.input.{name}", variables)
        if isinstance(task, AutomatedTask) and task.task_queue == self._spec.task_queue:
            yield Problem(
                f"{path}.task.taskQueue",
                f"{task.task_queue!r} is the queue that the definition's runs are served on, which "
                "no handler listens to; write the queue of the handler's worker",
            )
        if isinstance(task, HumanTask) and task.form is not None:
            yield from _form(task.form, f"{path}.task.form")

    def _expression(
        self,
        text: str,
        path: str,
        variables: Collection[str],
        types: Collection[str] | None = None,
        *,
        lists: bool = False,
    ) -> Iterator[Problem]:
        try:
            expression = expressions.compile(text, variables=variables)
        except ExpressionError as exc:
            yield Problem(path, str(exc))
            return
        found = expression.returns
        if types is not None and found not in types:
            wanted = " or ".join(_WORDS[kind] for kind in _WORDS if kind in types)
            yield Problem(path, f"expected {wanted}, but this gives {_word(found)}")
        if lists and found != "DYN" and not found.startswith("LIST"):
            yield Problem(path, f"expected a list, but this gives {_word(found)}")
        for variable in sorted(expression.variables & self._fields.keys()):
            kind, known = self._fields[variable]
            for name in sorted(expression.fields(variable) - set(known)):
                yield Problem(path, expressions.did_you_mean(name, known, kind))


_WORDS = {"BOOL": "true or false", "STRING": "a text", "INT": "a whole number"}


def _word(kind: str) -> str:
    words = {**_WORDS, "UINT": "a whole number", "DOUBLE": "a number with decimals", "NULL": "null"}
    words |= {"BYTES": "bytes", "TIMESTAMP": "a time", "DURATION": "a duration"}
    if kind.startswith("LIST"):
        return "a list"
    if kind.startswith("MAP"):
        return "an object"
    return words.get(kind, kind.lower())


def _schedule(schedule: Schedule, path: str) -> Iterator[Problem]:
    if schedule.cron is not None:
        try:
            cron.parse(schedule.cron)
        except ScheduleError as exc:
            yield Problem(f"{path}.cron", str(exc))
        try:
            schedules.zone(schedule.timezone)
        except ScheduleError as exc:
            yield Problem(f"{path}.timezone", str(exc))
    elif schedule.timezone != "UTC":
        yield Problem(
            f"{path}.timezone", "every counts time that passes, in no zone; leave timezone out"
        )
    if schedule.missed_runs.policy == "catchUp" and schedule.overlap is Overlap.SKIP:
        yield Problem(
            f"{path}.overlap",
            "catchUp starts several runs at once, of which overlap: skip would let only the first "
            "run; write overlap: allowAll",
        )


def _pattern(pattern: Mapping[str, Any], path: str) -> Iterator[Problem]:
    try:
        patterns.compile(pattern)
    except PatternError as exc:
        yield Problem(f"{path}.{exc.path}" if exc.path else path, exc.message)


def _form(form: Mapping[str, Any], path: str) -> Iterator[Problem]:
    # Only the outline: the answer of a form is an object. A validator checks the answers.
    if form.get("type") != "object":
        yield Problem(f"{path}.type", "the answer of a form is an object: write type: object")
    properties = form.get("properties", {})
    if not isinstance(properties, Mapping):
        yield Problem(f"{path}.properties", "expected an object that has a schema for each field")
        return
    for name, schema in properties.items():
        if not isinstance(schema, Mapping | bool):
            yield Problem(f"{path}.properties.{name}", "expected a JSON Schema, which is an object")
    required = form.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        yield Problem(f"{path}.required", "expected a list of field names")
        return
    for name in required:
        if properties and name not in properties:
            yield Problem(
                f"{path}.required", expressions.did_you_mean(name, list(properties), "field")
            )
