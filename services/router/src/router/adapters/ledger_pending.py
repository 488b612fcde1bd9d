"""What waits, in the ledger: what waits of a key, what is due, and what became of it."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import grpc

from backbone.ledger.v1 import routing_pb2 as pb
from backbone.ledger.v1 import routing_pb2_grpc, switches_pb2
from contracts.envelope import Envelope
from contracts.routing import PendingOutcome
from contracts.switches import KillSwitch, Point
from router.domain.decisions import Application
from router.domain.pending import Confirmation, DueStart, Left
from router.domain.waiting import Wait
from router.errors import TransientError
from router.ports import Claim
from runtime.faultpoints import faultpoint

_OUTCOMES: Mapping[PendingOutcome, pb.RoutingOutcome.ValueType] = {
    PendingOutcome.STARTED: pb.ROUTING_OUTCOME_STARTED,
    PendingOutcome.SIGNALLED: pb.ROUTING_OUTCOME_SIGNALLED,
    PendingOutcome.DUPLICATE: pb.ROUTING_OUTCOME_DUPLICATE,
    PendingOutcome.FILTERED: pb.ROUTING_OUTCOME_FILTERED,
    PendingOutcome.ERRORED: pb.ROUTING_OUTCOME_ERRORED,
    PendingOutcome.DISABLED: pb.ROUTING_OUTCOME_DISABLED,
    PendingOutcome.HELD: pb.ROUTING_OUTCOME_HELD,
    PendingOutcome.RETURNED: pb.ROUTING_OUTCOME_UNSPECIFIED,
}
_POINTS: Mapping[int, Point] = {
    switches_pb2.KILL_SWITCH_POINT_INGRESS: Point.INGRESS,
    switches_pb2.KILL_SWITCH_POINT_RUN: Point.RUN,
    switches_pb2.KILL_SWITCH_POINT_EFFECT: Point.EFFECT,
}
MAX_KEYS = 5000


class LedgerPendingStarts:
    """`ports.PendingStarts` in the ledger; `holder` names this process in its log."""

    def __init__(self, channel: grpc.aio.Channel, *, holder: str, timeout: timedelta) -> None:
        # Its async form is told by the channel; the stubs' overloads need the annotation.
        self._stub: routing_pb2_grpc.RoutingServiceAsyncStub = routing_pb2_grpc.RoutingServiceStub(
            channel
        )
        self._holder = holder
        self._timeout_s = timeout.total_seconds()

    async def find_waiting(
        self, namespace: str, keys: Sequence[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """Return the (definition, key) pairs of which something waits."""
        found: set[tuple[str, str]] = set()
        for first in range(0, len(keys), MAX_KEYS):
            part = keys[first : first + MAX_KEYS]
            request = pb.FindWaitingRequest(
                namespace=namespace,
                keys=[pb.WaitingKey(definition_id=one, key=key) for one, key in part],
            )
            try:
                faultpoint("router.before_find_waiting")
                response = await self._stub.FindWaiting(request, timeout=self._timeout_s)
                faultpoint("router.after_find_waiting")
            except grpc.aio.AioRpcError as exc:
                raise _away(exc) from exc
            found.update(part[index] for index in response.waiting)
        return found

    async def claim(self, namespace: str, *, limit: int, lease: timedelta) -> Claim:
        """Take what is to be started now."""
        request = pb.ClaimPendingStartsRequest(
            namespace=namespace, holder=self._holder, limit=limit
        )
        request.lease.FromTimedelta(lease)
        try:
            faultpoint("router.before_claim_pending")
            response = await self._stub.ClaimPendingStarts(request, timeout=self._timeout_s)
            faultpoint("router.after_claim_pending")
        except grpc.aio.AioRpcError as exc:
            raise _away(exc) from exc
        due_in = None
        if response.HasField("next_due_at"):
            due_in = response.next_due_at.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
        return Claim(
            starts=[_due(start) for start in response.starts],
            due_in=due_in,
            # A point that a later release of the ledger knows stops nothing here.
            thrown=[_switch(one) for one in response.kill_switches if one.point in _POINTS],
            halted=list(response.halted_definition_ids),
        )

    async def confirm(self, namespace: str, confirmations: Sequence[Confirmation]) -> None:
        """Tell what became of starts."""
        request = pb.ConfirmPendingStartsRequest(
            namespace=namespace, confirmations=map(_confirmation, confirmations)
        )
        try:
            faultpoint("router.before_confirm_pending")
            await self._stub.ConfirmPendingStarts(request, timeout=self._timeout_s)
            faultpoint("router.after_confirm_pending")
        except grpc.aio.AioRpcError as exc:
            raise _away(exc) from exc


def waiting(wait: Wait) -> pb.Waiting:
    """Return what the ledger has to know of an event that waits."""
    message = pb.Waiting(
        task_queue=wait.task_queue,
        key=wait.key,
        max_open_runs=wait.max_open_runs,
        definition_revision=wait.definition_revision,
        max_runs=wait.max_runs,
        kill_switch_id=wait.kill_switch_id,
    )
    if wait.max_runs:
        message.max_runs_window.FromTimedelta(wait.max_runs_window)
    if wait.batch is not None:
        message.batch_max_events = wait.batch.max_events
        message.batch_max_wait.FromTimedelta(wait.batch.max_wait)
    return message


def instance_event(application: Application | None) -> pb.InstanceEvent | None:
    """Return what the ledger has to know of an event that is to be applied to an instance."""
    if application is None:
        return None
    return pb.InstanceEvent(key_hash=application.address.key_hash, trigger=application.trigger)


def _switch(told: switches_pb2.KillSwitch) -> KillSwitch:
    return KillSwitch(
        switch_id=told.switch_id,
        point=_POINTS[told.point],
        labels=dict(told.labels),
        thrown_by=told.thrown_by,
        reason=told.reason,
    )


def _due(start: pb.PendingStart) -> DueStart:
    return DueStart(
        pending_id=start.pending_id,
        lease=start.lease,
        definition_id=start.definition_id,
        definition_version=start.definition_version,
        task_queue=start.task_queue,
        trigger_names=list(start.trigger_names),
        reason=start.reason,
        key=start.key,
        # They were read strictly on the way in.
        events=[Envelope.model_validate(json.loads(event)) for event in start.envelopes],
        attempts=start.attempts,
        as_one_run=start.as_one_run,
        replay_id=start.replay_id or None,
    )


def _confirmation(one: Confirmation) -> pb.Confirmation:
    return pb.Confirmation(
        pending_id=one.start.pending_id,
        lease=one.start.lease,
        outcome=_OUTCOMES[one.outcome],
        definition_version=one.definition_version,
        definition_revision=one.definition_revision,
        run_id=one.run_id,
        clause=one.clause,
        seen=one.seen,
        detail=one.detail,
        members=[_left(index, left) for index, left in one.left.items()],
        instance_event=instance_event(one.application),
    )


def _left(index: int, left: Left) -> pb.MemberOutcome:
    return pb.MemberOutcome(
        event=index,
        outcome=_OUTCOMES[left.outcome],
        clause=left.clause,
        seen=left.seen,
        detail=left.detail,
    )


def _away(exc: grpc.aio.AioRpcError) -> TransientError:
    return TransientError(f"the ledger: {exc.code().name}: {exc.details()}")
