"""Backtests: what another version would have decided of past runs; nothing is done."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from backbone.ledger.v1.ledger_pb2 import GetRunRequest, GetRunResponse, ListRunsRequest, Run
from console.adapters.areas import Page, get
from console.adapters.pages import versions
from console.errors import BadRequestError, NotFoundError
from contracts import durations
from rules import backtests
from rules.backtests import Judged, PastRun, Verdict, Version
from rules.tallies import Tally

MAX_RUNS = 500
_KEPT = 20
_AT_ONCE = 8
# A page has half a minute (`request_timeout`), and a part of the answer is better than none.
_PATIENCE = timedelta(seconds=20)
# Runs that were recorded at once may be listed in another order than their times.
_RECORDED_AT_ONCE = timedelta(minutes=1)


async def show(page: Page) -> Response:
    """Show the form, and with a version to try what it came to."""
    definition_id = page.query("id", required=True)
    current = await versions.stored(page, definition_id)
    to = versions.number(page.query("to"), "version to try")
    report = None
    if to:
        report = await _Backtest(page, await _question(page, definition_id, to)).report()
    return page.render(
        "definitions/backtest.html",
        found=current,
        to=to or current.current_version,
        from_version=page.query("from"),
        since=page.query("since") or "7d",
        limit=page.query("limit") or "100",
        max_runs=MAX_RUNS,
        report=report,
    )


@dataclass(frozen=True)
class _Differing:
    """A run that another version would have decided otherwise."""

    run_id: str
    definition_version: int
    recorded_at: datetime
    judged: Judged


@dataclass(frozen=True)
class _Question:
    """Which runs are judged; `from_version` 0 for those that any version decided."""

    definition_id: str
    to: Version
    from_version: int
    since: datetime
    limit: int


async def _question(page: Page, definition_id: str, to: int) -> _Question:
    limit = page.query("limit") or "100"
    if not (limit.isascii() and limit.isdecimal() and 0 < int(limit[:9]) <= MAX_RUNS):
        raise BadRequestError(
            f"The page looks at 1 to {MAX_RUNS} runs; `backbone backtest` at more."
        )
    return _Question(
        definition_id=definition_id,
        to=await versions.compiled(await versions.stored(page, definition_id, to)),
        from_version=versions.number(page.query("from"), "version that decided"),
        since=_since(page.query("since") or "7d"),
        limit=int(limit),
    )


def _since(text: str) -> datetime:
    try:
        return datetime.now(UTC) - durations.parse(text)
    except (ValueError, OverflowError) as exc:
        raise BadRequestError(
            f"Since when is a duration such as 7d or 12h, not {text[:40]}."
        ) from exc


class _Backtest:
    def __init__(self, page: Page, question: _Question) -> None:
        self._page = page
        self._question = question
        self._versions: dict[int, Version | str] = {}

    async def report(self) -> Tally[_Differing]:
        """Judge the runs that are asked for, the newest first, for as long as a page may take."""
        report: Tally[_Differing] = Tally(kept=_KEPT)
        ends = asyncio.get_running_loop().time() + _PATIENCE.total_seconds()
        batch: list[Run] = []
        number = 0
        async for run in self._runs():
            if self._question.from_version not in (0, run.definition_version):
                report.of_other_versions += 1
                continue
            if number == self._question.limit or asyncio.get_running_loop().time() > ends:
                report.more = True
                break
            number += 1
            batch.append(run)
            if len(batch) == _AT_ONCE:
                await self._judge(batch, report)
                batch = []
        await self._judge(batch, report)
        return report

    async def _runs(self) -> AsyncIterator[Run]:
        question, ledger = self._question, self._page.ledger
        request = ListRunsRequest(
            namespace=self._page.namespace, definition_id=question.definition_id, page_size=100
        )
        while True:
            found = await ledger.ask(ledger.runs.ListRuns(request))
            for run in found.runs:
                recorded_at = run.recorded_at.ToDatetime(UTC)
                if recorded_at < question.since - _RECORDED_AT_ONCE:
                    return
                if recorded_at >= question.since:
                    yield run
            if not found.next_page_token:
                return
            request.page_token = found.next_page_token

    async def _judge(self, runs: list[Run], report: Tally[_Differing]) -> None:
        records = await asyncio.gather(*(self._record(run) for run in runs))
        for run, record in zip(runs, records, strict=True):
            own = await self._own(run.definition_version)
            _count(run, await self._judged(record, own), report)

    async def _record(self, run: Run) -> GetRunResponse | None:
        ledger = self._page.ledger
        request = GetRunRequest(namespace=self._page.namespace, run_id=run.run_id)
        try:
            return await ledger.ask(ledger.runs.GetRun(request))
        except NotFoundError:
            return None

    async def _own(self, number: int) -> Version | str:
        """Return the version that decided a run, or why there is none to be had."""
        if number not in self._versions:
            try:
                found = await versions.stored(self._page, self._question.definition_id, number)
                self._versions[number] = await versions.compiled(found)
            except (NotFoundError, BadRequestError) as exc:
                self._versions[number] = str(exc)
        return self._versions[number]

    async def _judged(self, record: GetRunResponse | None, own: Version | str) -> Judged:
        if record is None:
            return Judged(Verdict.NOT_COMPARABLE, "it is gone")
        if isinstance(own, str):
            return Judged(Verdict.NOT_COMPARABLE, own)
        past = PastRun.of(record)
        # One at a time, and beside the loop that serves the other visitors.
        return await asyncio.to_thread(backtests.judge, past, own=own, other=self._question.to)


def _count(run: Run, judged: Judged, report: Tally[_Differing]) -> None:
    recorded_at = run.recorded_at.ToDatetime(UTC)
    report.add(
        report.looked_at,
        judged,
        lambda: _Differing(run.run_id, run.definition_version, recorded_at, judged),
    )


ROUTES = (get("definition/backtest", show),)
