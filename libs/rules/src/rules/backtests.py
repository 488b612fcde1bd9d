"""What another version of a definition would have decided of a run that is on record.

Pure: the same record and the same versions give the same verdict. What cannot be known from the
record is never guessed; the run is then not comparable, with the reason.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, Self

from pydantic import ValidationError

from contracts import canonical, sensitive
from contracts.decisions import Decision, TaskInstance
from contracts.definitions import ActivityDefinition, ContextEntry, Mode
from contracts.sensitive import Reference
from contracts.shadows import ShadowOutcome
from contracts.triggers import Trigger, TriggerKind
from rules import comparisons, correlations, decisions
from rules.comparisons import TaskDifference
from rules.correlations import Correlation
from rules.decisions import Program
from rules.errors import (
    DecisionError,
    ExpressionError,
    GatheredOtherwiseError,
    NotTriggeredError,
)
from rules.instances import InstanceProgram, Step
from rules.triggers import Triggers


class Verdict(StrEnum):
    """How what a version would have decided stands to what was decided."""

    SAME = "same"
    DIFFERENT = "different"
    NOT_COMPARABLE = "not_comparable"


class Again(StrEnum):
    """What deciding a run again under its own version gives.

    The recorded decision byte for byte; the same tasks with another trace, as another release may
    write it; or something else, which must not be.
    """

    SAME_HASH = "same_hash"
    SAME_TASKS = "same_tasks"
    OTHERWISE = "otherwise"


class Named(Protocol):
    """What a run is called."""

    @property
    def namespace(self) -> str:
        """Of which it is."""

    @property
    def run_id(self) -> str:
        """Its id."""


class Record(Protocol):
    """A run as the ledger answers with it: JSON documents, empty for what is not there."""

    @property
    def run(self) -> Named:
        """Which run it is."""

    @property
    def trigger(self) -> bytes:
        """What started it."""

    @property
    def snapshot(self) -> bytes:
        """What it looked at."""

    @property
    def decision(self) -> bytes:
        """What it decided."""

    @property
    def state_before(self) -> bytes:
        """Of an instance, before the event that was applied."""


@dataclass(frozen=True)
class PastRun:
    """A run as it is on record: canonical JSON documents, None for what is not there.

    A run that failed to decide has neither snapshot nor decision. `state` is that of an instance
    before the event that was applied to it. `revealed` has values of the sensitive fields that
    trigger and state refer to, by blob id: those that whoever asks was shown.
    """

    namespace: str
    run_id: str
    trigger: bytes | None
    snapshot: bytes | None
    decision: bytes | None
    state: bytes | None = None
    revealed: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return the run that the ledger answered with."""
        return cls(
            namespace=record.run.namespace,
            run_id=record.run.run_id,
            trigger=record.trigger or None,
            snapshot=record.snapshot or None,
            decision=record.decision or None,
            state=record.state_before or None,
        )

    def references(self) -> frozenset[Reference]:
        """Return what it refers to that is sensitive, and that deciding it again has to know."""
        found: frozenset[Reference] = frozenset()
        for body in (self.trigger, self.state):
            if body and sensitive.MARK.encode() in body:
                found |= sensitive.references(json.loads(body))
        return found


@dataclass(frozen=True)
class Judged:
    """The verdict on one run; `reason` is a sentence where tasks do not tell it all."""

    verdict: Verdict
    reason: str = ""
    differences: tuple[TaskDifference, ...] = ()
    again: Again | None = None


