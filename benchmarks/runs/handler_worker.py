"""Backbone's side of the comparison: a handler that does nothing."""

from pydantic import BaseModel

import sdk


class Item(BaseModel):
    """The task's input."""

    number: int


@sdk.task_handler("nothing")
async def nothing(_item: Item, _context: sdk.TaskContext) -> None:
    """Do nothing."""


if __name__ == "__main__":
    sdk.run_worker(handlers=[nothing], task_queue="bench-handlers-tq")
