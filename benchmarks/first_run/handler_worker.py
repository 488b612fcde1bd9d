"""Backbone's side of the comparison: a handler that does nothing."""

from pydantic import BaseModel

import sdk


class Amount(BaseModel):
    """The task's input."""

    amount: int


@sdk.task_handler("nothing")
async def nothing(_amount: Amount, _context: sdk.TaskContext) -> None:
    """Do nothing."""


if __name__ == "__main__":
    sdk.run_worker(handlers=[nothing], task_queue="bench-handlers-tq")
