# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.InstanceService`: events of stateful instances, and how those stand."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import grpc

from backbone.ledger.v1 import instances_pb2 as pb
from backbone.ledger.v1 import instances_pb2_grpc as pb_grpc
from backbone.ledger.v1 import ledger_pb2
from contracts import canonical, identifiers
from contracts.definitions import LONGEST_TIMER, MAX_TIMERS
from contracts.roles import Role
from ledger.adapters import messages, pages, requests
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.requests import RequestReader
from ledger.domain.instances import SetTimer, Status, Turn
from ledger.errors import InvalidRequestError
from ledger.ports.instances import InstanceRow
from ledger.service.instances import Application, InstanceLedger, Next
from runtime import authorisation

Context = grpc.aio.ServicerContext[Any, Any]

MAX_AGE = timedelta(days=30)
"""For which it can be asked what has waited so long."""

NAME = pb.DESCRIPTOR.services_by_name["InstanceService"].full_name

_READERS = {Role.VIEWER, Role.OPERATOR, Role.SERVICE}

POLICY = authorisation.policy(
    NAME,
    {
        "GetNextApplication": {Role.SERVICE},
        "ApplyToInstance": {Role.SERVICE},
        "AdoptRun": {Role.SERVICE},
        "GetInstance": _READERS,
        "ListInstances": _READERS,
        "ListWaitingInstances": _READERS,
    },
)

_STATUS = {
    Status.OPEN: pb.INSTANCE_STATUS_OPEN,
    Status.ENDED: pb.INSTANCE_STATUS_ENDED,
}
_STATUS_OF = {message: status for status, message in _STATUS.items()}


class InstanceServicer(pb_grpc.InstanceServiceServicer):
    """What workers apply events with, and viewers look at."""

    def __init__(self, instances: InstanceLedger, *, reader: RequestReader) -> None:
        self._instances = instances
        self._reader = reader

    async def GetNextApplication(
        self, request: pb.GetNextApplicationRequest, context: Context
    ) -> pb.GetNextApplicationResponse:
        """Tell what is to be applied next."""
        with as_statuses():
            found = await self._instances.next(
                namespace=self._reader.namespace(request.namespace),
                definition_id=requests.definition(request.definition_id),
                key_hash=requests.key_hash(request.key_hash),
                begun=requests.optional_text(
                    "begun_run_id", request.begun_run_id, requests.MAX_RUN_ID_LENGTH
                ),
            )
        return pb.GetNextApplicationResponse(next=_next(found))

    async def ApplyToInstance(
        self, request: pb.ApplyToInstanceRequest, context: Context
    ) -> pb.ApplyToInstanceResponse:
        """Record an event that was decided."""
        with as_statuses():
            applied = await self._instances.apply(self._application(request))
        return pb.ApplyToInstanceResponse(
            outcome=messages.RECORD_OUTCOME[applied.outcome],
            decision=applied.decision,
            next=None if applied.following is None else _next(applied.following),
        )

    def _application(self, request: pb.ApplyToInstanceRequest) -> Application:
        recording = self._reader.recording(
            ledger_pb2.RecordRunRequest(
                namespace=request.namespace,
                run_id=request.run_id,
                definition_id=request.definition_id,
                trigger=request.trigger,
                snapshot=request.snapshot,
                decision=request.decision,
                workflow_run_id=request.workflow_run_id,
            )
        )
        bodies = (
            requests.state("state_before", request.state_before),
            requests.state("state_after", request.state_after),
        )
        change = recording.decision.state
        if change is None or (change.before_sha256, change.after_sha256) != tuple(
            map(canonical.digest, bodies)
        ):
            raise InvalidRequestError("the decision is of other states than these")
        if request.generation < 1 or request.sequence < 1:
            raise InvalidRequestError("generation and sequence count from 1")
        key_hash = requests.key_hash(request.key_hash)
        return Application(
            recording=recording,
            key_hash=key_hash,
            instance_id=identifiers.instance_id(
                recording.occasion.definition_id, key_hash, request.generation
            ),
            turn=Turn(request.generation, request.sequence),
            state_before=bodies[0],
            state_after=bodies[1],
            timers=_timers(request.timers),
        )

    async def AdoptRun(self, request: pb.AdoptRunRequest, context: Context) -> pb.AdoptRunResponse:
        """Say who carries out the tasks of a run."""
        with as_statuses():
            adopted = await self._instances.adopt(
                namespace=self._reader.namespace(request.namespace),
                definition_id=requests.definition(request.definition_id),
                run_id=requests.run_id(request.run_id),
                workflow_run_id=requests.text("workflow_run_id", request.workflow_run_id),
            )
        return pb.AdoptRunResponse(
            outcome=messages.RECORD_OUTCOME[adopted.outcome],
            decision=adopted.decision,
            effects_halted=adopted.effects_halted,
        )

    async def GetInstance(
        self, request: pb.GetInstanceRequest, context: Context
    ) -> pb.GetInstanceResponse:
        """Tell how a generation stands."""
        with as_statuses():
            try:
                definition_id, key_hash, generation = identifiers.parse_instance_id(
                    request.instance_id
                )
            except ValueError as exc:
                raise InvalidRequestError(str(exc)) from exc
            row, state = await self._instances.get(
                namespace=self._reader.namespace(request.namespace),
                definition_id=requests.definition(definition_id),
                key_hash=key_hash,
                generation=generation,
            )
        return pb.GetInstanceResponse(instance=_instance(row), state=state)

    async def ListInstances(
        self, request: pb.ListInstancesRequest, context: Context
    ) -> pb.ListInstancesResponse:
        """List generations, the one that began last first."""
        with as_statuses():
            size = pages.size(request.page_size)
            filters = ("instances", request.namespace, request.definition_id, str(request.status))
            rows, last = pages.split(
                await self._instances.page(
                    namespace=self._reader.namespace(request.namespace),
                    before=pages.position(request.page_token, *filters),
                    definition_id=requests.definition(request.definition_id)
                    if request.definition_id
                    else None,
                    status=requests.one_of("status", request.status, _STATUS_OF),
                    limit=size + 1,
                ),
                size,
            )
        return pb.ListInstancesResponse(
            instances=[_instance(row) for row in rows],
            next_page_token=pages.token(str(last.position), *filters) if last else "",
        )

    async def ListWaitingInstances(
        self, request: pb.ListWaitingInstancesRequest, context: Context
    ) -> pb.ListWaitingInstancesResponse:
        """List the keys of which something waits."""
        with as_statuses():
            size = pages.size(request.page_size)
            age = requests.duration("min_age", request.min_age, timedelta(0), MAX_AGE)
            filters = ("waiting-instances", request.namespace, request.definition_id, str(age))
            definition_id, _, key_hash = pages.name(request.page_token, *filters).partition(" ")
            keys, last = pages.split(
                await self._instances.waiting(
                    namespace=self._reader.namespace(request.namespace),
                    after=(definition_id, key_hash),
                    definition_id=requests.definition(request.definition_id)
                    if request.definition_id
                    else None,
                    min_age=age,
                    limit=size + 1,
                ),
                size,
            )
        token = f"{last.definition_id} {last.key_hash}" if last else ""
        return pb.ListWaitingInstancesResponse(
            instances=[
                pb.WaitingInstance(
                    definition_id=one.definition_id,
                    key_hash=one.key_hash,
                    definition_version=one.definition_version,
                    events=one.events,
                    waiting_since=messages.timestamp(one.waiting_since),
                )
                for one in keys
            ],
            next_page_token=pages.token(token, *filters) if last else "",
        )


