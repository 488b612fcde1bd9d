"""What a run decides: rules over the event, the trigger and the context snapshot.

Deterministic: the same definition version, run, trigger and snapshot give the same decision, byte
for byte, or the same error. An error in one rule fails the whole decision, since half of a decision
would be a decision that nobody wrote.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts import canonical, identifiers
from contracts.decisions import (
    AutomatedInstance,
    Decision,
    HumanInstance,
    RuleTrace,
    TaskInstance,
)
from contracts.definitions import (
    MAX_TASKS_PER_RUN,
    ActivityDefinition,
    AutomatedTask,
    ContextEntry,
    Rule,
)
from contracts.identifiers import RunId, TaskId
from contracts.triggers import Trigger
from rules import expressions, kinds
from rules.errors import DecisionError, ExpressionError
from rules.expressions import Expression, Inputs

TRIGGER_VARIABLES = ("event", "events", "trigger", "window")
"""What parameters of context entries read: nothing is known yet but the cause."""
RULE_VARIABLES = (*TRIGGER_VARIABLES, "context")
"""What rules read, besides the item of their forEach."""
EVENT_VARIABLES = ("event",)
"""What `when` of an event trigger reads."""

MAX_KEY_LENGTH = 256
MAX_TITLE_LENGTH = 500


def trigger_inputs(trigger: Trigger) -> dict[str, Any]:
    """Return the variables of a run's cause as expressions see them; times are RFC 3339 in UTC.

    `events` lists what started the run, one or many, and `event` is the one that did so alone: null
    for a batch, so that no rule takes its first event for all. `window` is null without a schedule.
    """
    window = trigger.window
    events = [event.document() for event in trigger.events]
    return {
        "event": None if trigger.event is None else events[0],
        "events": events,
        "window": None
        if window is None
        else {
            "start": identifiers.instant(window.start),
            "end": identifiers.instant(window.end),
        },
        "trigger": {
            "kind": str(trigger.kind),
            "names": list(trigger.names),
            "definition_version": trigger.definition_version,
            "scheduled_for": None
            if trigger.scheduled_for is None
            else identifiers.instant(trigger.scheduled_for),
            "coalesced": [identifiers.instant(due) for due in trigger.coalesced],
            "request_id": trigger.request_id,
            "input": trigger.input,
            "actor": trigger.actor,
            "reason": trigger.reason,
        },
    }


TRIGGER_FIELDS = (
    "kind",
    "names",
    "definition_version",
    "scheduled_for",
    "coalesced",
    "request_id",
    "input",
    "actor",
    "reason",
)
"""The fields of `trigger`."""
WINDOW_FIELDS = ("start", "end")
"""The fields of `window`."""


@dataclass(frozen=True)
class _CompiledRule:
    rule: Rule
    when: Expression
    items: Expression | None
    key: Expression | None
    title: Expression | None
    input: Mapping[str, Expression]


class Program:
    """A definition with its expressions compiled: make it once per version, decide many times."""

    def __init__(
        self,
        definition: ActivityDefinition,
        rules: tuple[_CompiledRule, ...],
        parameters: Mapping[str, Mapping[str, Expression]],
    ) -> None:
        self.definition = definition
        self._rules = rules
        self._parameters = parameters

    def context_parameters(self, trigger: Trigger) -> dict[str, dict[str, Any]]:
        """Return the values of each context entry's parameters, by entry and parameter.

        Raises:
            DecisionError: an expression gave an error.
        """
        values = _inputs(trigger_inputs(trigger))
        return {
            entry: {
                name: _evaluate(expression, values, None, f"context.{entry}.parameters.{name}")
                for name, expression in parameters.items()
            }
            for entry, parameters in self._parameters.items()
        }

    def decide(
        self,
        *,
        definition_version: int,
        namespace: str,
        run_id: str,
        trigger: Trigger,
        snapshot: Mapping[str, Any],
    ) -> Decision:
        """Decide a run: the tasks, in the order of rules and items, with the trace of each rule.

        `snapshot` holds the value of each context entry by its name.

        Raises:
            DecisionError: an expression gave an error or a value of the wrong type, a key came
                twice, there are too many tasks, or an entry of the context is missing.
        """
        missing = sorted(self._parameters.keys() - snapshot.keys())
        if missing:
            raise DecisionError(None, "context", f"no value was given for {', '.join(missing)}")
        try:
            snapshot_sha256 = canonical.digest(canonical.render(dict(snapshot)))
        except ValueError as exc:
            raise DecisionError(None, "context", f"the snapshot is not JSON: {exc}") from exc
        values = _inputs({**trigger_inputs(trigger), "context": dict(snapshot)})
        tasks: list[TaskInstance] = []
        traces: list[RuleTrace] = []
        limit = self.definition.spec.limits.max_tasks_per_run
        for compiled in self._rules:
            trace = _apply(compiled, values, namespace, RunId(run_id), tasks, limit=limit)
            traces.append(trace)
        return Decision(
            definition_id=self.definition.metadata.id,
            definition_version=definition_version,
            snapshot_sha256=snapshot_sha256,
            tasks=tasks,
            rules=traces,
        )


def compile_definition(definition: ActivityDefinition) -> Program:
    """Compile the expressions of a definition.

    Raises:
        DecisionError: one does not compile; `checks.problems` tells all that are wrong at once.
    """
    return Program(
        definition,
        tuple(_compile_rule(rule) for rule in definition.spec.rules),
        {
            entry.name: {
                name: _compile(
                    text, TRIGGER_VARIABLES, None, f"context.{entry.name}.parameters.{name}"
                )
                for name, text in parameters(entry).items()
            }
            for entry in definition.spec.context
        },
    )


def decide(
    definition: ActivityDefinition,
    *,
    definition_version: int,
    namespace: str,
    run_id: str,
    trigger: Trigger,
    snapshot: Mapping[str, Any],
) -> Decision:
    """Compile a definition and decide one run: see `Program.decide`, which is for many."""
    return compile_definition(definition).decide(
        definition_version=definition_version,
        namespace=namespace,
        run_id=run_id,
        trigger=trigger,
        snapshot=snapshot,
    )


def parameters(entry: ContextEntry) -> Mapping[str, str]:
    """Return the expressions of a context entry's parameters, by name."""
    source = entry.query or entry.http
    return {} if source is None else source.parameters


