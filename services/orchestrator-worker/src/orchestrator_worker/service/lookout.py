"""The use case of context: what a run finds when it looks at what its definition asks for."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts import redaction
from contracts.catalogue import MAX_TIMEOUT
from contracts.definitions import ContextEntry
from contracts.runs import FAILURES, RunInput
from contracts.telemetry import Attribute, Metric
from orchestrator_worker.domain import lastruns
from orchestrator_worker.errors import (
    ContextError,
    ContextGivenUpError,
    ContextUnavailableError,
    PermanentError,
    TransientError,
)
from orchestrator_worker.ports import Answer, ContextSource, Ledger
from orchestrator_worker.service.revealing import Revealed, undecidable
from rules.backtests import Lookup
from rules.decisions import Program
from rules.errors import RulesError
from runtime import logs, telemetry

_log = logs.get_logger(__name__)

_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True)
class Snapshot:
    """What a run found: what its rules see, and what is stored of that."""

    seen: Mapping[str, Any]
    kept: Mapping[str, Any]


@dataclass(frozen=True)
class _Absent:
    """An entry that cannot be had, and that the run does without."""

    reason: str


class Lookout:
    """Looks at what the context entries of a definition ask for, all at once."""

    def __init__(
        self, *, context: ContextSource, ledger: Ledger, redaction_key: bytes | None = None
    ) -> None:
        """Look by `context` and `ledger`; what is left out of a snapshot is hashed by the key."""
        self._context = context
        self._ledger = ledger
        self._redaction_key = redaction_key
        self._durations = telemetry.meter(__name__).create_histogram(
            Metric.WORKER_CONTEXT_DURATION,
            unit="s",
            description="How long a context entry took, retries included, by what came of it.",
        )

    async def look(
        self, run: RunInput, program: Program, *, revealed: Revealed | None = None
    ) -> Snapshot:
        """Return what the entries of a definition find for a run; `revealed` is what it knows.

        Raises:
            PermanentError: an entry cannot be had, now or ever, and the run may not do without.
            TransientError: a system is away, and the run waits for it.
        """
        try:
            parameters = program.context_parameters(run.trigger, revealed=revealed)
        except RulesError as exc:
            raise undecidable(exc, revealed or {}) from exc
        entries = program.definition.spec.context
        # Each is waited for: the same failure is told whichever comes first.
        found = await asyncio.gather(
            *(self._entry(run, entry, parameters[entry.name]) for entry in entries),
            return_exceptions=True,
        )
        failures = [one for one in found if isinstance(one, BaseException)]
        if failures:
            raise next((one for one in failures if isinstance(one, PermanentError)), failures[0])
        answers = {
            entry.name: one
            for entry, one in zip(entries, found, strict=True)
            if not isinstance(one, BaseException)
        }
        return self._snapshot(answers)

    async def look_beside(
        self, run: RunInput, asked: Sequence[Lookup], snapshot: Snapshot
    ) -> Snapshot:
        """Return what `asked` finds for a run; of what it has looked at itself, what it saw.

        Raises: as `look`.
        """
        live = [one for one in asked if not one.recorded]
        found = await asyncio.gather(*(self._entry(run, one.entry, one.parameters) for one in live))
        now = self._snapshot({one.entry.name: a for one, a in zip(live, found, strict=True)})
        recorded = [one.entry.name for one in asked if one.recorded]
        return Snapshot(
            {**now.seen, **{name: snapshot.seen[name] for name in recorded}},
            {**now.kept, **{name: snapshot.kept[name] for name in recorded}},
        )

    def _snapshot(self, found: Mapping[str, Answer | _Absent]) -> Snapshot:
        seen: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        for name, one in found.items():
            answer = one if isinstance(one, Answer) else Answer(None)
            seen[name] = answer.value
            kept[name] = redaction.redacted(answer.value, answer.redact, key=self._redaction_key)
        reasons = {name: one.reason for name, one in found.items() if isinstance(one, _Absent)}
        if reasons:
            kept[FAILURES] = reasons
        return Snapshot(seen, kept)

    async def _entry(
        self, run: RunInput, entry: ContextEntry, parameters: Mapping[str, Any]
    ) -> Answer | _Absent:
        """Return an entry's answer, or why it is null where its definition says so."""
        started = time.monotonic()
        outcome = "failed"
        try:
            answer = await self._patiently(run, entry, parameters)
            outcome = "found"
        except ContextError as exc:
            if not entry.may_be_null:
                raise
            outcome = "null"
            _log.warning(
                "context_null", run_id=run.run_id, namespace=run.namespace, reason=str(exc)
            )
            return _Absent(str(exc))
        except TransientError:
            outcome = "awaited"
            raise
        finally:
            self._durations.record(
                time.monotonic() - started,
                {
                    Attribute.NAMESPACE: run.namespace,
                    Attribute.DEFINITION_ID: run.definition_id,
                    Attribute.OUTCOME: outcome,
                },
            )
        return answer

    async def _patiently(
        self, run: RunInput, entry: ContextEntry, parameters: Mapping[str, Any]
    ) -> Answer:
        if entry.retries is None:
            return await self._once(run, entry, parameters, within=None)
        longest = MAX_TIMEOUT.total_seconds()
        end = time.monotonic() + longest
        pause, attempts = _PAUSE_S, 0
        while True:
            attempts += 1
            try:
                return await self._once(run, entry, parameters, within=end - time.monotonic())
            except TransientError as exc:
                if attempts > entry.retries or time.monotonic() + pause >= end:
                    raise ContextGivenUpError(
                        f"given up after {attempts} of {entry.retries + 1} attempts: {exc}"
                    ) from exc
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _once(
        self,
        run: RunInput,
        entry: ContextEntry,
        parameters: Mapping[str, Any],
        *,
        within: float | None,
    ) -> Answer:
        own = None if entry.timeout is None else entry.timeout.total_seconds()
        limits = [limit for limit in (own, within) if limit is not None]
        limit = min(limits) if limits else None
        try:
            async with asyncio.timeout(limit):
                if entry.last_run is not None:
                    last = await self._ledger.last_run(run, status=entry.last_run.status)
                    return Answer(None if last is None else lastruns.document(last))
                return await self._context.look(entry, parameters)
        except TimeoutError as exc:
            told = "in time" if limit is None else f"within {limit:g} s"
            raise ContextUnavailableError(
                f"context {entry.name}: there is no answer {told}"
            ) from exc