def _timers(told: Sequence[pb.InstanceTimer]) -> list[SetTimer]:
    if len(told) > MAX_TIMERS:
        raise InvalidRequestError(f"timers: {len(told)}, more than the {MAX_TIMERS} that are taken")
    found = []
    for one in told:
        if not re.fullmatch(identifiers.NAME_PATTERN, one.name):
            raise InvalidRequestError(f"not the name of a timer: {one.name!r}")
        after = requests.any_duration(f"the timer {one.name}", one.after)
        if not timedelta() < after <= LONGEST_TIMER:
            raise InvalidRequestError(f"the timer {one.name} is not after a second to a year")
        found.append(SetTimer(one.name, after))
    return found


def _next(found: Next) -> pb.NextApplication:
    told = pb.NextApplication(
        generation=found.turn.generation, sequence=found.turn.sequence, state=found.state
    )
    if found.event is not None:
        told.run_id, told.trigger = found.event.run_id, found.event.trigger
        told.applied = found.event.known
    if found.due_in is not None:
        told.due_in.FromTimedelta(found.due_in)
    told.halted = found.halted
    return told


def _instance(row: InstanceRow) -> pb.Instance:
    return pb.Instance(
        namespace=row.namespace,
        instance_id=row.instance_id,
        definition_id=row.definition_id,
        definition_version=row.definition_version,
        key_hash=row.key_hash,
        generation=row.generation,
        sequence=row.sequence,
        status=_STATUS[row.status],
        last_run_id=row.last_run_id,
        started_at=messages.timestamp(row.started_at),
        changed_at=messages.timestamp(row.changed_at),
        ended_at=messages.timestamp(row.ended_at),
        timers=[
            pb.PendingTimer(name=timer.name, due_at=messages.timestamp(timer.due_at))
            for timer in row.timers
        ],
    )
