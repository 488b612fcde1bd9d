"""Past runs out of the ledger, each decided again by another version, and what differs, counted.

Bounded: so many runs are held at a time, however many there are.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from backbone.ledger.v1 import ledger_pb2
from cli import verdicts, versions
from cli.clients import Clients
from cli.errors import CliError, NotFoundError, UnavailableError
from cli.verdicts import Report
from rules import backtests
from rules.backtests import Judged, PastRun, Verdict, Version

T = TypeVar("T")

CONCURRENT = 8
"""Runs that are fetched and judged at a time."""


@dataclass(frozen=True)
class Question:
    """Which runs are judged by which version.

    `from_version` keeps to the runs that this version decided, None: whatever decided them.
    `reveal_for` says why sensitive values are read, which is recorded; empty leaves them alone.
    """

    definition_id: str
    namespace: str
    since: datetime
    to: Version
    from_version: int | None
    limit: int
    kept: int
    reveal_for: str = ""


async def at_once(items: AsyncIterator[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do `work` with each item, `CONCURRENT` of them at a time; the first error ends it all."""
    handing_out = asyncio.Lock()

    async def one_by_one() -> None:
        while True:
            async with handing_out:
                item = await anext(items, None)
            if item is None:
                return
            await work(item)

    workers = [asyncio.create_task(one_by_one()) for _ in range(CONCURRENT)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


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
        self._report = Report(kept=question.kept)
        self._versions: dict[int, Version | str] = {}
        self._fetching = asyncio.Lock()

    async def run(self) -> Report:
        await at_once(self._runs(), self._work)
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

    async def _work(self, found: tuple[int, ledger_pb2.Run]) -> None:
        number, run = found
        own = await self._own(run.definition_version)
        self._report.count(number, verdicts.Subject.of(run), await self._judged(run, own))

    async def _own(self, number: int) -> Version | str:
        """Return the version that decided a run, or why there is none to be had."""
        async with self._fetching:
            if number not in self._versions:
                try:
                    self._versions[number] = await versions.stored(
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
        except UnavailableError:
            raise
        except CliError as exc:
            gone = isinstance(exc, NotFoundError)
            return Judged(Verdict.NOT_COMPARABLE, "it is gone" if gone else str(exc))
        past = PastRun.of(found)
        if self._question.reveal_for and (wanted := past.references()):
            values = await self._clients.subjects.reveal(
                wanted, reason=self._question.reveal_for, request_id=str(uuid.uuid4())
            )
            past = replace(past, revealed=values)
        return backtests.judge(past, own=own, other=self._question.to)