@dataclass(frozen=True)
class Version:
    """A version of a definition, compiled: make it once, and judge many runs by it.

    `instance` and `correlation` are there where the definition is stateful.
    """

    number: int
    program: Program
    triggers: Triggers
    instance: InstanceProgram | None
    correlation: Correlation | None

    @classmethod
    def of(cls, definition: ActivityDefinition, number: int) -> Self:
        """Compile a definition. Raises DecisionError when it does not compile."""
        stateful = definition.spec.mode is Mode.STATEFUL
        return cls(
            number,
            decisions.compile_definition(definition),
            Triggers(definition),
            InstanceProgram(definition) if stateful else None,
            correlations.correlation(definition),
        )

    @property
    def definition(self) -> ActivityDefinition:
        """The definition itself."""
        return self.program.definition

    def decide(
        self,
        *,
        namespace: str,
        run_id: str,
        trigger: Trigger,
        snapshot: Mapping[str, Any],
        kept: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        revealed: Mapping[str, Any] | None = None,
    ) -> tuple[Decision, Step | None]:
        """Decide a run under this version, as `Program.decide` and `InstanceProgram.decide`.

        `state` is that of the instance before the event, None for one that begins with it;
        `revealed` is that of `Program.decide`.

        Raises:
            DecisionError: as they do.
        """
        if self.instance is not None:
            return self.instance.decide(
                self.program,
                definition_version=self.number,
                namespace=namespace,
                run_id=run_id,
                trigger=trigger,
                snapshot=snapshot,
                kept=kept,
                state=state,
                revealed=revealed,
            )
        decision = self.program.decide(
            definition_version=self.number,
            namespace=namespace,
            run_id=run_id,
            trigger=trigger,
            snapshot=snapshot,
            kept=kept,
            revealed=revealed,
        )
        return decision, None


@dataclass(frozen=True)
class Lookup:
    """An entry that a version looks at, with its parameters.

    `recorded` says that a run of another version has looked up just that, `known` that it has an
    entry of that name.
    """

    entry: ContextEntry
    parameters: Mapping[str, Any]
    recorded: bool
    known: bool


def lookups(
    own: Program,
    trigger: Trigger,
    *,
    other: Program,
    again: Trigger,
    revealed: Mapping[str, Any] | None = None,
) -> list[Lookup]:
    """Return what `other` looks at when it is triggered by `again`, where `own` was by `trigger`.

    Raises:
        DecisionError: a parameter of `other` cannot be evaluated.
    """
    known = {entry.name: entry for entry in own.definition.spec.context}
    asked = own.context_parameters(trigger, revealed=revealed)
    asks = other.context_parameters(again, revealed=revealed)
    found = []
    for entry in other.definition.spec.context:
        name, before = entry.name, known.get(entry.name)
        same = (
            before is not None and _source(before) == _source(entry) and asked[name] == asks[name]
        )
        found.append(Lookup(entry, asks[name], recorded=same, known=before is not None))
    return found


class _NotComparableError(Exception):
    """The record does not tell; the message is the reason."""


def judge(run: PastRun, *, own: Version, other: Version) -> Judged:
    """Say what `other` would have decided of a run that its `own` version decided."""
    again = None
    try:
        _refuse_unknown(run)
        recorded = _recorded(run)
        snapshot = _snapshot(run, recorded, own, other)
        case = _Case(run, _trigger(run), recorded, snapshot, _state(run, recorded, own), own, other)
        again = case.again()
        if again is Again.OTHERWISE:
            raise _NotComparableError(
                f"decided again, version {own.number} does not give what was recorded"
            )
        return case.compared(again)
    except _NotComparableError as exc:
        return Judged(Verdict.NOT_COMPARABLE, str(exc), again=again)


