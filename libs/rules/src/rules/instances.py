"""How the state document of an instance begins, changes and ends: expressions over the event.

`update` reads `state` as it was before the event. Rules and `endWhen` read it as it is after, so
that a rule on the third event says `state.count == 3`. Deterministic, as decisions are: the same
definition version, trigger, snapshot and state give the same state.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from contracts import canonical
from contracts.decisions import Decision, StateChange
from contracts.definitions import ActivityDefinition, Mode
from contracts.runs import MAX_STATE_BYTES
from contracts.triggers import Trigger
from rules import decisions, evaluation
from rules.decisions import Program
from rules.errors import DecisionError
from rules.evaluation import Views
from rules.expressions import Expression

INITIAL_VARIABLES = decisions.RULE_VARIABLES
"""What `initial` reads."""
STATE_VARIABLES = (*decisions.RULE_VARIABLES, decisions.STATE)
"""What `update`, `endWhen` and the rules of a stateful definition read."""


TIMER_VARIABLES = (decisions.STATE,)
"""What `when` of a timer reads."""


class SetTimer(NamedTuple):
    """A timer whose condition holds: it fires so long after the last event."""

    name: str
    after: timedelta


@dataclass(frozen=True)
class Step:
    """What an event or a timer does to an instance: its state before and after, canonical JSON.

    `timers` are those that are set then, or stay set.
    """

    before: bytes
    after: bytes
    state: Mapping[str, Any]
    ended: bool
    timers: tuple[SetTimer, ...] = ()

    @property
    def change(self) -> StateChange:
        """What the decision keeps of it."""
        return StateChange(
            before_sha256=canonical.digest(self.before),
            after_sha256=canonical.digest(self.after),
            ended=self.ended,
        )


class InstanceProgram:
    """The expressions of a stateful definition's `instance`, compiled."""

    def __init__(self, definition: ActivityDefinition) -> None:
        """Compile them.

        Raises:
            DecisionError: one does not compile, or the definition is not stateful.
        """
        instance = definition.spec.instance
        if definition.spec.mode is not Mode.STATEFUL or instance is None:
            raise DecisionError(None, "instance", "this version of the definition is not stateful")
        self.definition = instance
        self._initial = {
            name: evaluation.compiled(text, INITIAL_VARIABLES, None, f"instance.initial.{name}")
            for name, text in instance.initial.items()
        }
        self._update = {
            name: evaluation.compiled(text, STATE_VARIABLES, None, f"instance.update.{name}")
            for name, text in instance.update.items()
        }
        self._end_when = (
            None
            if instance.end_when is None
            else evaluation.compiled(instance.end_when, STATE_VARIABLES, None, "instance.endWhen")
        )
        self._timers = [
            (
                SetTimer(timer.name, timer.after),
                None
                if timer.when is None
                else evaluation.compiled(
                    timer.when, TIMER_VARIABLES, None, f"instance.timers.{timer.name}.when"
                ),
            )
            for timer in instance.timers
        ]

    def initial(
        self,
        trigger: Trigger,
        *,
        snapshot: Mapping[str, Any],
        revealed: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the state of an instance that begins with an event, as it is kept.

        Raises:
            DecisionError: an expression gave an error.
        """
        known = evaluation.views(
            decisions.trigger_inputs(trigger), revealed, beside={"context": dict(snapshot)}
        )
        return _evaluated(self._initial, known, "initial")

    def advance(
        self,
        trigger: Trigger,
        *,
        snapshot: Mapping[str, Any],
        state: Mapping[str, Any] | None,
        revealed: Mapping[str, Any] | None = None,
    ) -> Step:
        """Return what an event or a timer does to a state; None is that of an instance that begins.

        `revealed` is that of `Program.decide`; the state refers to what is sensitive as well.

        Raises:
            DecisionError: an expression gave an error, or the state is too large or not JSON.
        """
        known, beside = decisions.trigger_inputs(trigger), {"context": dict(snapshot)}
        if state is None:
            state = self.initial(trigger, snapshot=snapshot, revealed=revealed)
        before = evaluation.views({**known, decisions.STATE: dict(state)}, revealed, beside=beside)
        after = {**state, **_evaluated(self._update, before, "update")}
        ended = False
        if self._end_when is not None:
            values = evaluation.views({**known, decisions.STATE: after}, revealed, beside=beside)
            ended = evaluation.truth(self._end_when, values.plain, None, "instance.endWhen")
        return Step(
            before=_rendered(state),
            after=_rendered(after),
            state=after,
            ended=ended,
            timers=() if ended else self._set(after, revealed),
        )

    def _set(
        self, state: Mapping[str, Any], revealed: Mapping[str, Any] | None
    ) -> tuple[SetTimer, ...]:
        if not self._timers:
            return ()
        inputs = evaluation.views({decisions.STATE: dict(state)}, revealed).plain
        return tuple(
            timer
            for timer, when in self._timers
            if when is None
            or evaluation.truth(when, inputs, None, f"instance.timers.{timer.name}.when")
        )

    def decide(
        self,
        program: Program,
        *,
        definition_version: int,
        namespace: str,
        run_id: str,
        trigger: Trigger,
        snapshot: Mapping[str, Any],
        kept: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None,
        revealed: Mapping[str, Any] | None = None,
    ) -> tuple[Decision, Step]:
        """Advance the state, then decide upon it: as `advance` and `Program.decide`.

        Raises:
            DecisionError: as they do.
        """
        step = self.advance(trigger, snapshot=snapshot, state=state, revealed=revealed)
        decision = program.decide(
            definition_version=definition_version,
            namespace=namespace,
            run_id=run_id,
            trigger=trigger,
            snapshot=snapshot,
            kept=kept,
            state=step.state,
            revealed=revealed,
        )
        return decision.model_copy(update={"state": step.change}), step


def _evaluated(fields: Mapping[str, Expression], values: Views, section: str) -> dict[str, Any]:
    return {
        name: evaluation.written(expression, values, None, f"instance.{section}.{name}")[1]
        for name, expression in fields.items()
    }


def _rendered(state: Mapping[str, Any]) -> bytes:
    try:
        body = canonical.render(dict(state))
    except ValueError as exc:
        raise DecisionError(None, "instance", f"the state is not JSON: {exc}") from exc
    if len(body) > MAX_STATE_BYTES:
        raise DecisionError(
            None,
            "instance",
            f"the state has {len(body)} bytes, more than {MAX_STATE_BYTES}; "
            "keep less of each event",
        )
    return body
