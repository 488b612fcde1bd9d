"""The edge's answers: rows as protobuf messages."""

from collections.abc import Mapping
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from backbone.ledger.v1 import ledger_pb2 as pb
from contracts.decisions import RunStatus, TaskStatus
from contracts.runs import RecordOutcome, TaskFailure
from ledger.domain.runs import TaskType
from ledger.ports.overview import OpenTasks, Overview
from ledger.ports.runs import FailureCallRow, RunRetryRow, RunRow
from ledger.ports.schedules import DueTimeRow
from ledger.ports.tasks import TaskChangeRow, TaskRow
from ledger.service.runs import LastRun
from rules.policy import DueOutcome

RUN_STATUS = {
    RunStatus.RUNNING: pb.RUN_STATUS_RUNNING,
    RunStatus.WAITING: pb.RUN_STATUS_WAITING,
    RunStatus.COMPLETED: pb.RUN_STATUS_COMPLETED,
    RunStatus.FAILED: pb.RUN_STATUS_FAILED,
    RunStatus.CANCELLED: pb.RUN_STATUS_CANCELLED,
}
TASK_STATUS = {
    TaskStatus.OPEN: pb.TASK_STATUS_OPEN,
    TaskStatus.COMPLETED: pb.TASK_STATUS_COMPLETED,
    TaskStatus.FAILED: pb.TASK_STATUS_FAILED,
    TaskStatus.CANCELLED: pb.TASK_STATUS_CANCELLED,
    TaskStatus.EXPIRED: pb.TASK_STATUS_EXPIRED,
}
TASK_TYPE: dict[TaskType, pb.TaskType.ValueType] = {
    "automated": pb.TASK_TYPE_AUTOMATED,
    "human": pb.TASK_TYPE_HUMAN,
}
RECORD_OUTCOME = {
    RecordOutcome.RECORDED: pb.RECORD_OUTCOME_RECORDED,
    RecordOutcome.REPEATED: pb.RECORD_OUTCOME_REPEATED,
    RecordOutcome.DUPLICATE: pb.RECORD_OUTCOME_DUPLICATE,
}
DUE_OUTCOME = {
    DueOutcome.RUN: pb.DUE_OUTCOME_RUN,
    DueOutcome.SKIPPED: pb.DUE_OUTCOME_SKIPPED,
    DueOutcome.COALESCED: pb.DUE_OUTCOME_COALESCED,
    DueOutcome.DROPPED: pb.DUE_OUTCOME_DROPPED,
    DueOutcome.OVERLAPPED: pb.DUE_OUTCOME_OVERLAPPED,
    DueOutcome.WAITING: pb.DUE_OUTCOME_WAITING,
    DueOutcome.DISABLED: pb.DUE_OUTCOME_DISABLED,
}


def run(row: RunRow) -> pb.Run:
    """Return the message of a run."""
    return pb.Run(
        namespace=row.namespace,
        run_id=row.run_id,
        definition_id=row.definition_id,
        definition_version=row.definition_version,
        trigger_kind=row.trigger_kind,
        trigger_key=row.trigger_key,
        trigger_names=row.trigger_names,
        status=RUN_STATUS[row.status],
        recorded_at=timestamp(row.recorded_at),
        closed_at=timestamp(row.closed_at),
        tasks=row.tasks,
        workflow_run_id=row.workflow_run_id,
        failure=_failure(row.failure),
        closed_by=row.closed_by or "",
        close_reason=row.close_reason or "",
    )


def failure_call(row: FailureCallRow) -> pb.FailureCall:
    """Return the message of a call of a failure handler."""
    return pb.FailureCall(
        call_id=str(row.call_id),
        task_id=str(row.task_id or ""),
        handler=row.handler,
        handled_at=timestamp(row.handled_at),
        failure=_failure(row.failure),
    )


def run_retry(row: RunRetryRow) -> pb.RunRetry:
    """Return the message of a run that decided another one again."""
    return pb.RunRetry(
        run_id=row.run_id,
        retried_run_id=row.retried_run_id,
        actor=row.actor,
        reason=row.reason,
        retried_at=timestamp(row.retried_at),
    )


