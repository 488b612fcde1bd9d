"""Checks of what a definition decides: rules, their tasks, and the handlers that take them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from contracts import builtins
from contracts.catalogue import Catalogue, Handler
from contracts.definitions import ActivityDefinition, AutomatedTask, HumanTask, Reminder, Rule
from rules import expressions, operators, shapes
from rules.environment import Environment
from rules.expression_checks import KEY, LIST, TITLE, TRUTH, ExpressionChecks, as_json
from rules.jsonschemas import Checker
from rules.shapes import ANYTHING, Kind, Shape


class RuleChecks:
    """Checks the rules of one definition."""

    def __init__(
        self,
        definition: ActivityDefinition,
        environment: Environment,
        checks: ExpressionChecks,
        schemas: Checker,
        *,
        catalogue: Catalogue | None,
    ) -> None:
        self._spec = definition.spec
        self._environment = environment
        self._checks = checks
        self._schemas = schemas
        self._catalogue = catalogue

    def check(self) -> None:
        """Note what is wrong with the rules, and with who is told of failures."""
        failure = self._spec.on_failure
        if failure is not None:
            handler = self._handler(failure.handler, "spec.onFailure")
            if handler is not None and handler.built_in is not None:
                self._checks.note(
                    "spec.onFailure.handler",
                    f"{failure.handler} is a built-in handler, which takes no notice of a failure; "
                    "name one of your own",
                )
            if handler is not None and failure.task_queue is not None:
                self._queue(failure.handler, failure.task_queue, handler, "spec.onFailure")
            if failure.task_queue is None and self._catalogue and self._catalogue.handlers is None:
                self._checks.note(
                    "spec.onFailure",
                    "the catalogue does not say on which queue this handler is served; "
                    "write its taskQueue",
                )
        for i, rule in enumerate(self._spec.rules):
            self._rule(rule, f"spec.rules[{i}]")

    def _rule(self, rule: Rule, path: str) -> None:
        seen = self._environment.rules
        self._checks.check(rule.when, f"{path}.when", seen, wanted=TRUTH, unguarded=True)
        scope = seen
        if rule.for_each is not None:
            if rule.for_each.item in seen:
                self._checks.note(
                    f"{path}.forEach.item",
                    f"{rule.for_each.item!r} is a variable already; give the item another name",
                )
            items = self._checks.check(rule.for_each.in_, f"{path}.forEach.in", seen, wanted=LIST)
            scope = {**seen, rule.for_each.item: shapes.element(items)}
        task = rule.task
        if isinstance(task, HumanTask):
            self._checks.check(task.title, f"{path}.task.title", scope, wanted=TITLE)
        if task.key is not None:
            self._checks.check(task.key, f"{path}.task.key", scope, wanted=KEY)
        given = {
            name: self._checks.check(text, f"{path}.task.input.{name}", scope)
            for name, text in task.input.items()
        }
        if isinstance(task, AutomatedTask):
            self._automated(task, given, f"{path}.task")
        else:
            self._human(task, f"{path}.task")

    def _human(self, task: HumanTask, path: str) -> None:
        if task.form is not None:
            self._checks.problems += self._schemas.problems(
                task.form, path=f"{path}.form", root_object=True
            )
        if task.expiry is not None and task.due is not None and task.expiry <= task.due:
            self._checks.note(
                f"{path}.expiry", "the task expires before it is late; make it longer than due"
            )
        if (
            task.expiry is not None
            and task.escalation is not None
            and task.expiry <= task.escalation.after
        ):
            self._checks.note(
                f"{path}.escalation.after",
                "the task has expired by then; make it shorter than expiry",
            )
        if task.reminders is not None:
            self._reminders(task, task.reminders, f"{path}.reminders")

    def _reminders(self, task: HumanTask, reminders: Sequence[Reminder], path: str) -> None:
        if task.due is None:
            self._checks.note(path, "reminders are counted from when the task is due; write due")
            return
        seen: set[timedelta] = set()
        for i, reminder in enumerate(reminders):
            at = task.due + reminder.from_due
            side = "beforeDue" if reminder.before_due is not None else "afterDue"
            where = f"{path}[{i}].{side}"
            if at <= timedelta():
                self._checks.note(
                    where, "the task does not exist yet by then; make it shorter than due"
                )
            if task.expiry is not None and at >= task.expiry:
                self._checks.note(
                    where, "the task has expired by then; make expiry longer than due and this"
                )
            if at in seen:
                self._checks.note(where, "there is a reminder at this time already; leave one out")
            seen.add(at)

    def _automated(self, task: AutomatedTask, given: Mapping[str, Shape], path: str) -> None:
        if task.task_queue == self._spec.task_queue:
            self._checks.note(
                f"{path}.taskQueue",
                f"{task.task_queue!r} is the queue that the definition's runs are served on, which "
                "no handler listens to; write the queue of the handler's worker",
            )
        handler = self._handler(task.handler, path)
        if handler is None:
            return
        if task.task_queue != self._spec.task_queue:
            self._queue(task.handler, task.task_queue, handler, path)
        wanted = builtins.input_schema(self._catalogue, handler) if self._catalogue else None
        if wanted is not None:
            self._input(task.handler, shapes.of_schema(wanted), given, f"{path}.input")

    def _handler(self, name: str, path: str) -> Handler | None:
        if self._catalogue is None or self._catalogue.handlers is None:
            return None
        handler = self._catalogue.handlers.get(name)
        if handler is None:
            known = list(self._catalogue.handlers)
            self._checks.note(f"{path}.handler", expressions.did_you_mean(name, known, "handler"))
        return handler

    def _queue(self, name: str, queue: str, handler: Handler, path: str) -> None:
        if queue != handler.task_queue:
            self._checks.note(
                f"{path}.taskQueue",
                f"{name} is served on {handler.task_queue!r}, not on {queue!r}; "
                f"write taskQueue: {handler.task_queue}",
            )

    def _input(self, handler: str, wanted: Shape, given: Mapping[str, Shape], path: str) -> None:
        if not wanted.objects:
            return
        for name, shape in given.items():
            problem = self._checks.field(name, wanted, handler)
            if problem is not None:
                self._checks.note(f"{path}.{name}", problem.replace(" field of ", " input of ", 1))
                continue
            taken = shapes.join(
                form.fields[name]() if name in form.fields else ANYTHING
                for form in wanted.objects
                if name in form.fields or form.openness is not shapes.Openness.CLOSED
            )
            self._fits(as_json(shape), taken, handler, f"{path}.{name}")
        required = frozenset[str].intersection(*(form.required for form in wanted.objects))
        for name in sorted(required - given.keys()):
            self._checks.note(path, f"{handler} needs the input {name!r}; give it an expression")

    def _fits(self, shape: Shape, taken: Shape, handler: str, path: str) -> None:
        if not taken.kinds or not shape.kinds:
            return
        # A number with decimals may well be whole.
        more = shapes.NUMBERS if taken.kinds & shapes.NUMBERS else frozenset()
        if shape.kinds.isdisjoint(taken.kinds | more):
            self._checks.note(path, f"{handler} takes {taken}, but this gives {shape}")
        elif shape.kinds == {Kind.TEXT} and operators.never_equal(taken, shape):
            texts = operators.as_told(taken, shape), operators.as_told(shape, taken)
            self._checks.note(path, f"{handler} takes {texts[0]}, but this gives {texts[1]}")
