"""The handler worker of the end-to-end tests: packs a line, which is quickly done."""

from pydantic import BaseModel

import sdk


class Line(BaseModel):
    """A line of an order."""

    line: str
    order: str


@sdk.task_handler("pack")
async def pack(line: Line, context: sdk.TaskContext) -> dict[str, str]:
    """Pack a line."""
    return {"packed": line.line, "key": context.idempotency_key}


if __name__ == "__main__":
    sdk.run_worker(handlers=[pack], task_queue="e2e-handlers-tq")