def last_run(found: LastRun | None) -> pb.GetLastRunResponse:
    """Return the answer that tells a definition's newest run."""
    if found is None:
        return pb.GetLastRunResponse()
    trigger = found.trigger
    window = None if trigger is None else trigger.window
    return pb.GetLastRunResponse(
        run=run(found.run),
        scheduled_for=timestamp(None if trigger is None else trigger.scheduled_for),
        window_start=timestamp(None if window is None else window.start),
        window_end=timestamp(None if window is None else window.end),
    )


def task(row: TaskRow) -> pb.Task:
    """Return the message of a task."""
    return pb.Task(
        namespace=row.namespace,
        task_id=str(row.task_id),
        run_id=row.run_id,
        definition_id=row.definition_id,
        rule=row.rule,
        key=row.key,
        type=TASK_TYPE[row.type],
        status=TASK_STATUS[row.status],
        handler=row.handler or "",
        title=row.title or "",
        assigned_users=row.assigned_users,
        assigned_groups=row.assigned_groups,
        created_at=timestamp(row.created_at),
        due_at=timestamp(row.due_at),
        closed_at=timestamp(row.closed_at),
        closed_by=row.closed_by or "",
        input=row.input,
        form=row.form or b"",
        output=row.output or b"",
        failure=_failure(row.failure),
        version=row.version,
        claimed_by=row.claimed_by or "",
        claimed_at=timestamp(row.claimed_at),
        remind_at=[_timestamp(at) for at in row.remind_at],
        escalates_at=timestamp(row.escalates_at),
        expires_at=timestamp(row.expires_at),
        generation=row.generation,
    )


def task_change(row: TaskChangeRow) -> pb.TaskChange:
    """Return the message of what happened to a task."""
    return pb.TaskChange(
        event_type=row.event_type,
        event_id=str(row.event_id),
        occurred_at=timestamp(row.occurred_at),
        actor=row.actor or "",
        reason=row.reason or "",
        comment=row.comment or "",
        assigned_users=row.assigned_users,
        assigned_groups=row.assigned_groups,
    )


def due_time(row: DueTimeRow) -> pb.DueTime:
    """Return the message of a due time."""
    return pb.DueTime(
        due_at=timestamp(row.due_at),
        trigger_names=row.names,
        outcome=DUE_OUTCOME[row.outcome],
        reason=row.reason,
        run_id=row.run_id or "",
        decided_at=timestamp(row.decided_at),
        acknowledged_at=timestamp(row.acknowledged_at),
        last_due_at=timestamp(row.last_due_at),
        count=row.count,
    )


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return the message of a time."""
    return None if moment is None else _timestamp(moment)


def _timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def _failure(failure: TaskFailure | None) -> pb.Failure | None:
    return None if failure is None else pb.Failure(type=failure.type, message=failure.message)


def overview(found: Overview) -> pb.GetOverviewResponse:
    """Return the figures of a namespace."""
    response = pb.GetOverviewResponse(
        recent_runs=_counted(found.recent_runs),
        more_recent_runs=found.more_recent_runs,
        open_runs=found.open_runs,
        human_tasks=_open_tasks(found.human_tasks),
        automated_tasks=_open_tasks(found.automated_tasks),
        failed_runs=found.failed_runs,
        failed_tasks=found.failed_tasks,
        overdue_definitions=found.overdue_definitions,
    )
    response.at.FromDatetime(found.at)
    response.since.FromDatetime(found.since)
    for reason, starts, oldest_at in found.pending_starts:
        counted = response.pending_starts.add(reason=reason, starts=starts)
        counted.oldest_at.FromDatetime(oldest_at)
    return response


def _counted(runs: Mapping[RunStatus, int]) -> list[pb.RunCount]:
    return [pb.RunCount(status=RUN_STATUS[status], runs=number) for status, number in runs.items()]


def _open_tasks(found: OpenTasks) -> pb.OpenTasks:
    message = pb.OpenTasks(tasks=found.tasks, unclaimed=found.unclaimed, overdue=found.overdue)
    if found.oldest_at is not None:
        message.oldest_at.FromDatetime(found.oldest_at)
    return message
