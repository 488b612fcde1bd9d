"""The use case of shadows: recorded runs are decided by another version too, apart from them."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from contracts import canonical
from contracts.runs import RunInput
from contracts.shadows import ShadowOutcome
from contracts.telemetry import Attribute, Metric
from orchestrator_worker.domain.cache import LeastRecentlyUsed
from orchestrator_worker.errors import WorkerError
from orchestrator_worker.ports import ShadowRecords
from orchestrator_worker.service.lookout import Lookout, Snapshot
from orchestrator_worker.service.revealing import Revealed, told
from rules import backtests
from rules.backtests import Version
from rules.decisions import Program
from rules.errors import GatheredOtherwiseError, NotTriggeredError, RulesError
from runtime import logs, telemetry

MAX_SHADOWS_WAITING = 32
"""Runs that wait to be decided by shadows, each with its snapshot."""
SHADOWS_AT_ONCE = 4
CACHED_SHADOWS = 100
SHADOW_LOOKUP_TIMEOUT = timedelta(seconds=5)
SHADOW_TIMEOUT = timedelta(seconds=15)

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Beside:
    """A run that was recorded, for a shadow to decide as well: by what it was, over what."""

    shadow_id: str
    run: RunInput
    program: Program
    snapshot: Snapshot
    revealed: Revealed = field(default_factory=dict, repr=False)


class Shadows:
    """Decides recorded runs by their definition's shadow too, and tells the ledger; nobody else.

    A run never waits for it and never fails by it: what comes while too many wait, what takes too
    long and what a process leaves behind is not decided.
    """

    name = "shadows"

    def __init__(self, *, records: ShadowRecords, lookout: Lookout) -> None:
        self._records = records
        self._lookout = lookout
        self._waiting: asyncio.Queue[Beside] = asyncio.Queue(MAX_SHADOWS_WAITING)
        self._versions: LeastRecentlyUsed[tuple[str, str], Version] = LeastRecentlyUsed(
            CACHED_SHADOWS
        )
        self._workers: list[asyncio.Task[None]] = []
        self._decisions = telemetry.meter(__name__).create_counter(
            Metric.WORKER_SHADOW_DECISIONS,
            description="Runs that a shadow was to decide, by what came of it.",
        )

    async def start(self) -> None:
        """Begin to decide."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(SHADOWS_AT_ONCE)]

    async def stop(self) -> None:
        """End at once: what waits is left."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def consider(self, beside: Beside) -> None:
        """Have a run decided soon; forget it when too many wait."""
        try:
            self._waiting.put_nowait(beside)
        except asyncio.QueueFull:
            self._count(beside.run, "dropped")

    async def drained(self) -> None:
        """Return when nothing waits any more."""
        await self._waiting.join()

    async def _work(self) -> None:
        while True:
            beside = await self._waiting.get()
            try:
                async with asyncio.timeout(SHADOW_TIMEOUT.total_seconds()):
                    self._count(beside.run, (await self._decide(beside)).value)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the next one is decided
                self._count(beside.run, "failed_to_record")
                _log.warning(
                    "shadow_failed",
                    shadow_id=beside.shadow_id,
                    run_id=beside.run.run_id,
                    failure=type(exc).__name__,
                    quoted=str(exc)[:500],
                )
            finally:
                self._waiting.task_done()

    async def _decide(self, beside: Beside) -> ShadowOutcome:
        version = await self._version(beside)
        outcome, reason, decision = await self._made(version, beside)
        await self._records.record(
            beside.run,
            shadow_id=beside.shadow_id,
            outcome=outcome,
            reason=reason,
            decision=decision,
        )
        return outcome

    async def _made(self, version: Version, beside: Beside) -> tuple[ShadowOutcome, str, bytes]:
        run, own, known = beside.run, beside.program, beside.revealed
        try:
            trigger = version.triggers.again(
                run.trigger,
                before=own.definition,
                definition_version=version.number,
                revealed=known,
            )
            lookups = backtests.lookups(
                own, run.trigger, other=version.program, again=trigger, revealed=known
            )
            async with asyncio.timeout(SHADOW_LOOKUP_TIMEOUT.total_seconds()):
                snapshot = await self._lookout.look_beside(run, lookups, beside.snapshot)
            decision = version.program.decide(
                definition_version=version.number,
                namespace=run.namespace,
                run_id=run.run_id,
                trigger=trigger,
                snapshot=snapshot.seen,
                kept=snapshot.kept,
                revealed=known,
            )
        except NotTriggeredError as exc:
            return ShadowOutcome.NOT_STARTED, told(exc, known), b""
        except GatheredOtherwiseError as exc:
            return ShadowOutcome.NOT_COMPARABLE, told(exc, known), b""
        except RulesError as exc:
            return ShadowOutcome.FAILED, told(exc, known), b""
        except TimeoutError:
            return ShadowOutcome.NOT_COMPARABLE, "its context could not be looked up in time", b""
        except WorkerError as exc:
            return ShadowOutcome.NOT_COMPARABLE, f"its context could not be had: {exc}", b""
        return ShadowOutcome.DECIDED, "", canonical.render(decision)

    async def _version(self, beside: Beside) -> Version:
        key = (beside.run.namespace, beside.shadow_id)
        version = self._versions.get(key)
        if version is None:
            version = Version.of(*await self._records.get(*key))
            self._versions.put(key, version)
        return version

    def _count(self, run: RunInput, outcome: str) -> None:
        self._decisions.add(1, {Attribute.NAMESPACE: run.namespace, Attribute.OUTCOME: outcome})
