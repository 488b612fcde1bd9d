"""Which events wait before they start something, and by which key they keep their order.

A definition that gathers, or that limits its runs, has all its events wait: the ledger hands them
out in their order. One that holds them while it is disabled starts them directly, as long as
nothing of their key waits.
"""

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from contracts import identifiers
from contracts.definitions import ActivityDefinition, Batch, WhileDisabled
from contracts.switches import KillSwitch
from rules import expressions
from rules.errors import ExpressionError
from rules.expressions import Expression, Inputs

MAX_KEY_LENGTH = 256
FOLLOWS = "reset"
"""In place of a switch's id: the event waits behind those that one had wait which is reset."""
_VARIABLES = frozenset({"event"})


class Reason(StrEnum):
    """Why an event waits."""

    HELD = "held"
    BATCHED = "batched"
    LIMITED = "limited"


@dataclass(frozen=True, slots=True)
class FlowControl:
    """How a definition has its events wait. `problem` says why a key could not be compiled."""

    hold: bool = False
    batches: Mapping[str, Batch] = field(default_factory=dict)
    keys: Mapping[str, Expression] = field(default_factory=dict)
    limit_key: Expression | None = None
    max_open_runs: int = 0
    max_runs: int = 0
    max_runs_window: timedelta = timedelta()
    problem: str | None = None

    @property
    def always(self) -> bool:
        """Whether every event waits, however short."""
        return bool(self.batches or self.max_open_runs or self.max_runs)


@dataclass(frozen=True, slots=True)
class Wait:
    """That an event waits: all that the ledger has to know of it.

    `detail` says in a sentence for which kill switch, where `kill_switch_id` names one.
    """

    reason: Reason
    key: str
    task_queue: str
    definition_revision: int
    batch: Batch | None = None
    max_open_runs: int = 0
    max_runs: int = 0
    max_runs_window: timedelta = timedelta()
    kill_switch_id: str = ""
    detail: str = ""


def flow_control(definition: ActivityDefinition) -> FlowControl | None:
    """Return how a definition has its events wait, None for one that never does."""
    spec = definition.spec
    events, limits = definition.events, spec.limits
    if not events:
        return None
    keys: dict[str, Expression] = {}
    limit_key = problem = None
    try:
        for name, event in events.items():
            if event.correlate is not None:
                keys[name] = expressions.compile(event.correlate, variables=_VARIABLES)
        if limits.concurrency is not None and limits.concurrency.key is not None:
            limit_key = expressions.compile(limits.concurrency.key, variables=_VARIABLES)
    except ExpressionError as exc:
        problem = f"its key does not compile: {exc}"
    flow = FlowControl(
        hold=spec.while_disabled is WhileDisabled.HOLD,
        batches={name: event.batch for name, event in events.items() if event.batch is not None},
        keys=keys,
        limit_key=limit_key,
        max_open_runs=0 if limits.concurrency is None else limits.concurrency.max_open_runs,
        max_runs=0 if limits.max_runs is None else limits.max_runs.count,
        max_runs_window=timedelta() if limits.max_runs is None else limits.max_runs.window,
        problem=problem,
    )
    return flow if flow.hold or flow.always else None


def key(
    flow: FlowControl, names: Collection[str], document: Mapping[str, Any], record_key: bytes | None
) -> str:
    """Return the key by which an event keeps its order; empty for none.

    That is what `correlate` of the first matching trigger gives, or else the key by which open runs
    are counted, or else the record's, by which Kafka kept the order so far. Where open runs are
    counted without a key, all are of one, which has no order but that of their coming.

    Raises:
        ExpressionError: the key cannot be evaluated, or is neither a text nor a whole number.
    """
    if flow.problem is not None:
        raise ExpressionError(flow.problem)
    correlate = next((flow.keys[name] for name in names if name in flow.keys), flow.limit_key)
    if correlate is not None:
        return _evaluated(correlate, expressions.inputs({"event": document}))
    if flow.batches or flow.max_open_runs or record_key is None:
        return ""
    return _bounded(record_key.decode("utf-8", errors="backslashreplace").replace("\x00", "\\0"))