@dataclass(frozen=True)
class _Case:
    """A run whose record was read, between two versions; `recorded` is None if it failed."""

    run: PastRun
    trigger: Trigger
    recorded: Decision | None
    snapshot: Mapping[str, Any]
    state: Mapping[str, Any] | None
    own: Version
    other: Version

    def again(self) -> Again:
        """Decide the run again under its own version."""
        try:
            decided = self._decide(self.own, self.trigger, self.snapshot)
        except DecisionError:
            return Again.SAME_HASH if self.recorded is None else Again.OTHERWISE
        if self.recorded is None:
            raise _NotComparableError("it failed for something else than its rules")
        if canonical.render(decided) == self.run.decision:
            return Again.SAME_HASH
        same = not comparisons.compare(self.recorded.tasks, decided.tasks)
        return Again.SAME_TASKS if same else Again.OTHERWISE

    def compared(self, again: Again) -> Judged:
        """Decide the run under the other version, as that one would have been started."""
        number, failed = self.other.number, self.recorded is None
        self._refuse_other_mode()
        if self.trigger.kind is TriggerKind.TIMER:
            # Whether and when the other version would have set it is not on record.
            raise _NotComparableError("a timer of its own version fired it")
        try:
            trigger = self.other.triggers.again(
                self.trigger,
                before=self.own.definition,
                definition_version=number,
                revealed=self.run.revealed,
            )
        except GatheredOtherwiseError as exc:
            raise _NotComparableError(f"version {number} is not started by it: {exc}") from exc
        except NotTriggeredError as exc:
            reason = f"version {number} would not have been started: {exc}"
            return self._judged([], reason, again, changed=failed)
        self._refuse_other_instance(trigger)
        try:
            decided = self._decide(self.other, trigger, self._seen(trigger))
        except DecisionError as exc:
            return self._judged([], f"version {number} fails: {exc}", again, changed=not failed)
        reason = f"version {number} decides, where it failed" if failed else ""
        if self.recorded is not None and decided.state != self.recorded.state:
            reason = f"version {number} leaves another state behind, or ends the instance otherwise"
        return self._judged(decided.tasks, reason, again, changed=bool(reason))

    def _decide(self, version: Version, trigger: Trigger, snapshot: Mapping[str, Any]) -> Decision:
        decision, _ = version.decide(
            namespace=self.run.namespace,
            run_id=self.run.run_id,
            trigger=trigger,
            snapshot=snapshot,
            state=self.state,
            revealed=self.run.revealed,
        )
        return decision

    def _refuse_other_mode(self) -> None:
        number, other = self.other.number, self.other.instance
        if (self.own.instance is None) != (other is None):
            is_not = "not " if other is None else ""
            raise _NotComparableError(f"version {number} is {is_not}stateful")

    def _refuse_other_instance(self, trigger: Trigger) -> None:
        """Raise when the event is not known to be of the same instance in the other version."""
        own, other, number = self.own.instance, self.other.instance, self.other.number
        if own is None or other is None:
            return
        if _key(self.own, self.trigger) != _key(self.other, trigger):
            raise _NotComparableError(f"version {number} gives the event to another instance")
        if own.definition.initial == other.definition.initial:
            return
        try:
            begun = own.initial(self.trigger, snapshot=self.snapshot, revealed=self.run.revealed)
            may_begin = begun == self.state
        except DecisionError:
            # So it did not begin with this event.
            return
        if may_begin:
            raise _NotComparableError(
                f"version {number} begins instances otherwise, and this one may have begun with it"
            )

    def _judged(
        self, tasks: list[TaskInstance], reason: str, again: Again, *, changed: bool
    ) -> Judged:
        before = [] if self.recorded is None else self.recorded.tasks
        return _verdict(before, tasks, reason, again, changed=changed)

    def _seen(self, trigger: Trigger) -> dict[str, Any]:
        """Return what the other version looks at, as far as the run has looked at just that."""
        asked = lookups(
            self.own.program,
            self.trigger,
            other=self.other.program,
            again=trigger,
            revealed=self.run.revealed,
        )
        for lookup in asked:
            name = f"context.{lookup.entry.name}"
            if not lookup.recorded and lookup.known:
                raise _NotComparableError(f"version {self.other.number} looks up {name} otherwise")
            if not lookup.recorded:
                raise _NotComparableError(
                    f"its snapshot lacks {name}, at which version {self.other.number} looks"
                )
        return {lookup.entry.name: self.snapshot[lookup.entry.name] for lookup in asked}


