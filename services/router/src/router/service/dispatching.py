"""Starts what has waited: takes what is due from the ledger, starts it, tells what became of it.

Any number of routers may do so. What one has taken and not told of in time is given to another, and
is started once all the same: the id of a run follows from what waited alone. Starts of one key are
made one after another, so that a later one is never there before an earlier one.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Never

from contracts.routing import PendingOutcome
from router.domain import decisions, pending
from router.domain.instances import Directory
from router.domain.pending import Confirmation, DueStart
from router.domain.routing import Active
from router.errors import (
    DefinitionUnknownError,
    DefinitionUnusableError,
    StartRefusedError,
    TransientError,
)
from router.ports import (
    ActiveDefinitions,
    Observer,
    PendingStarts,
    SensitiveValues,
    WorkflowStarter,
)
from router.service import keeping, waking
from router.service.kill_switches import KillSwitches, Unswitched
from rules.errors import ExpressionError
from runtime import logs, telemetry

LEASE = timedelta(seconds=20)
"""How long what a router has taken waits for it, if it dies."""
_WORK_S = LEASE.total_seconds() / 2
"""No start of a claim is begun later than this, so that what is told is told in time."""
_BUSY_S = 0.02
"""Between two looks when others have just taken everything, or when something is due in no time."""
_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 10.0

_log = logs.get_logger(__name__)


class Dispatcher:
    """Starts what waits of one namespace."""

    def __init__(
        self,
        namespace: str,
        *,
        definitions: ActiveDefinitions,
        pending_starts: PendingStarts,
        starter: WorkflowStarter,
        observer: Observer,
        directory: Directory,
        limit: int,
        poll: timedelta,
        switches: KillSwitches | None = None,
        sensitive_values: SensitiveValues = keeping.Unkept(),  # noqa: B008 - a value
    ) -> None:
        """Take at most `limit` starts at a time, and look for more at least every `poll`.

        `switches` hear what the ledger tells of kill switches.
        """
        self.name = f"dispatcher-{namespace}"
        self.namespace = namespace
        self._definitions = definitions
        self._pending_starts = pending_starts
        self._starter = starter
        self._directory = directory
        self._switches = Unswitched() if switches is None else switches
        self._observer = observer
        self._sensitive_values = sensitive_values
        self._limit = limit
        self._poll_s = poll.total_seconds()
        self._woken = asyncio.Event()
        self._slots = asyncio.Semaphore(limit)

    def wake(self) -> None:
        """Look now: something was queued here."""
        self._woken.set()

    async def run(self) -> Never:
        """Start what waits until cancelled."""
        failures = 0
        while True:
            self._woken.clear()
            try:
                pause = await self.dispatch()
            except Exception as exc:  # noqa: BLE001 - whatever it is, the others still wait
                failures += 1
                if not isinstance(exc, TransientError):
                    _log.exception("dispatcher_failed", namespace=self.namespace)
                elif failures == 1:
                    _log.warning("dispatcher_waits", namespace=self.namespace, error=str(exc))
                await asyncio.sleep(
                    min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
                )
                continue
            if failures:
                _log.info("dispatcher_goes_on", namespace=self.namespace)
            failures = 0
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def dispatch(self) -> float:
        """Start what is due now and tell of it; return how many seconds to wait for more.

        Raises:
            TransientError: the ledger is away; what was started is found out about later.
        """
        began = time.monotonic()
        asked = self._switches.asked()
        claim = await self._pending_starts.claim(self.namespace, limit=self._limit, lease=LEASE)
        self._switches.hear(claim.thrown, claim.halted, asked=asked)
        try:
            await self._switches.tell()
        except TransientError as exc:
            # What was claimed is started all the same; with the next look it is told again.
            _log.warning("selection_not_told", namespace=self.namespace, error=str(exc))
        starts = claim.starts
        if starts:
            until = began + _WORK_S
            lanes: dict[str, list[DueStart]] = {}
            for start in starts:
                # What has no key has no order.
                lane = f"{start.definition_id}:{start.key}" if start.key else f":{start.pending_id}"
                lanes.setdefault(lane, []).append(start)
            made = await asyncio.gather(*(self._lane(lane, until) for lane in lanes.values()))
            confirmations = [one for lane in made for one in lane]
            await self._confirm(confirmations, began + LEASE.total_seconds())
            # One that cannot be told now is told by the sweep, or with the next event of its key.
            await waking.wake(
                self._starter,
                self.namespace,
                (one.application.address for one in confirmations if one.application is not None),
            )
            self._observer.dispatched(
                self.namespace, ((one.start.reason, one.outcome) for one in confirmations)
            )
            return 0.0
        if claim.due_in is None:
            return self._poll_s
        return min(self._poll_s, max(_BUSY_S, claim.due_in.total_seconds()))

    async def _confirm(self, confirmations: Sequence[Confirmation], until: float) -> None:
        """Tell what became of starts, for as long as nobody else is given them."""
        while True:
            try:
                return await self._pending_starts.confirm(self.namespace, confirmations)
            except TransientError:
                if time.monotonic() + _FIRST_RETRY_S > until:
                    raise
            await asyncio.sleep(_FIRST_RETRY_S)

    async def _lane(self, starts: Sequence[DueStart], until: float) -> list[Confirmation]:
        """Make the starts of one key in order; after one that has to wait, the others wait too."""
        made: list[Confirmation] = []
        for start in starts:
            try:
                async with self._slots:
                    # Looked at here: what has waited for a slot may be another's by now.
                    if (
                        made and made[-1].outcome is PendingOutcome.RETURNED
                    ) or time.monotonic() > until:
                        made.append(Confirmation(start, PendingOutcome.RETURNED))
                        continue
                    made.append(await self._start(start))
            except TransientError as exc:
                _log.info(
                    "pending_start_waits", namespace=self.namespace,
                    definition_id=start.definition_id, attempts=start.attempts, error=str(exc),
                )  # fmt: skip
                made.append(Confirmation(start, PendingOutcome.RETURNED))
            except Exception as exc:  # noqa: BLE001 - a fault of ours stops nothing behind it
                _log.exception("pending_start_failed", definition_id=start.definition_id)
                told = f"{type(exc).__name__}: {exc}"
                made.append(Confirmation(start, PendingOutcome.ERRORED, detail=told))
        return made

    async def _start(self, start: DueStart) -> Confirmation:
        if start.attempts > 1:
            # Whoever had it before may have started it, and whatever was changed since is too late.
            earlier = await self._starter.started(self.namespace, start.run_id())
            if earlier is not None:
                return pending.as_started(start, earlier)
        try:
            definition = await self._definition(start.definition_id)
        except DefinitionUnknownError as exc:
            return Confirmation(start, PendingOutcome.DISABLED, detail=str(exc))
        except DefinitionUnusableError as exc:
            raise TransientError(str(exc)) from exc
        if definition.disabled:
            held = definition.flow is not None and definition.flow.hold
            return Confirmation(
                start,
                PendingOutcome.HELD if held else PendingOutcome.DISABLED,
                definition_version=definition.version,
                definition_revision=definition.revision,
            )
        if self._switches.run(definition) is not None:
            # The ledger has not heard yet that the switch selects it, or was told too late.
            return Confirmation(start, PendingOutcome.RETURNED)
        documents = [event.document() for event in start.events]
        seen = (
            await keeping.seen(self.namespace, documents, values=self._sensitive_values)
            if start.reason == pending.HELD
            else documents
        )
        planned = pending.plan(start, definition, self.namespace, seen=seen)
        if isinstance(planned, Confirmation):
            return planned
        run = planned.run
        outcome, detail = PendingOutcome.STARTED, ""
        application = None
        with telemetry.attached(run.trigger.traceparent):
            try:
                if definition.correlation is not None and run.trigger.event is not None:
                    outcome = PendingOutcome.SIGNALLED
                    application = decisions.application(self._directory, definition, run.trigger)
                elif not await self._starter.start(run, task_queue=planned.task_queue):
                    outcome = PendingOutcome.DUPLICATE
            except (ExpressionError, StartRefusedError) as exc:
                outcome, detail = PendingOutcome.ERRORED, str(exc)
        return Confirmation(
            start,
            outcome,
            definition_version=run.trigger.definition_version,
            run_id="" if outcome is PendingOutcome.ERRORED else run.run_id,
            detail=detail,
            left=planned.left,
            application=application,
        )

    async def _definition(self, definition_id: str) -> Active:
        known = self._definitions.index(self.namespace).get(definition_id)
        if known is not None:
            return known
        # Retired, or so new that it has not come here yet.
        return await self._definitions.latest(self.namespace, definition_id)
