"""Checks of what a stateful definition remembers, and that nothing else starts it but events."""

from collections.abc import Iterator

from contracts.definitions import ActivityDefinition, Instance, Mode
from rules import decisions, expressions
from rules.environment import Environment
from rules.expression_checks import TRUTH, ExpressionChecks


def check(
    definition: ActivityDefinition, environment: Environment, checks: ExpressionChecks
) -> None:
    """Note what is wrong with `spec.instance`, and with what a stateful definition cannot have."""
    spec = definition.spec
    if spec.mode is not Mode.STATEFUL:
        if spec.instance is not None:
            checks.note(
                "spec.instance", "only a stateful definition has one; write mode: stateful as well"
            )
        return
    if spec.instance is None:
        checks.note(
            "spec.instance",
            "mode: stateful needs instance, which says what is remembered and when it ends",
        )
    else:
        _instance(definition, spec.instance, environment, checks)
    _surroundings(definition, checks)


def _instance(
    definition: ActivityDefinition,
    instance: Instance,
    environment: Environment,
    checks: ExpressionChecks,
) -> None:
    initial = {**environment.causes, "context": environment.rules["context"]}
    for name, text in instance.initial.items():
        checks.check(text, f"spec.instance.initial.{name}", initial)
    for name, text in instance.update.items():
        path = f"spec.instance.update.{name}"
        checks.check(text, path, environment.rules)
        if name not in instance.initial:
            known = expressions.did_you_mean(name, list(instance.initial), "field of the state")
            checks.note(path, f"{known}; give it a value in initial")
    if instance.end_when is not None:
        checks.check(instance.end_when, "spec.instance.endWhen", environment.rules, wanted=TRUTH)
    if instance.timers:
        _timers(definition, instance, environment, checks)


def _timers(
    definition: ActivityDefinition,
    instance: Instance,
    environment: Environment,
    checks: ExpressionChecks,
) -> None:
    known = {trigger.name for trigger in definition.spec.triggers}
    state = {decisions.STATE: environment.rules[decisions.STATE]}
    for i, timer in enumerate(instance.timers):
        path = f"spec.instance.timers[{i}]"
        if timer.name in known:
            checks.note(
                f"{path}.name",
                f"{timer.name!r} is the name of a trigger or another timer; trigger.names holds "
                "both, so give it a name of its own",
            )
        known.add(timer.name)
        if timer.when is not None:
            checks.check(timer.when, f"{path}.when", state, wanted=TRUTH)
    # A timer has no event: what each of these reads of one without asking would fail every time.
    for path, text in _always_evaluated(definition, instance):
        if checks.fails_without_event(text, environment.rules):
            checks.note(
                path,
                f"the timer {instance.timers[0].name!r} fires without an event, and then event is "
                "null; ask before it is read: event != null && …, or event == null ? … : …",
            )


def _always_evaluated(
    definition: ActivityDefinition, instance: Instance
) -> Iterator[tuple[str, str]]:
    """Yield the expressions that each application evaluates, with their paths."""
    spec = definition.spec
    for name, text in instance.update.items():
        yield f"spec.instance.update.{name}", text
    if instance.end_when is not None:
        yield "spec.instance.endWhen", instance.end_when
    for i, rule in enumerate(spec.rules):
        yield f"spec.rules[{i}].when", rule.when
    for i, entry in enumerate(spec.context):
        query = entry.query or entry.http
        for name, text in ({} if query is None else query.parameters).items():
            yield f"spec.context[{i}].parameters.{name}", text


def _surroundings(definition: ActivityDefinition, checks: ExpressionChecks) -> None:
    spec = definition.spec
    if not definition.events:
        checks.note("spec.triggers", "mode: stateful needs a trigger that listens to events")
    for i, trigger in enumerate(spec.triggers):
        path = f"spec.triggers[{i}]"
        if trigger.event is None:
            kind = "schedule" if trigger.schedule is not None else "manual"
            checks.note(
                f"{path}.{kind}",
                "a stateful definition takes events only, which say whose instance they are; "
                "write this into a definition of its own",
            )
        elif trigger.event.batch is not None:
            checks.note(
                f"{path}.event.batch",
                "an instance takes its events one by one; leave batch out",
            )
    for name, limit in (
        ("maxRuns", spec.limits.max_runs),
        ("concurrency", spec.limits.concurrency),
    ):
        if limit is not None:
            checks.note(
                f"spec.limits.{name}",
                f"an instance takes its events in turn, whatever their number; leave {name} out",
            )
