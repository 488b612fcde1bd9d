"""The handler worker of the end-to-end tests: packs lines, and is told of failures."""

import asyncio
from collections import defaultdict
from pathlib import Path

from pydantic import BaseModel

import sdk


class Line(BaseModel):
    """A line of an order."""

    line: str
    order: str


@sdk.task_handler("pack")
async def pack(line: Line, context: sdk.TaskContext) -> dict[str, str]:
    """Pack a line, unless it is torn and the file that says that it is mended is not there."""
    if line.line == "torn" and not await asyncio.to_thread(Path(line.order).is_file):
        raise sdk.PermanentError("torn lines cannot be packed")
    return {"packed": line.line, "key": context.idempotency_key}


class Meeting(BaseModel):
    """Where two tasks meet."""

    place: str


_meetings: dict[str, asyncio.Barrier] = defaultdict(lambda: asyncio.Barrier(2))


@sdk.task_handler("meet")
async def meet(meeting: Meeting, context: sdk.TaskContext) -> None:
    """End when the other task of this place does."""
    await _meetings[meeting.place].wait()
    context.logger.info("met", place=meeting.place)


@sdk.task_handler("tell")
async def tell(notice: sdk.FailureNotice, context: sdk.TaskContext) -> None:
    """Be told of a failure."""
    context.logger.info("told_of_failure", task=str(notice.task_id), failure=notice.failure.type)


if __name__ == "__main__":
    sdk.run_worker(handlers=[pack, meet, tell], task_queue="e2e-handlers-tq")