def rule_variables(rule: Rule) -> tuple[str, ...]:
    """Return what the task of `rule` may read: the variables of rules and its item.

    A definition from before a variable was added may call its item so; there it is the item.
    """
    if rule.for_each is None:
        return RULE_VARIABLES
    return tuple(dict.fromkeys((*RULE_VARIABLES, rule.for_each.item)))


def _compile_rule(rule: Rule) -> _CompiledRule:
    task, name, variables = rule.task, rule.name, rule_variables(rule)

    def compiled(text: str | None, path: str) -> Expression | None:
        return None if text is None else _compile(text, variables, name, path)

    return _CompiledRule(
        rule=rule,
        when=_compile(rule.when, RULE_VARIABLES, name, "when"),
        items=None
        if rule.for_each is None
        else _compile(rule.for_each.in_, RULE_VARIABLES, name, "forEach.in"),
        key=compiled(task.key, "task.key"),
        title=None if isinstance(task, AutomatedTask) else compiled(task.title, "task.title"),
        input={
            field: _compile(text, variables, name, f"task.input.{field}")
            for field, text in task.input.items()
        },
    )


def _apply(
    compiled: _CompiledRule,
    values: Inputs,
    namespace: str,
    run_id: RunId,
    tasks: list[TaskInstance],
    *,
    limit: int,
) -> RuleTrace:
    """Append the tasks of one rule to `tasks` and return what the rule saw."""
    rule = compiled.rule
    try:
        when = compiled.when.evaluate_bool(values)
    except ExpressionError as exc:
        raise DecisionError(rule.name, "when", str(exc)) from exc
    if not when:
        return RuleTrace(rule=rule.name, when=False)
    count, scopes = _scopes(compiled, values)
    keys: set[str] = set()
    decided = []
    for index, scope in enumerate(scopes):
        at = "" if count is None else f" of item {index}"
        key = _key(compiled, scope, at)
        if key in keys:
            raise DecisionError(rule.name, "task.key" + at, f"the key {key!r} comes a second time")
        keys.add(key)
        if len(tasks) == limit:
            whose = (
                "the most that any definition may"
                if limit == MAX_TASKS_PER_RUN
                else "by this definition's spec.limits.maxTasksPerRun"
            )
            raise DecisionError(rule.name, "task", f"a run decides at most {limit} tasks, {whose}")
        task = _task(
            compiled, scope, key, at, task_id=identifiers.task_id(namespace, run_id, rule.name, key)
        )
        tasks.append(task)
        decided.append(task.task_id)
    return RuleTrace(rule=rule.name, when=True, items=count, tasks=decided)


