"""What Temporal holds of a Schedule, as facts that can be compared: the same for the same meaning.

The server fills in what was left out, and lists less than it holds. Both are levelled here.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
from temporalio.api.schedule.v1 import (
    IntervalSpec,
    Range,
    Schedule,
    ScheduleSpec,
    StructuredCalendarSpec,
)
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo

from contracts import identifiers

# A list holds no more of a spec's calendars and intervals than that.
_LISTED = 10
_TOLD = frozenset(
    {
        *("workflow_id", "workflow_type", "task_queue", "input", "workflow_execution_timeout"),
        *("workflow_run_timeout", "workflow_task_timeout"),
    }
)
# Of an action, what the server says when nobody said anything.
_UNSAID = frozenset({"workflow_id_reuse_policy"})


def of_schedule(schedule: Schedule) -> dict[str, str]:
    """Return every fact of a Schedule by its path; what is at its default is left out."""
    state, policies = schedule.state, schedule.policies
    facts = {
        **_of_spec(schedule.spec),
        "state.paused": str(state.paused).lower(),
        "state.note": state.notes,
        "state.remaining_actions": str(state.remaining_actions) if state.limited_actions else "",
        "policies.overlap": _overlap(policies.overlap_policy),
        "policies.catchup_window": _seconds(policies.catchup_window),
        "policies.pause_on_failure": str(policies.pause_on_failure).lower(),
        "policies.keep_original_workflow_id": str(policies.keep_original_workflow_id).lower(),
        **_of_action(schedule.action.start_workflow),
    }
    return {path: value for path, value in facts.items() if value not in {"", "[]", "0s"}}


def seal(fingerprint: str, workflow: str, spec: ScheduleSpec, *, paused: bool) -> str:
    """Return a hash over what a list tells of a Schedule."""
    facts = _of_spec(spec, listed=_LISTED)
    return identifiers.short_hash(fingerprint, workflow, str(paused), repr(sorted(facts.items())))


def _of_spec(spec: ScheduleSpec, *, listed: int | None = None) -> dict[str, str]:
    return {
        "spec.calendars": _all(_calendar(part) for part in spec.structured_calendar[:listed]),
        "spec.cron": _all(spec.cron_string),
        "spec.intervals": _all(_interval(part) for part in spec.interval[:listed]),
        "spec.exclusions": _all(
            _calendar(part) for part in spec.exclude_structured_calendar[:listed]
        ),
        "spec.start": _moment(spec, "start_time"),
        "spec.end": _moment(spec, "end_time"),
        "spec.jitter": _seconds(spec.jitter),
        "spec.timezone": spec.timezone_name or "UTC",
    }


def _of_action(action: NewWorkflowExecutionInfo) -> dict[str, str]:
    others = sorted(
        (field.name, str(value).strip())
        for field, value in action.ListFields()
        if field.name not in _TOLD | _UNSAID and str(value).strip()
    )
    return {
        "action.workflow": action.workflow_type.name,
        "action.workflow_id": action.workflow_id,
        "action.task_queue": action.task_queue.name,
        "action.input": _all(_payload(payload) for payload in action.input.payloads),
        "action.execution_timeout": _seconds(action.workflow_execution_timeout),
        "action.run_timeout": _seconds(action.workflow_run_timeout),
        "action.task_timeout": _seconds(action.workflow_task_timeout),
        **{f"action.{name}": " ".join(value.split()) for name, value in others},
    }


def _all(parts: Iterable[str]) -> str:
    return f"[{'; '.join(parts)}]"


def _calendar(calendar: StructuredCalendarSpec) -> str:
    fields: Mapping[str, Sequence[Range]] = {
        "second": calendar.second,
        "minute": calendar.minute,
        "hour": calendar.hour,
        "day": calendar.day_of_month,
        "month": calendar.month,
        "year": calendar.year,
        "weekday": calendar.day_of_week,
    }
    return " ".join(
        f"{name}={','.join(_range(part) for part in ranges)}"
        for name, ranges in fields.items()
        if ranges
    )


def _range(part: Range) -> str:
    return f"{part.start}-{max(part.start, part.end)}/{part.step or 1}"


def _interval(part: IntervalSpec) -> str:
    return f"every {_seconds(part.interval)} from {_seconds(part.phase)}"


def _payload(payload: Payload) -> str:
    encoding = payload.metadata.get("encoding", b"").decode(errors="replace")
    if encoding.startswith("json/"):
        return payload.data.decode(errors="replace")
    # Encrypted or binary: whether it is the same is all that can be told.
    return f"{encoding} sha256:{hashlib.sha256(payload.data).hexdigest()}"


def _seconds(duration: Message) -> str:
    return f"{duration.ToTimedelta().total_seconds():g}s"  # type: ignore[attr-defined] # a Duration


def _moment(spec: ScheduleSpec, field: str) -> str:
    return getattr(spec, field).ToJsonString() if spec.HasField(field) else ""  # type: ignore[arg-type]


def _overlap(policy: "ScheduleOverlapPolicy.ValueType") -> str:
    prefix = "SCHEDULE_OVERLAP_POLICY_"
    try:
        return ScheduleOverlapPolicy.Name(policy).removeprefix(prefix).lower()
    except ValueError:
        return str(policy)
