"""What a run decides: rules over the event, the trigger and the context snapshot.

Deterministic: the same definition version, run, trigger and snapshot give the same decision, byte
for byte, or the same error. An error in one rule fails the whole decision, since half of a decision
would be a decision that nobody wrote.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts import canonical, identifiers, sensitive
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
    Mode,
    Rule,
)
from contracts.identifiers import RunId, TaskId
from contracts.triggers import Trigger
from rules import evaluation, kinds
from rules.errors import DecisionError
from rules.evaluation import Views
from rules.expressions import Expression

TRIGGER_VARIABLES = ("event", "events", "trigger", "window")
"""What parameters of context entries read: nothing is known yet but the cause."""
RULE_VARIABLES = (*TRIGGER_VARIABLES, "context")
"""What rules read, besides the item of their forEach."""
STATE = "state"
"""What the rules of a stateful definition read as well: the instance's state after the event."""
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

    def context_parameters(
        self, trigger: Trigger, *, revealed: Mapping[str, Any] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the values of each context entry's parameters, by entry and parameter.

        They are asked for, and not kept: they have the values of sensitive fields.

        Raises:
            DecisionError: an expression gave an error.
        """
        values = evaluation.views(trigger_inputs(trigger), revealed).plain
        return {
            entry: {
                name: evaluation.value(
                    expression, values, None, f"context.{entry}.parameters.{name}"
                )
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
        kept: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        revealed: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Decide a run: the tasks, in the order of rules and items, with the trace of each rule.

        `snapshot` holds the value of each context entry by its name. `kept` is what is stored of
        it, where that is not all: the decision names it by its hash. `state` is that of the
        instance after the event, where the definition is stateful (see `rules.instances`).
        `revealed` has the values of sensitive fields that trigger and state refer to, by blob id:
        null for one that is erased. Conditions read them; tasks are given the references.

        Raises:
            DecisionError: an expression gave an error or a value of the wrong type, a key came
                twice, there are too many tasks, or an entry of the context is missing.
        """
        missing = sorted(self._parameters.keys() - snapshot.keys())
        if missing:
            raise DecisionError(None, "context", f"no value was given for {', '.join(missing)}")
        try:
            stored = canonical.render(dict(snapshot if kept is None else kept))
        except ValueError as exc:
            raise DecisionError(None, "context", f"the snapshot is not JSON: {exc}") from exc
        context = {name: snapshot[name] for name in self._parameters}
        known = trigger_inputs(trigger)
        if self.definition.spec.mode is Mode.STATEFUL and state is None:
            raise DecisionError(
                None, "instance", "a stateful definition is decided upon the state of an instance"
            )
        values = evaluation.views(
            known if state is None else {**known, STATE: dict(state)},
            revealed,
            beside={"context": context},
        )
        tasks: list[TaskInstance] = []
        traces: list[RuleTrace] = []
        limit = self.definition.spec.limits.max_tasks_per_run
        for compiled in self._rules:
            trace = _apply(compiled, values, namespace, RunId(run_id), tasks, limit=limit)
            traces.append(trace)
        return Decision(
            definition_id=self.definition.metadata.id,
            definition_version=definition_version,
            snapshot_sha256=canonical.digest(stored),
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
        tuple(
            _compile_rule(rule, stateful=definition.spec.mode is Mode.STATEFUL)
            for rule in definition.spec.rules
        ),
        {
            entry.name: {
                name: evaluation.compiled(
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
    kept: Mapping[str, Any] | None = None,
    revealed: Mapping[str, Any] | None = None,
) -> Decision:
    """Compile a definition and decide one run: see `Program.decide`, which is for many."""
    return compile_definition(definition).decide(
        definition_version=definition_version,
        namespace=namespace,
        run_id=run_id,
        trigger=trigger,
        snapshot=snapshot,
        kept=kept,
        revealed=revealed,
    )


def parameters(entry: ContextEntry) -> Mapping[str, str]:
    """Return the expressions of a context entry's parameters, by name."""
    source = entry.query or entry.http
    return {} if source is None else source.parameters


def rule_variables(rule: Rule, *, stateful: bool) -> tuple[str, ...]:
    """Return what the task of `rule` may read: the variables of rules and its item.

    A definition from before a variable was added may call its item so; there it is the item.
    """
    seen = _seen(stateful=stateful)
    if rule.for_each is None:
        return seen
    return tuple(dict.fromkeys((*seen, rule.for_each.item)))


def _seen(*, stateful: bool) -> tuple[str, ...]:
    return (*RULE_VARIABLES, STATE) if stateful else RULE_VARIABLES


def _compile_rule(rule: Rule, *, stateful: bool) -> _CompiledRule:
    task, name, seen = rule.task, rule.name, _seen(stateful=stateful)
    variables = rule_variables(rule, stateful=stateful)

    def compiled(text: str | None, path: str) -> Expression | None:
        return None if text is None else evaluation.compiled(text, variables, name, path)

    return _CompiledRule(
        rule=rule,
        when=evaluation.compiled(rule.when, seen, name, "when"),
        items=None
        if rule.for_each is None
        else evaluation.compiled(rule.for_each.in_, seen, name, "forEach.in"),
        key=compiled(task.key, "task.key"),
        title=None if isinstance(task, AutomatedTask) else compiled(task.title, "task.title"),
        input={
            field: evaluation.compiled(text, variables, name, f"task.input.{field}")
            for field, text in task.input.items()
        },
    )


def _apply(
    compiled: _CompiledRule,
    values: Views,
    namespace: str,
    run_id: RunId,
    tasks: list[TaskInstance],
    *,
    limit: int,
) -> RuleTrace:
    """Append the tasks of one rule to `tasks` and return what the rule saw."""
    rule = compiled.rule
    if not evaluation.truth(compiled.when, values.plain, rule.name, "when"):
        return RuleTrace(rule=rule.name, when=False)
    count, scopes = _scopes(compiled, values)
    if count is not None and len(tasks) + count > limit:
        raise DecisionError(
            rule.name,
            "forEach.in",
            f"a task for each of {count} items is too much: a run decides at most {limit} tasks, "
            f"{_whose(limit)}; filter or group the items",
        )
    keys: set[str] = set()
    decided = []
    for index, scope in enumerate(scopes):
        at = "" if count is None else f" of item {index}"
        key = _key(compiled, scope, at)
        if key in keys:
            raise DecisionError(rule.name, "task.key" + at, f"the key {key!r} comes a second time")
        keys.add(key)
        if len(tasks) == limit:
            raise DecisionError(
                rule.name, "task", f"a run decides at most {limit} tasks, {_whose(limit)}"
            )
        task = _task(
            compiled, scope, key, at, task_id=identifiers.task_id(namespace, run_id, rule.name, key)
        )
        tasks.append(task)
        decided.append(task.task_id)
    return RuleTrace(rule=rule.name, when=True, items=count, tasks=decided)


def _whose(limit: int) -> str:
    if limit == MAX_TASKS_PER_RUN:
        return "the most that any definition may"
    return "by this definition's spec.limits.maxTasksPerRun"


def _scopes(compiled: _CompiledRule, values: Views) -> tuple[int | None, Iterator[Views]]:
    rule = compiled.rule
    if compiled.items is None or rule.for_each is None:
        return None, iter((values,))
    items, kept = evaluation.written(compiled.items, values, rule.name, "forEach.in")
    if not isinstance(items, list):
        raise DecisionError(rule.name, "forEach.in", f"expected a list, found {kinds.of(items)}")
    if not isinstance(kept, list):
        raise DecisionError(
            rule.name, "forEach.in", "the list is a sensitive field: mark fields of its items"
        )
    name = rule.for_each.item
    return len(items), (values.also(name, *item) for item in zip(items, kept, strict=True))


def _key(compiled: _CompiledRule, scope: Views, at: str) -> str:
    if compiled.key is None:
        return ""
    rule, path = compiled.rule.name, "task.key" + at
    _, key = evaluation.written(compiled.key, scope, rule, path)
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str):
        raise DecisionError(rule, path, f"expected a text or a whole number, found {_found(key)}")
    if not key:
        raise DecisionError(rule, path, "the key is empty")
    if len(key) > MAX_KEY_LENGTH:
        raise DecisionError(
            rule, path, f"a key has at most {MAX_KEY_LENGTH} characters, this has {len(key)}"
        )
    return key


def _task(
    compiled: _CompiledRule, scope: Views, key: str, at: str, *, task_id: TaskId
) -> TaskInstance:
    rule, task = compiled.rule.name, compiled.rule.task
    given = {
        field: evaluation.written(expression, scope, rule, f"task.input.{field}{at}")[1]
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
        reminders=task.reminders,
        escalation=task.escalation,
        expiry=task.expiry,
        form=task.form,
    )


def _title(compiled: _CompiledRule, scope: Views, at: str) -> str:
    rule, path = compiled.rule.name, "task.title" + at
    title = None
    if compiled.title is not None:
        _, title = evaluation.written(compiled.title, scope, rule, path)
    if not isinstance(title, str):
        raise DecisionError(rule, path, f"expected a text, found {_found(title)}")
    if not title.strip() or len(title) > MAX_TITLE_LENGTH:
        raise DecisionError(rule, path, f"a title has 1 to {MAX_TITLE_LENGTH} characters")
    return title


def _found(value: Any) -> str:
    if sensitive.reference(value) is not None:
        return "a sensitive field, which is kept as a reference alone"
    return kinds.of(value)