def _scopes(compiled: _CompiledRule, values: Inputs) -> tuple[int | None, Iterator[Inputs]]:
    rule = compiled.rule
    if compiled.items is None or rule.for_each is None:
        return None, iter((values,))
    items = _evaluate(compiled.items, values, rule.name, "forEach.in")
    if not isinstance(items, list):
        raise DecisionError(rule.name, "forEach.in", f"expected a list, found {kinds.of(items)}")
    name = rule.for_each.item
    return len(items), (Inputs({**values, name: item}) for item in items)


def _key(compiled: _CompiledRule, scope: Inputs, at: str) -> str:
    if compiled.key is None:
        return ""
    rule, path = compiled.rule.name, "task.key" + at
    key = _evaluate(compiled.key, scope, rule, path)
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str):
        raise DecisionError(rule, path, f"expected a text or a whole number, found {kinds.of(key)}")
    if not key:
        raise DecisionError(rule, path, "the key is empty")
    if len(key) > MAX_KEY_LENGTH:
        raise DecisionError(
            rule, path, f"a key has at most {MAX_KEY_LENGTH} characters, this has {len(key)}"
        )
    return key


def _task(
    compiled: _CompiledRule, scope: Inputs, key: str, at: str, *, task_id: TaskId
) -> TaskInstance:
    rule, task = compiled.rule.name, compiled.rule.task
    given = {
        field: _evaluate(expression, scope, rule, f"task.input.{field}{at}")
        for field, expression in compiled.input.items()
    }
    if isinstance(task, AutomatedTask):
        return AutomatedInstance(
            task_id=task_id,
            rule=rule,
            key=key,
            handler=task.handler,
            task_queue=task.task_queue,
            input=given,
            timeout=task.timeout,
            retry=task.retry,
        )
    return HumanInstance(
        task_id=task_id,
        rule=rule,
        key=key,
        title=_title(compiled, scope, at),
        input=given,
        assignees=task.assignees,
        due=task.due,
        form=task.form,
    )


def _title(compiled: _CompiledRule, scope: Inputs, at: str) -> str:
    rule, path = compiled.rule.name, "task.title" + at
    title = None if compiled.title is None else _evaluate(compiled.title, scope, rule, path)
    if not isinstance(title, str):
        raise DecisionError(rule, path, f"expected a text, found {kinds.of(title)}")
    if not title.strip() or len(title) > MAX_TITLE_LENGTH:
        raise DecisionError(rule, path, f"a title has 1 to {MAX_TITLE_LENGTH} characters")
    return title


def _compile(text: str, variables: Collection[str], rule: str | None, path: str) -> Expression:
    try:
        return expressions.compile(text, variables=variables)
    except ExpressionError as exc:
        raise DecisionError(rule, path, str(exc)) from exc


def _evaluate(expression: Expression, values: Inputs, rule: str | None, path: str) -> Any:
    try:
        return expression.evaluate(values)
    except ExpressionError as exc:
        raise DecisionError(rule, path, str(exc)) from exc


def _inputs(values: Mapping[str, Any]) -> Inputs:
    try:
        return expressions.inputs(values)
    except ExpressionError as exc:
        raise DecisionError(None, "inputs", str(exc)) from exc
