"""Routes a batch of records: each gets its outcome, which counts once its decisions are recorded.

First one pass over all, which waits for nobody: most records end there, since nobody wants them.
Then what has to be started or parked, records of one key in their order. Then one call records what
was decided, and the instances that something waits for since then are woken. What raises on the way
has no outcome, and is read again.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from contracts import canonical
from contracts.rejections import EventRejectedError, Reason
from contracts.routing import RoutingOutcome
from router.domain.authentication import Authentication
from router.domain.decisions import Decision, RoutedEvent
from router.domain.instances import Directory
from router.domain.records import Record
from router.errors import TransientError
from router.ports import (
    ActiveDefinitions,
    DeadLetters,
    DecisionLog,
    Observer,
    PendingStarts,
    SeenEvents,
    SensitiveValues,
    WorkflowStarter,
)
from router.service import keeping, placing, waking
from router.service.admission import Admission, Admitted, Task, fault
from router.service.deciding import Deciding
from router.service.kill_switches import KillSwitches, Unswitched
from runtime import logs, telemetry

_WAITING = frozenset({RoutingOutcome.HELD, RoutingOutcome.BATCHED, RoutingOutcome.LIMITED})


class Settled(StrEnum):
    """The durable outcome of a record."""

    STARTED = "started"
    SIGNALLED = "signalled"
    NO_MATCH = "no_match"
    WAITING = "waiting"
    DUPLICATE = "duplicate"
    DEAD_LETTER = "dead_letter"


@dataclass(slots=True)
class Results:
    """What became of the records of a batch, by their index: settled, failed, or not begun."""

    settled: dict[int, Settled] = field(default_factory=dict)
    failed: dict[int, BaseException] = field(default_factory=dict)


class Router:
    """Routes the records of one namespace."""

    def __init__(
        self,
        namespace: str,
        *,
        definitions: ActiveDefinitions,
        starter: WorkflowStarter,
        seen: SeenEvents,
        dead_letters: DeadLetters,
        decision_log: DecisionLog,
        pending_starts: PendingStarts,
        observer: Observer,
        directory: Directory,
        authentication: Authentication,
        concurrency: int,
        switches: KillSwitches | None = None,
        queued: Callable[[], None] = lambda: None,
        sensitive_values: SensitiveValues = keeping.Unkept(),  # noqa: B008 - a value
    ) -> None:
        """`concurrency` bounds how many records are worked on at a time.

        `directory` finds the instance of an event where a definition is stateful; `switches` says
        what is stopped; `queued` is called when something was left to wait; `sensitive_values`
        keeps what is sensitive.
        """
        self._namespace = namespace
        self._definitions = definitions
        self._sensitive_values = sensitive_values
        self._admission = Admission(namespace, definitions, authentication)
        self._deciding = Deciding(namespace, starter, directory)
        self._starter = starter
        self._seen = seen
        self._dead_letters = dead_letters
        self._decision_log = decision_log
        self._pending_starts = pending_starts
        self._switches = Unswitched() if switches is None else switches
        self._queued = queued
        self._observer = observer
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)

    async def settle(self, record: Record, *, attempts: int, cause: str = "") -> Settled:
        """Route one record; `cause` says why when it does not come from Kafka now.

        Raises:
            TransientError: there is no durable outcome yet; the same record has to come again.
        """
        results = await self.route(
            [record], attempts=lambda _: attempts, may_begin=lambda: True, cause=cause
        )
        for failure in results.failed.values():
            raise failure
        return results.settled[0]

    async def route(
        self,
        records: Sequence[Record],
        *,
        attempts: Callable[[Record], int],
        may_begin: Callable[[], bool],
        cause: str = "",
    ) -> Results:
        """Route the records of a batch; those of one partition come in their order.

        `attempts` tells how often a record is tried, counted from 1; no work is begun once
        `may_begin` is false.
        """
        results = Results()
        try:
            self._switches.require_let_in(asked_for=bool(cause))
        except TransientError as exc:
            # They stay where they are, and are read again.
            results.failed = dict.fromkeys(range(len(records)), exc)
            return results
        found = await self._admission.admit(records)
        await self._recall(found.tasks, cause)
        try:
            await keeping.keep(
                found.tasks,
                namespace=self._namespace,
                policy=self._definitions.policy(self._namespace),
                values=self._sensitive_values,
            )
            await placing.place(
                found.tasks,
                namespace=self._namespace,
                pending_starts=self._pending_starts,
                switches=self._switches,
            )
        except TransientError as exc:
            # What is sensitive is not kept, or nobody knows what waits: to start anything now could
            # be to write it in the clear, or to start it too early.
            results.failed.update((task.index, exc) for task in found.tasks)
        else:
            await self._work(found.tasks, results, attempts, may_begin)
        routed = [t for t in found.tasks if t.decisions and t.index not in results.failed]
        if await self._record(routed, found, results, cause):
            told = await self._wake(routed, results)
            await self._conclude(told, results, attempts)
        return results

    async def _recall(self, tasks: Sequence[Task], cause: str) -> None:
        """Find out which events were settled before, as far as the memory goes."""
        asked = [task for task in tasks if task.event is not None]
        if not asked:
            return
        for task in asked:
            task.digest = task.event.digest if task.event is not None else ""
        if cause:  # Whoever asks for it again wants it done.
            return
        known = await self._seen.recall(self._namespace, [task.identity for task in asked])
        for task, memory in zip(asked, known, strict=True):
            if memory is None:
                continue
            if memory.digest != task.digest:
                source, event_id = task.identity
                task.rejection = _conflict(source, event_id)
                continue
            # A definition that changed since decides anew, as it would without a memory.
            task.is_known = all(
                candidate.definition.revision <= memory.revision for candidate in task.candidates
            )

    async def _work(
        self,
        tasks: Sequence[Task],
        results: Results,
        attempts: Callable[[Record], int],
        may_begin: Callable[[], bool],
    ) -> None:
        lanes: dict[tuple[str, int, bytes | int], list[Task]] = {}
        for task in tasks:
            lanes.setdefault(task.lane, []).append(task)
        failing: set[tuple[str, int]] = set()

        async def work(lane: Sequence[Task]) -> None:
            for task in lane:
                place = task.record.topic, task.record.partition
                async with self._slots:
                    # One failure ends the batch of its partition: the rest would be in vain.
                    if place in failing or not may_begin():
                        return
                    try:
                        await self._carry_out(task, results, attempts)
                    except Exception as exc:  # noqa: BLE001 - no outcome yet, whatever it is
                        results.failed[task.index] = exc
                        failing.add(place)
                        return

        # Not a task for each lane: most would only wait, and be looked at again and again.
        remaining = iter(lanes.values())

        async def worker() -> None:
            for lane in remaining:
                await work(lane)

        await asyncio.gather(*(worker() for _ in range(min(len(lanes), self._concurrency))))

    async def _carry_out(
        self, task: Task, results: Results, attempts: Callable[[Record], int]
    ) -> None:
        task.began = time.perf_counter()
        if task.rejection is None and task.event is not None:
            with (
                logs.bound(namespace=self._namespace, event_id=task.identity[1]),
                telemetry.attached(
                    telemetry.nearer(task.event.traceparent, task.record.traceparent)
                ),
            ):
                try:
                    await self._deciding.decide(task, task.event)
                except TransientError:
                    raise
                except Exception as exc:  # noqa: BLE001 - a fault of ours stops nobody behind it
                    task.decisions = []
                    task.rejection = fault(task.record, exc)
        if task.rejection is not None and not task.decisions:
            await self._park(task, results, attempts)

    async def _record(
        self, routed: Sequence[Task], found: Admitted, results: Results, cause: str
    ) -> bool:
        """Record what was decided; False, and no outcome for any of it, when that failed."""
        events = [_routed_event(task, cause) for task in routed]
        ranges = list(found.ranges.values())
        if not events and not ranges:
            return True
        try:
            conflicts = await self._decision_log.record(self._namespace, events, ranges)
        except TransientError as exc:
            results.failed.update(dict.fromkeys((task.index for task in routed), exc))
            results.failed.update(dict.fromkeys(found.unrouted, exc))
            return False
        for position, rejection in conflicts.items():
            routed[position].rejection = rejection
        if any(task.waits for task in routed):
            self._switches.queued(
                [
                    definition_id
                    for task in routed
                    for definition_id, wait in task.waits.items()
                    if wait.kill_switch_id
                ]
            )
            self._queued()
        results.settled.update(dict.fromkeys(found.unrouted, Settled.NO_MATCH))
        if found.unrouted:
            self._observer.unrouted(self._namespace, len(found.unrouted))
        return True

    async def _wake(self, routed: Sequence[Task], results: Results) -> list[Task]:
        """Wake the instances of what waits for them now; return the tasks that are done.

        The others are read again, recorded again without effect, and their instances woken then.
        """
        wanted = {
            task.index: [d.application.address for d in task.decisions if d.application is not None]
            for task in routed
        }
        failures = await waking.wake(
            self._starter, self._namespace, (one for each in wanted.values() for one in each)
        )
        if not failures:
            return list(routed)
        done = []
        for task in routed:
            failed = [failures[one] for one in wanted[task.index] if one in failures]
            if failed:
                results.failed[task.index] = failed[0]
            else:
                done.append(task)
        return done

    async def _conclude(
        self, routed: Sequence[Task], results: Results, attempts: Callable[[Record], int]
    ) -> None:
        """Park what was recorded and has to be looked at, and remember the rest."""

        async def park(task: Task) -> None:
            async with self._slots:
                try:
                    await self._park(task, results, attempts)
                except Exception as exc:  # noqa: BLE001 - no outcome yet, whatever it is
                    results.failed[task.index] = exc

        await asyncio.gather(*(park(task) for task in routed if task.rejection is not None))
        self._observer.candidates(
            self._namespace,
            ((d.definition.definition_id, d.outcome) for task in routed for d in task.decisions),
        )
        now = time.perf_counter()
        took: dict[Settled, list[float]] = {}
        for task in routed:
            if task.rejection is None:
                source, event_id = task.identity
                self._seen.remember(
                    self._namespace, source, event_id, digest=task.digest, revision=task.revision
                )
                outcome = _outcome(task.decisions)
                results.settled[task.index] = outcome
                took.setdefault(outcome, []).append(now - task.began)
        for outcome, seconds in took.items():
            self._observer.settled(self._namespace, outcome, seconds)

    async def _park(self, task: Task, results: Results, attempts: Callable[[Record], int]) -> None:
        record, rejection = task.record, task.rejection
        if rejection is None:
            return
        tried = attempts(record)
        await self._dead_letters.park(
            record,
            namespace=self._namespace,
            reason=rejection.reason,
            detail=rejection.detail,
            attempts=tried,
        )
        self._observer.parked(self._namespace, rejection.reason)
        results.settled[task.index] = Settled.DEAD_LETTER
        self._observer.settled(
            self._namespace, Settled.DEAD_LETTER, [time.perf_counter() - task.began]
        )


def _routed_event(task: Task, cause: str) -> RoutedEvent:
    source, event_id = task.identity
    return RoutedEvent(
        record=task.record,
        source=source,
        event_id=event_id,
        type=task.event.document["type"] if task.event is not None else "",
        digest=task.digest,
        revision=task.revision,
        decisions=task.decisions,
        cause=cause,
        envelope=canonical.render(task.event.envelope().document())
        if task.waits and task.event is not None
        else b"",
    )


def _outcome(made: Sequence[Decision]) -> Settled:
    outcomes = {decision.outcome for decision in made}
    if RoutingOutcome.STARTED in outcomes:
        return Settled.STARTED
    if RoutingOutcome.SIGNALLED in outcomes:
        return Settled.SIGNALLED
    if outcomes & _WAITING:
        return Settled.WAITING
    return Settled.DUPLICATE if RoutingOutcome.DUPLICATE in outcomes else Settled.NO_MATCH


def _conflict(source: str, event_id: str) -> EventRejectedError:
    return EventRejectedError(
        Reason.ID_CONFLICT,
        f"source {source!r} used event id {event_id!r} for other bytes before",
    )
