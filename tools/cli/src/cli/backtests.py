"""Past runs out of the ledger, each decided again by another version, and what differs, counted.

Bounded: so many runs are held at a time, and so many differences are kept, however many there are.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from backbone.ledger.v1 import ledger_pb2
from cli import documents
from cli.clients import Clients
from cli.errors import CliError, NotFoundError, UnavailableError
from cli.kinds import Kind
from contracts import definitions
from contracts.decisions import HumanInstance
from rules import backtests
from rules.backtests import Judged, PastRun, Verdict, Version
from rules.comparisons import TaskDifference
from rules.errors import DecisionError

CONCURRENT = 8
"""Runs that are fetched and judged at a time."""
KEPT_TASKS = 50
"""Tasks that are told of each run that differs; the rest is counted."""
KEPT_REASONS = 50


@dataclass(frozen=True)
class Question:
    """Which runs are judged by which version.

    `from_version` keeps to the runs that this version decided, None: whatever decided them.
    """

    definition_id: str
    namespace: str
    since: datetime
    to: Version
    from_version: int | None
    limit: int
    kept: int


@dataclass
class Report:
    """What came of a backtest. `different` holds the newest runs that differ, as documents."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    of_other_versions: int = 0
    more: bool = False
    different: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    @property
    def looked_at(self) -> int:
        """How many runs have a verdict."""
        return self.verdicts.total()


async def version(clients: Clients, definition_id: str, number: int) -> Version:
    """Return a version of a definition out of the registry, compiled.

    Raises:
        CliError: there is none, or it cannot be read or compiled by this release.
    """
    resource = await clients.registry.resource(Kind.DEFINITION, definition_id, version=number)
    try:
        return Version.of(definitions.load(resource.content), resource.version)
    except (ValidationError, DecisionError) as exc:
        raise CliError(
            f"version {number} of {definition_id} cannot be read by this release: {exc}"
        ) from exc


async def backtest(clients: Clients, question: Question) -> Report:
    """Judge the runs that are asked for, the newest first.

    Raises:
        CliError: the ledger or the registry cannot be asked.
    """
    return await _Backtest(clients, question).run()


class _Backtest:
    def __init__(self, clients: Clients, question: Question) -> None:
        self._clients = clients
        self._question = question
        self._report = Report()
        self._versions: dict[int, Version | str] = {}
        self._handing_out = asyncio.Lock()

    async def run(self) -> Report:
        runs = self._runs()
        workers = [asyncio.create_task(self._work(runs)) for _ in range(CONCURRENT)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return self._report

    async def _runs(self) -> AsyncIterator[tuple[int, ledger_pb2.Run]]:
        question, number = self._question, 0
        found = self._clients.runs_since(question.definition_id, since=question.since)
        async for run in found:
            if question.from_version not in (None, run.definition_version):
                self._report.of_other_versions += 1
                continue
            if number == question.limit:
                self._report.more = True
                return
            yield number, run
            number += 1

    async def _work(self, runs: AsyncIterator[tuple[int, ledger_pb2.Run]]) -> None:
        while True:
            async with self._handing_out:
                found = await anext(runs, None)
                if found is None:
                    return
                own = await self._own(found[1].definition_version)
            number, run = found
            self._count(number, run, await self._judged(run, own))

    async def _own(self, number: int) -> Version | str:
        """Return the version that decided a run, or why there is none to be had."""
        if number not in self._versions:
            try:
                self._versions[number] = await version(
                    self._clients, self._question.definition_id, number
                )
            except UnavailableError:
                raise
            except CliError as exc:
                self._versions[number] = str(exc)
        return self._versions[number]

    async def _judged(self, run: ledger_pb2.Run, own: Version | str) -> Judged:
        if isinstance(own, str):
            return Judged(Verdict.NOT_COMPARABLE, own)
        try:
            found = await self._clients.run(run.run_id)
        except NotFoundError:
            return Judged(Verdict.NOT_COMPARABLE, "it is gone")
        past = PastRun(
            namespace=self._question.namespace,
            run_id=run.run_id,
            trigger=found.trigger or None,
            snapshot=found.snapshot or None,
            decision=found.decision or None,
        )
        return backtests.judge(past, own=own, other=self._question.to)

    def _count(self, number: int, run: ledger_pb2.Run, judged: Judged) -> None:
        report = self._report
        report.verdicts[judged.verdict] += 1
        report.tasks.update(one.change.value for one in judged.differences)
        if judged.again is not None:
            report.again[judged.again.value] += 1
        if judged.verdict is Verdict.NOT_COMPARABLE:
            known = judged.reason in report.reasons or len(report.reasons) < KEPT_REASONS
            report.reasons[judged.reason if known else "other reasons"] += 1
        if judged.verdict is Verdict.DIFFERENT:
            report.different.append((number, _document(run, judged)))
            report.different.sort(key=lambda one: one[0])
            del report.different[self._question.kept :]


def _document(run: ledger_pb2.Run, judged: Judged) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "definition_version": run.definition_version,
        "recorded_at": documents.instant_of(run.recorded_at.ToDatetime(UTC)),
        "reason": judged.reason or None,
        "differing_tasks": len(judged.differences),
        "tasks": [_task(one) for one in judged.differences[:KEPT_TASKS]],
    }


def _task(difference: TaskDifference) -> dict[str, Any]:
    task = difference.task
    return {
        "change": difference.change.value,
        "task_id": str(task.task_id),
        "rule": task.rule,
        "key": task.key or None,
        "type": task.type,
        "what": task.title if isinstance(task, HumanInstance) else task.handler,
        "fields": [
            {"path": one.path, "before": one.before, "after": one.after}
            for one in difference.fields
        ],
    }
