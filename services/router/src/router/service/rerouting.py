"""Routing on request: the pipeline of what comes from Kafka, with another end for refusals.

What the router would park is told to whoever asked, and no dead letter is written. What it decides
is recorded like any decision, under the record's own place and the cause of the request.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from contracts import identifiers
from contracts.rejections import EventRejectedError, Reason
from router.domain import decisions
from router.domain.authentication import Authentication
from router.domain.decisions import RoutedEvent, UnroutedRange
from router.domain.ingress import Event, Ingress
from router.domain.records import Record
from router.domain.routing import Candidate, Outcome
from router.ports import (
    ActiveDefinitions,
    DeadLetters,
    DecisionLog,
    Observer,
    Routed,
    WorkflowStarter,
)
from router.service.routing import Router, Settled

REFUSED = "refused"

MakeRouter = Callable[[str, DeadLetters, DecisionLog], Router]
"""Makes a router of a namespace with these ends."""


class Rerouting:
    """`ports.Routing` by the router itself."""

    def __init__(
        self,
        make_router: MakeRouter,
        *,
        definitions: ActiveDefinitions,
        starter: WorkflowStarter,
        decision_log: DecisionLog,
        authentication: Authentication,
    ) -> None:
        self._authentication = authentication
        self._make_router = make_router
        self._definitions = definitions
        self._starter = starter
        self._decision_log = decision_log

    async def route(self, record: Record, *, namespace: str, cause: str) -> Routed:
        """Route a record; return when the outcome is durable. One that is refused is not parked.

        Raises:
            TransientError: there is no durable outcome yet; the same again is safe.
        """
        told = _Told(self._decision_log)
        router = self._make_router(namespace, told, told)
        settled = await router.settle(record, attempts=1, cause=cause)
        if settled is Settled.DEAD_LETTER and told.rejection is not None:
            return _refused(told.rejection, told.detail)
        return Routed(settled, told.detail)

    async def preview(self, record: Record, *, namespace: str) -> Routed:
        """Say what would become of a record now, and change nothing.

        Raises:
            TransientError: Temporal does not say what was started before.
        """
        try:
            event = Ingress(namespace, self._authentication).admit(
                record, self._definitions.policy(namespace)
            )
        except EventRejectedError as exc:
            return _refused(exc)
        index = self._definitions.index(namespace)
        found = index.candidates(event.document["type"], event.document)
        waiting = [one for one in found if _would_wait(one)]
        matched = [one for one in found if one.outcome is Outcome.MATCHED and one not in waiting]
        runs = [_run_id(one, event) for one in matched]
        known = [await self._starter.started(namespace, run) is not None for run in runs]
        told = [
            f"{run} was started before" if before else f"{run} would be started"
            for run, before in zip(runs, known, strict=True)
        ] + [f"{one.definition.definition_id} would have it wait" for one in waiting]
        wrong = [
            f"{one.definition.definition_id}, {decisions.problem(one)}"
            for one in found
            if one.errors
        ]
        if wrong:
            rejection = EventRejectedError(Reason.EXPRESSION_ERROR, "; ".join(wrong))
            return _refused(rejection, "; ".join(told))
        if not matched and waiting:
            return Routed(Settled.WAITING, "; ".join(told))
        if not matched:
            return Routed(Settled.NO_MATCH, "no definition wants it")
        return Routed(Settled.DUPLICATE if all(known) else Settled.STARTED, "; ".join(told))


class _Told:
    """Where one record ends: its refusal is kept here, its decisions are recorded and kept too."""

    def __init__(self, decision_log: DecisionLog) -> None:
        self._decision_log = decision_log
        self._events: list[RoutedEvent] = []
        self.rejection: EventRejectedError | None = None

    async def park(
        self,
        record: Record,  # noqa: ARG002 - the port's signature
        *,
        namespace: str,  # noqa: ARG002 - as above
        reason: Reason,
        detail: str,
        attempts: int,  # noqa: ARG002 - as above
    ) -> None:
        """Keep why it is refused."""
        self.rejection = EventRejectedError(reason, detail)

    async def record(
        self, namespace: str, events: Sequence[RoutedEvent], unrouted: Sequence[UnroutedRange]
    ) -> Mapping[int, EventRejectedError]:
        """Record what was decided, and keep it."""
        self._events.extend(events)
        return await self._decision_log.record(namespace, events, unrouted)

    @property
    def detail(self) -> str:
        """What was decided, in a few words."""
        return "; ".join(
            f"{decision.run_id or decision.definition.definition_id} {decision.outcome}"
            for event in self._events
            for decision in event.decisions
        )


class UncountedObserver:
    """Counts the candidates of what is routed on request: its records were counted when they came.

    What becomes of dead letters has a figure of its own.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def settled(self, namespace: str, outcome: str, seconds: Sequence[float]) -> None:
        """Nothing: it was counted before."""

    def unrouted(self, namespace: str, count: int) -> None:
        """Nothing: it was counted before."""

    def parked(self, namespace: str, reason: Reason) -> None:
        """Nothing: it is parked already."""

    def resolved(self, namespace: str, state: str, outcome: str) -> None:
        """Nothing: who asked counts."""

    def received(self, outcome: str, count: int) -> None:
        """Nothing: it did not come by HTTP."""

    def candidates(self, namespace: str, outcomes: Iterable[tuple[str, str]]) -> None:
        """An event was decided for its candidates: (definition id, outcome) each."""
        self._observer.candidates(namespace, outcomes)

    def dispatched(self, namespace: str, outcomes: Iterable[tuple[str, str]]) -> None:
        """Nothing: what waits is dispatched by others."""


def _would_wait(candidate: Candidate) -> bool:
    flow = candidate.definition.flow
    if flow is None:
        return False
    if candidate.outcome is Outcome.DISABLED:
        return flow.hold
    return candidate.outcome is Outcome.MATCHED and flow.always


def _run_id(candidate: Candidate, event: Event) -> str:
    key = identifiers.event_trigger_key(event.document["source"], event.document["event_id"])
    return identifiers.run_id(candidate.definition.definition_id, key)


def _refused(rejection: EventRejectedError, beside: str = "") -> Routed:
    told = f"{rejection.reason}: {rejection.detail}"
    return Routed(REFUSED, f"{told} (beside it: {beside})" if beside else told)
