"""What the use cases give, as protobuf messages."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from backbone.registry.v1 import registry_pb2 as pb
from contracts import canonical
from contracts.resources import ChangeKind, HeldEvents, ResourceKind, ResourceState
from registry.domain.differences import Difference, DifferenceKind
from registry.domain.due_changes import DueChange
from registry.domain.mending import DriftKind
from registry.domain.planning import Action
from registry.domain.resources import Change, Resource
from registry.errors import Located
from registry.service.drift import DriftReport
from registry.service.outcomes import (
    ApplyOutcome,
    Bookmark,
    Diff,
    ResultRow,
    SnapshotStart,
)

T = TypeVar("T")

MAX_ANSWER_BYTES = 3 * 1024 * 1024
"""Of a whole answer: gRPC takes 4 MiB."""

_MAX_TEXT = 1000
_MAX_NAME = 300

KINDS = {
    ResourceKind.ACTIVITY_DEFINITION: pb.RESOURCE_KIND_ACTIVITY_DEFINITION,
    ResourceKind.EVENT_TYPE: pb.RESOURCE_KIND_EVENT_TYPE,
    ResourceKind.PRODUCER: pb.RESOURCE_KIND_PRODUCER,
}
_STATES = {
    ResourceState.ACTIVE: pb.RESOURCE_STATE_ACTIVE,
    ResourceState.DISABLED: pb.RESOURCE_STATE_DISABLED,
    ResourceState.RETIRED: pb.RESOURCE_STATE_RETIRED,
}
HELD_OF: dict["pb.HeldEvents.ValueType", HeldEvents] = {
    pb.HELD_EVENTS_START: HeldEvents.START,
    pb.HELD_EVENTS_COMPRESS: HeldEvents.COMPRESS,
    pb.HELD_EVENTS_DISCARD: HeldEvents.DISCARD,
}
_HELD = {held: number for number, held in HELD_OF.items()}
_CHANGES = {
    ChangeKind.APPLIED: pb.CHANGE_KIND_APPLIED,
    ChangeKind.ACTIVATED: pb.CHANGE_KIND_ACTIVATED,
    ChangeKind.ENABLED: pb.CHANGE_KIND_ENABLED,
    ChangeKind.DISABLED: pb.CHANGE_KIND_DISABLED,
    ChangeKind.RETIRED: pb.CHANGE_KIND_RETIRED,
}
_ACTIONS = {
    Action.UNCHANGED: pb.APPLY_ACTION_UNCHANGED,
    Action.CREATE: pb.APPLY_ACTION_CREATE,
    Action.UPDATE: pb.APPLY_ACTION_UPDATE,
    Action.RESTORE: pb.APPLY_ACTION_RESTORE,
    Action.PRUNE: pb.APPLY_ACTION_PRUNE,
}
_DIFFERENCES = {
    DifferenceKind.ADDED: pb.DIFFERENCE_KIND_ADDED,
    DifferenceKind.REMOVED: pb.DIFFERENCE_KIND_REMOVED,
    DifferenceKind.CHANGED: pb.DIFFERENCE_KIND_CHANGED,
}
_DRIFTS = {
    DriftKind.MISSING: pb.DRIFT_KIND_MISSING,
    DriftKind.DIFFERENT: pb.DRIFT_KIND_DIFFERENT,
    DriftKind.UNEXPECTED: pb.DRIFT_KIND_UNEXPECTED,
    DriftKind.REFUSED: pb.DRIFT_KIND_REFUSED,
    DriftKind.PENDING: pb.DRIFT_KIND_PENDING,
}


def resource(source: Resource, *, with_content: bool = True) -> pb.Resource:
    """Return a version with the state that its resource is in."""
    latest = change(source.latest)
    return pb.Resource(
        namespace=source.namespace,
        kind=latest.kind,
        resource_id=source.key.resource_id,
        version=source.version,
        content=source.content if with_content else b"",
        content_sha256=source.content_sha256,
        state=latest.state,
        etag=source.etag,
        applied=latest if source.applied is source.latest else change(source.applied),
        latest=latest,
        current_version=source.latest.version,
    )


def change(source: Change) -> pb.Change:
    """Return something that happened to a resource."""
    return pb.Change(
        revision=source.revision,
        kind=KINDS[source.key.kind],
        resource_id=source.key.resource_id,
        change=_CHANGES[source.change],
        version=source.version,
        state=_STATES[source.state],
        at=timestamp(source.at),
        actor=source.actor,
        reason=source.reason,
        held=_HELD[source.held] if source.held else pb.HELD_EVENTS_UNSPECIFIED,
    )


def timestamp(source: datetime) -> Timestamp:
    """Return an aware time."""
    seconds = int(source.replace(microsecond=0).timestamp())
    return Timestamp(seconds=seconds, nanos=source.microsecond * 1000)


def difference(source: Difference) -> pb.Difference:
    """Return one difference in meaning."""
    return pb.Difference(
        kind=_DIFFERENCES[source.kind],
        path=source.path,
        summary=source.summary,
        before=_json(source.before),
        after=_json(source.after),
    )


def problem(source: Located) -> pb.Problem:
    """Return one thing that is wrong with a document."""
    return pb.Problem(
        document=cut(source.document, _MAX_TEXT),
        path=cut(source.path, _MAX_TEXT),
        line=source.line,
        column=source.column,
        message=cut(source.message, _MAX_TEXT),
    )


def apply_response(outcome: ApplyOutcome) -> pb.ApplyResourcesResponse:
    """Return what an apply came to.

    What was stored cannot be taken back for want of room: details that do not fit are left out,
    the largest first.
    """
    response = pb.ApplyResourcesResponse(
        results=[_result(row) for row in outcome.results],
        plan_sha256=outcome.plan_sha256,
        revision=outcome.revision,
    )
    response.problems.extend(fitting(problem(item) for item in outcome.problems))
    for shorten in (_without_values, _without_details, _without_reasons):
        if response.ByteSize() <= MAX_ANSWER_BYTES:
            break
        for result in response.results:
            shorten(result)
    return response


def diff_response(diff: Diff) -> pb.DiffVersionsResponse:
    """Return what differs; without the values where those do not fit."""
    response = pb.DiffVersionsResponse(
        from_version=diff.from_version,
        to_version=diff.to_version,
        differences=[difference(item) for item in diff.differences],
    )
    if response.ByteSize() > MAX_ANSWER_BYTES:
        _without_values(response)
    return response


def get_response(source: Resource) -> pb.GetResourceResponse:
    """Return a resource that was asked for."""
    return pb.GetResourceResponse(resource=resource(source))


def watch_response(source: Resource) -> pb.WatchResourcesResponse:
    """Return a resource that a watch tells."""
    return pb.WatchResourcesResponse(resource=resource(source))


def sign(item: SnapshotStart | Bookmark) -> pb.WatchResourcesResponse:
    """Return what a watch tells between resources."""
    if isinstance(item, Bookmark):
        return pb.WatchResourcesResponse(bookmark=pb.Bookmark(revision=item.revision))
    return pb.WatchResourcesResponse(snapshot_start=pb.SnapshotStart())


def drift_response(report: DriftReport) -> pb.GetDriftResponse:
    """Return a drift report; where it does not fit, its last line says how much is left out."""
    drifts = fitting(
        pb.Drift(
            definition_id=drift.definition_id,
            kind=_DRIFTS[drift.kind],
            detail=cut(drift.detail, _MAX_TEXT),
            revision=drift.revision,
            attempted_at=None if drift.attempted_at is None else timestamp(drift.attempted_at),
        )
        for drift in report.drifts
    )
    if left_out := len(report.drifts) - len(drifts):
        drifts.append(pb.Drift(kind=drifts[-1].kind, detail=f"{left_out} more definitions drift"))
    return pb.GetDriftResponse(drifts=drifts, scheduled_definitions=report.scheduled_definitions)


def fitting(items: Iterable[T], *, limit: int = MAX_ANSWER_BYTES) -> list[T]:
    """Return the first messages that have no more than `limit` bytes together."""
    taken: list[T] = []
    size = 0
    for item in items:
        size += item.ByteSize() + 8  # type: ignore[attr-defined] # a message, and its frame
        if size > limit:
            break
        taken.append(item)
    return taken


def cut(text: str, length: int) -> str:
    """Return text of at most `length` characters, marked where it was cut."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _result(row: ResultRow) -> pb.ApplyResult:
    return pb.ApplyResult(
        document=cut(row.document, _MAX_NAME),
        action=_ACTIONS[row.action],
        resource=resource(row.resource, with_content=False),
        differences=[difference(item) for item in row.differences],
        schedules=[_schedule_change(item) for item in row.schedules],
    )


def _schedule_change(source: DueChange) -> pb.ScheduleChange:
    return pb.ScheduleChange(
        kind=_DIFFERENCES[source.kind],
        trigger=source.trigger,
        due_before=_timestamps(source.before),
        due_after=_timestamps(source.after),
    )


def _timestamps(times: Sequence[datetime]) -> list[Timestamp]:
    return [timestamp(time) for time in times]


def _without_values(result: pb.ApplyResult | pb.DiffVersionsResponse) -> None:
    for item in result.differences:
        item.ClearField("before")
        item.ClearField("after")


def _without_details(result: pb.ApplyResult) -> None:
    result.ClearField("differences")
    result.ClearField("schedules")


def _without_reasons(result: pb.ApplyResult) -> None:
    result.resource.applied.ClearField("reason")
    result.resource.latest.ClearField("reason")


def _json(value: Any) -> bytes:
    return b"" if value is None else canonical.render(value)
