"""Reads the runs of a chain of causes from the ledger."""

import asyncio
import json
from collections.abc import Iterable, Sequence

from backbone.ledger.v1 import ledger_pb2
from console.adapters.areas import Page
from console.adapters.rendering import word
from console.domain.chains import Run, Task
from contracts.triggers import Trigger

MOST = 50
"""Runs of one chain that are told."""
_AT_ONCE = 8


async def around(page: Page, found: ledger_pb2.GetRunResponse) -> tuple[list[Run], bool]:
    """Return the newest runs of the chain of a run, and whether there are more.

    Of a long chain too the run itself is among them.
    """
    runs, more = await _newest_of(page, correlation_of(found))
    if found.run.run_id not in {one.run_id for one in runs}:
        runs.append(_as_run(found))
    return runs, more


async def _newest_of(page: Page, correlation_id: str) -> tuple[list[Run], bool]:
    found = await page.ledger.ask(
        page.ledger.runs.ListRuns(
            ledger_pb2.ListRunsRequest(
                namespace=page.namespace, correlation_id=correlation_id, page_size=MOST
            )
        )
    )
    in_full = await in_full_of(page, (run.run_id for run in reversed(found.runs)))
    return [_as_run(one) for one in in_full], bool(found.next_page_token)


async def in_full_of(page: Page, run_ids: Iterable[str]) -> Sequence[ledger_pb2.GetRunResponse]:
    """Return runs with all that was recorded of them, a few asked for at a time."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(run_id: str) -> ledger_pb2.GetRunResponse:
        async with room:
            return await page.ledger.ask(
                page.ledger.runs.GetRun(
                    ledger_pb2.GetRunRequest(namespace=page.namespace, run_id=run_id)
                )
            )

    return await asyncio.gather(*(one(run_id) for run_id in run_ids))


def _as_run(found: ledger_pb2.GetRunResponse) -> Run:
    return Run(
        run_id=found.run.run_id,
        title=found.run.definition_id,
        status=word(found.run, "status"),
        trigger=json.loads(found.trigger) if found.trigger else {},
        tasks=[
            Task(
                task_id=task.task_id,
                title=task.title or task.handler or task.rule,
                status=word(task, "status"),
            )
            for task in found.tasks
        ],
    )


def correlation_of(found: ledger_pb2.GetRunResponse) -> str:
    """Return the id of the chain that a run belongs to; that of the run when its cause is gone."""
    if not found.trigger:
        return found.run.run_id
    trigger = Trigger.model_validate_json(found.trigger)
    return trigger.chain_of(found.run.run_id).correlation_id
