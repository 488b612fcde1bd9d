"""Tasks: the list of them, and each with why it is there and what happened to it."""

import json
from typing import Any

from starlette.responses import Response

from backbone.ledger.v1 import ledger_pb2
from console.adapters import chains
from console.adapters.areas import Area, Page, get
from console.adapters.pages import histories
from console.domain import rules
from console.domain.chains import Picture
from console.errors import BadRequestError

STATUSES = ("open", "completed", "failed", "cancelled", "expired")
TYPES = ("human", "automated")
_PAGE = 50


async def list_(page: Page) -> Response:
    """List tasks, the newest first."""
    status, type_ = page.query("status", limit=20), page.query("type", limit=20)
    if status not in ("", *STATUSES) or type_ not in ("", *TYPES):
        raise BadRequestError(
            f"A task is {', '.join(STATUSES)}, and of the type {' or '.join(TYPES)}."
        )
    found = await page.ledger.ask(
        page.ledger.tasks.ListTasks(
            ledger_pb2.ListTasksRequest(
                namespace=page.namespace,
                page_size=_PAGE,
                page_token=page.query("page"),
                status=ledger_pb2.TaskStatus.Value(
                    f"TASK_STATUS_{status.upper() or 'UNSPECIFIED'}"
                ),
                type=ledger_pb2.TaskType.Value(f"TASK_TYPE_{type_.upper() or 'UNSPECIFIED'}"),
            )
        )
    )
    return page.render(
        "tasks/list.html",
        found=found,
        statuses=STATUSES,
        types=TYPES,
        status=status,
        type_=type_,
    )


async def show(page: Page) -> Response:
    """Show a task."""
    task_id = page.query("id", required=True, limit=36)
    found = await page.ledger.ask(
        page.ledger.tasks.GetTask(
            ledger_pb2.GetTaskRequest(namespace=page.namespace, task_id=task_id)
        )
    )
    task = found.task
    (run,) = await chains.in_full_of(page, [task.run_id])
    decision: dict[str, Any] = json.loads(run.decision) if run.decision else {}
    runs, more_runs = await chains.around(page, run)
    is_human = task.type == ledger_pb2.TASK_TYPE_HUMAN
    return page.render(
        "tasks/task.html",
        task=task,
        run=run.run,
        ruling=next((one for one in rules.rulings(decision, None) if one.rule == task.rule), None),
        changes=await histories.of_task(page, task_id) if is_human else None,
        nodes=Picture(runs).of_run(task.run_id),
        more=more_runs,
    )


AREA = Area("tasks", [get("tasks", list_), get("task", show)], title="Tasks")
