"""A handler that says in every way what it was given: as a heartbeat, an answer and a failure."""

from pydantic import BaseModel

import sdk


class Given(BaseModel):
    """What the definition passes on."""

    text: str
    fails: bool


@sdk.task_handler("quote")
async def quote(given: Given, context: sdk.TaskContext) -> dict[str, str]:
    """Answer with what was given, or fail with it: first to be tried again, then for good."""
    context.heartbeat(given.text)
    if not given.fails:
        return {"quoted": given.text}
    if context.attempt == 1:
        raise ValueError(f"{given.text} is not taken at first")
    raise sdk.PermanentError(f"{given.text} is not taken at all") from KeyError(given.text)


if __name__ == "__main__":
    sdk.run_worker(handlers=[quote], task_queue="quoting-tq")
