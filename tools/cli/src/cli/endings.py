"""How runs and tasks stand, and who ended them and why, in parts of sentences."""

from cli.output import Document

_ENDED = {
    "completed": "completed",
    "failed": "failed",
    "cancelled": "was cancelled",
    "expired": "expired undone",
}


def of_run(run: Document) -> str:
    """Say how a run stands."""
    match run["status"]:
        case "running":
            return "The run goes on: automated tasks are open."
        case "waiting":
            return "The run waits: only people's tasks are open."
        case _:
            because = f": {run['close_reason']}" if run["close_reason"] else ""
            return f"The run {_ended(run)}{because}{why(run)}."


def of_task(task: Document) -> str:
    """Say how a task stands, after `it`."""
    if task["status"] != "open":
        return f"{_ended(task)}{why(task)}"
    claimed = f", claimed by {task['claimed_by']}" if task["claimed_by"] else ""
    return f"is open{claimed}"


def why(document: Document) -> str:
    """Say what a run or a task failed of, where it did."""
    failure = document["failure"]
    return f": {failure['type']}: {failure['message']}" if failure else ""


def _ended(document: Document) -> str:
    status = document["status"]
    at = f" {document['closed_at']}" if document["closed_at"] else ""
    by = f" by {document['closed_by']}" if document["closed_by"] else ""
    return f"{_ENDED.get(status, status)}{at}{by}"
