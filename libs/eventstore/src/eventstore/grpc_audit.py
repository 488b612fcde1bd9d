# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.audit.v1.AuditService`, the same for every service that has an event store."""

import asyncio
import time
from collections.abc import Collection
from dataclasses import astuple
from typing import Any

import grpc

from backbone.audit.v1 import audit_pb2 as pb
from backbone.audit.v1 import audit_pb2_grpc as pb_grpc
from contracts.roles import Role
from eventstore import sealing, tokens
from eventstore.verification import Cursor, Finding, Phase, Step, Verifier
from runtime import authorisation, identity, rpcerrors
from runtime.grpcserver import Service
from runtime.postgres import Postgres

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["AuditService"].full_name

POLICY = authorisation.policy(
    NAME,
    {
        # It reads everything there is: not for everybody who may look.
        "VerifyEvents": {Role.OPERATOR},
        "GetCheckpoint": {Role.VIEWER, Role.OPERATOR},
    },
)

_BUDGET_S = 3.0  # of one call: well below its caller's deadline
_MOST_FINDINGS = 200  # a call ends with the step that comes to so many
_MOST = 2**63 - 1


class AuditServicer(pb_grpc.AuditServiceServicer):
    """The evidence of one event store, as operators and viewers call it."""

    def __init__(
        self, database: Postgres, *, namespaces: Collection[str], budget_s: float = _BUDGET_S
    ) -> None:
        self._database = database
        self._namespaces = frozenset(namespaces)
        self._budget_s = budget_s
        self._verifying = asyncio.Lock()

    async def VerifyEvents(
        self, request: pb.VerifyEventsRequest, context: Context
    ) -> pb.VerifyEventsResponse:
        """Verify for some seconds, from where the last call ended."""
        self._check(request.namespace)
        if identity.current_identity().namespaces is not None:
            raise rpcerrors.PermissionDeniedError(
                "a verification looks at all namespaces: it is for operators of all of them"
            )
        cursor: Cursor | None = _cursor(request)
        if self._verifying.locked():
            raise rpcerrors.ResourceExhaustedError(
                "another verification is at work: try again in some seconds", reason="VERIFYING"
            )
        verifier = Verifier(self._database)
        response = pb.VerifyEventsResponse(last_checkpoint=cursor.checkpoint if cursor else 0)
        async with self._verifying:
            until = time.monotonic() + self._budget_s
            while cursor is not None:
                step = await verifier.step(cursor)
                cursor = step.cursor
                _add(response, step)
                if len(response.findings) >= _MOST_FINDINGS or time.monotonic() >= until:
                    break
        if cursor is not None:
            response.next_page_token = tokens.write([request.namespace], list(astuple(cursor)))
        return response

    async def GetCheckpoint(
        self, request: pb.GetCheckpointRequest, context: Context
    ) -> pb.GetCheckpointResponse:
        """Return a checkpoint, or the newest."""
        self._check(request.namespace)
        if request.number < 0:
            raise rpcerrors.InvalidArgumentError("number: it has to be 0 or more")
        async with self._database.transaction(request.namespace) as transaction:
            if request.number:
                found = await sealing.checkpoint(transaction, request.number)
            else:
                found = await sealing.newest(transaction)
        if found is None:
            number = request.number
            detail = f"there is no checkpoint {number}" if number else "nothing is sealed yet"
            raise rpcerrors.NotFoundError(detail, reason="NO_CHECKPOINT")
        response = pb.GetCheckpointResponse(
            number=found.number,
            hash=found.hash,
            first_position=found.first_position,
            last_position=found.last_position,
            events=found.events,
            signature=found.signature or b"",
            signing_key_id=found.signing_key_id or "",
        )
        response.sealed_at.FromDatetime(found.sealed_at)
        return response

    def _check(self, namespace: str) -> None:
        if namespace not in self._namespaces:
            raise rpcerrors.InvalidArgumentError(
                f"the namespace {namespace!r} is not served here", reason="NAMESPACE_NOT_SERVED"
            )


def grpc_service(database: Postgres, *, namespaces: Collection[str]) -> Service:
    """Return the service of the event store in `database`, for the `namespaces` served."""
    return Service(
        name=NAME,
        add=pb_grpc.add_AuditServiceServicer_to_server,
        servicer=AuditServicer(database, namespaces=namespaces),
        policy=POLICY,
    )


def _cursor(request: pb.VerifyEventsRequest) -> Cursor:
    if request.after_checkpoint < 0:
        raise rpcerrors.InvalidArgumentError("after_checkpoint: it has to be 0 or more")
    if not request.page_token:
        return Cursor(checkpoint=request.after_checkpoint)
    phase, checkpoint, position, up_to, namespace, stream = tokens.read(
        request.page_token, [request.namespace], count=6
    )
    if (
        phase not in list(Phase)
        or not all(isinstance(n, int) and 0 <= n <= _MOST for n in (checkpoint, position, up_to))
        or not all(tokens.is_text(t) for t in (namespace, stream))
    ):
        raise tokens.malformed()
    return Cursor(Phase(phase), checkpoint, position, up_to, namespace, stream)


def _add(response: pb.VerifyEventsResponse, step: Step) -> None:
    response.findings.extend(map(_finding, step.findings))
    response.checkpoints += step.checkpoints
    response.events += step.events
    response.unsealed_events += step.unsealed
    response.streams += step.streams
    for one in step.dropped:
        month = response.dropped_months.add(month=one.month.isoformat(), events=one.events)
        month.dropped_at.FromDatetime(one.sealed_at)
    if step.cursor is not None and step.cursor.checkpoint:
        response.last_checkpoint = step.cursor.checkpoint


def _finding(finding: Finding) -> pb.Finding:
    return pb.Finding(
        kind=pb.FindingKind.Value(f"FINDING_KIND_{finding.kind.name}"),
        detail=finding.detail,
        checkpoint=finding.checkpoint,
        position=finding.position,
        namespace=finding.namespace,
        stream=finding.stream,
        stream_version=finding.version,
    )
