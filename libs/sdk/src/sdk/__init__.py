"""What users of Backbone import: handlers of tasks, a worker to serve them, and publishing.

@sdk.task_handler("send_reminder")
async def send_reminder(reminder: Reminder, context: sdk.TaskContext) -> Sent: ...

sdk.run_worker(handlers=[send_reminder], task_queue="notifications-tq")

Consuming with exactly-once effect is `sdk.inbox`, which needs the extra `sdk[inbox]`.
"""

from contracts.runs import FailureNotice
from sdk.errors import (
    HandlerDefinitionError,
    InvalidInputError,
    OutputError,
    PermanentError,
    RetryLaterError,
)
from sdk.handlers import Handler, TaskContext, task_handler
from sdk.publish import EventPublisher
from sdk.settings import WorkerSettings
from sdk.worker import TaskWorker, run_worker

__all__ = [
    "EventPublisher",
    "FailureNotice",
    "Handler",
    "HandlerDefinitionError",
    "InvalidInputError",
    "OutputError",
    "PermanentError",
    "RetryLaterError",
    "TaskContext",
    "TaskWorker",
    "WorkerSettings",
    "run_worker",
    "task_handler",
]