def held_key(
    flow: FlowControl, names: Collection[str], document: Mapping[str, Any], record_key: bytes | None
) -> str:
    """Return the key of an event that is held, as `key`; never an error.

    What is wrong with the definition may be mended while it is disabled.
    """
    try:
        return key(flow, names, document, record_key)
    except ExpressionError:
        return _bounded((record_key or b"").decode("utf-8", errors="backslashreplace"))


def replayed(
    flow: FlowControl | None,
    names: Collection[str],
    document: Mapping[str, Any],
    record_key: bytes | None,
    *,
    task_queue: str,
    revision: int,
) -> Wait:
    """Return how an event waits that a replay starts again: by the same key, batch and limits.

    Raises:
        ExpressionError: as `key`.
    """
    flow = flow or FlowControl()
    return Wait(
        reason=Reason.LIMITED,
        key=key(flow, names, document, record_key),
        task_queue=task_queue,
        definition_revision=revision,
        batch=_batch(flow, names),
        max_open_runs=flow.max_open_runs,
        max_runs=flow.max_runs,
        max_runs_window=flow.max_runs_window,
    )


class Places:
    """Says of the events of one poll, in their order, which of them wait.

    `waiting` are the (definition, key) pairs of which something waited when the poll before it was
    recorded. An event of the poll that waits has the later ones of its key wait too.
    """

    def __init__(self, waiting: Set[tuple[str, str]]) -> None:
        self._waiting = set(waiting)

    def place(
        self,
        flow: FlowControl,
        definition_id: str,
        key: str,
        *,
        names: Collection[str],
        disabled: bool,
        task_queue: str,
        revision: int,
        switch: KillSwitch | None = None,
        follows: bool = False,
    ) -> Wait | None:
        """Return how an event waits for a definition; None when it starts it now.

        A kill `switch` has it wait; one that `follows` waits behind what an earlier switch had
        wait, where something of its key does.
        """
        batch = _batch(flow, names)
        if disabled:
            reason = Reason.HELD
        elif batch is not None:
            reason = Reason.BATCHED
        elif flow.always or switch is not None or (definition_id, key) in self._waiting:
            reason = Reason.LIMITED
        else:
            return None
        if key:
            self._waiting.add((definition_id, key))
        return Wait(
            reason=reason,
            key=key,
            task_queue=task_queue,
            definition_revision=revision,
            batch=batch,
            max_open_runs=flow.max_open_runs,
            max_runs=flow.max_runs,
            max_runs_window=flow.max_runs_window,
            # What would wait anyway does so for its own reason, and is started in its own order.
            kill_switch_id=_halted(switch, follows=follows) if reason is Reason.LIMITED else "",
            detail="" if switch is None or disabled else switch.told,
        )


def asks(flow: FlowControl, key: str, *, disabled: bool, follows: bool = False) -> bool:
    """Say whether it has to be known, before an event is placed, if something of its key waits."""
    return bool(key) and (flow.hold or follows) and not flow.always and not disabled


def _halted(switch: KillSwitch | None, *, follows: bool) -> str:
    """Return the switch that an event waits for; what follows waits for one that is reset."""
    if switch is not None:
        return switch.switch_id
    return FOLLOWS if follows else ""


def _batch(flow: FlowControl, names: Collection[str]) -> Batch | None:
    """Return by which batch an event is gathered: that of its first trigger, if all gather.

    What is held is looked at before its triggers are known, and is gathered if all of them do so.
    """
    looked_at = names or flow.batches
    if not flow.batches or any(name not in flow.batches for name in looked_at):
        return None
    return flow.batches[next(iter(looked_at))]


def _evaluated(expression: Expression, inputs: Inputs) -> str:
    value = expression.evaluate(inputs)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ExpressionError("the key is neither a text nor a whole number")
    return _bounded(str(value).replace("\x00", "\ufffd"))


def _bounded(value: str) -> str:
    # What is too long for an index keeps its order all the same.
    return value if len(value) <= MAX_KEY_LENGTH else identifiers.short_hash(value)