def judge_shadow(run: PastRun, *, outcome: ShadowOutcome, reason: str, decision: bytes) -> Judged:
    """Say how what a shadow made of a run stands to what was decided."""
    try:
        recorded = _recorded(run)
        if recorded is None:
            raise _NotComparableError("its decision is gone")
        if outcome is ShadowOutcome.NOT_COMPARABLE:
            raise _NotComparableError(reason)
        if outcome is ShadowOutcome.DECIDED:
            tasks = Decision.model_validate_json(decision).tasks
            return _verdict(recorded.tasks, tasks, "", None, changed=False)
    except ValidationError as exc:
        return Judged(
            Verdict.NOT_COMPARABLE, f"the shadow's decision cannot be read: {_first(exc)}"
        )
    except _NotComparableError as exc:
        return Judged(Verdict.NOT_COMPARABLE, str(exc))
    failed = outcome is ShadowOutcome.FAILED
    told = "the shadow fails" if failed else "the shadow would not have been started"
    return _verdict(recorded.tasks, [], f"{told}: {reason}", None, changed=failed)


def _verdict(
    before: list[TaskInstance],
    after: list[TaskInstance],
    reason: str,
    again: Again | None,
    *,
    changed: bool,
) -> Judged:
    differences = comparisons.compare(before, after)
    verdict = Verdict.DIFFERENT if differences or changed else Verdict.SAME
    return Judged(verdict, reason, differences, again)


def _refuse_unknown(run: PastRun) -> None:
    """Raise for a run that was decided upon what nobody can, or may, read now."""
    unknown = {one.blob_id for one in run.references()} - run.revealed.keys()
    if unknown:
        raise _NotComparableError(
            f"it was decided upon {len(unknown)} sensitive values that are erased, or that were "
            "not asked for"
        )


def _trigger(run: PastRun) -> Trigger:
    if not run.trigger:
        raise _NotComparableError("its trigger is gone")
    try:
        return Trigger.model_validate_json(run.trigger)
    except ValidationError as exc:
        raise _NotComparableError(f"its trigger cannot be read: {_first(exc)}") from exc


def _state(run: PastRun, recorded: Decision | None, own: Version) -> dict[str, Any] | None:
    if own.instance is None:
        return None
    if recorded is None:
        raise _NotComparableError("it failed, and the state of its instance is not on record")
    if not run.state:
        raise _NotComparableError("the state of its instance is gone")
    state: dict[str, Any] = json.loads(run.state)
    return state


def _key(version: Version, trigger: Trigger) -> str:
    if version.correlation is None or trigger.event is None:
        raise _NotComparableError(f"version {version.number} gives no event to instances")
    try:
        return correlations.key(version.correlation, trigger.names, trigger.event.document())
    except ExpressionError as exc:
        raise _NotComparableError(
            f"version {version.number} does not say whose instance it is: {exc}"
        ) from exc


def _recorded(run: PastRun) -> Decision | None:
    if not run.decision:
        return None
    try:
        return Decision.model_validate_json(run.decision)
    except ValidationError as exc:
        raise _NotComparableError(f"its decision cannot be read: {_first(exc)}") from exc


def _first(exc: ValidationError) -> str:
    error = exc.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def _snapshot(
    run: PastRun, recorded: Decision | None, own: Version, other: Version
) -> dict[str, Any]:
    if recorded is None:
        if own.definition.spec.context or other.definition.spec.context:
            raise _NotComparableError("it failed before it decided, and has no snapshot")
        return {}
    if not run.snapshot:
        raise _NotComparableError("its snapshot is gone")
    if canonical.digest(run.snapshot) != recorded.snapshot_sha256:
        raise _NotComparableError(
            "its snapshot is not the one that was decided on: it was redacted"
        )
    snapshot: dict[str, Any] = json.loads(run.snapshot)
    return snapshot


def _source(entry: ContextEntry) -> dict[str, Any]:
    """Return where an entry is looked up; how its parameters are spelled makes no difference."""
    source = entry.query or entry.http
    if source is None:
        return entry.model_dump(mode="json")
    return source.model_dump(mode="json", exclude={"parameters"})
