# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.SubjectService`: reads a request, calls a use case, tells the answer."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from backbone.ledger.v1 import subjects_pb2 as pb
from backbone.ledger.v1 import subjects_pb2_grpc as pb_grpc
from contracts import canonical
from contracts.envelope import MAX_EVENT_BYTES
from contracts.roles import Role
from contracts.sensitive import HASH_PATTERN, MAX_SUBJECT_LENGTH, Reference
from contracts.sensitive_calls import MAX_TOGETHER
from ledger.adapters import messages, pages, requests
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.requests import RequestReader
from ledger.domain.subjects import NewValue, Reveal, Subject
from ledger.errors import InvalidRequestError
from ledger.service.subjects import SubjectLedger
from runtime import authorisation, identity

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["SubjectService"].full_name

POLICY = authorisation.policy(
    NAME,
    {
        "KeepValues": {Role.SERVICE},
        "ResolveValues": {Role.SERVICE, Role.TASK_WORKER},
        "RevealValues": {Role.OPERATOR},
        "ListReveals": {Role.OPERATOR},
        "GetSubject": {Role.OPERATOR},
        "EraseSubject": {Role.OPERATOR},
        "RewrapSubjectKeys": {Role.OPERATOR},
    },
)


class SubjectServicer(pb_grpc.SubjectServiceServicer):
    """Sensitive values, as services and operators call for them."""

    def __init__(self, subjects: SubjectLedger, *, reader: RequestReader) -> None:
        self._subjects = subjects
        self._reader = reader

    async def KeepValues(
        self, request: pb.KeepValuesRequest, context: Context
    ) -> pb.KeepValuesResponse:
        """Keep values, and tell what stands in their place."""
        with as_statuses():
            kept = await self._subjects.keep(
                self._reader.namespace(request.namespace),
                [_value(one) for one in _bounded(request.values)],
            )
        return pb.KeepValuesResponse(
            kept=[pb.KeptValue(hash=one.hash, conflict=one.conflict) for one in kept]
        )

    async def ResolveValues(
        self, request: pb.ResolveValuesRequest, context: Context
    ) -> pb.ResolveValuesResponse:
        """Tell values to a service, or to who carries out a task."""
        with as_statuses():
            found = await self._subjects.resolve(
                self._reader.namespace(request.namespace), _references(request.references)
            )
        return pb.ResolveValuesResponse(values=_resolved(found))

    async def RevealValues(
        self, request: pb.RevealValuesRequest, context: Context
    ) -> pb.RevealValuesResponse:
        """Tell values to a person, and keep who was told and why."""
        with as_statuses():
            found = await self._subjects.reveal(
                self._reader.namespace(request.namespace),
                _references(request.references),
                actor=identity.current_identity().subject,
                reason=requests.text("reason", request.reason),
                request_id=requests.request_id(request.request_id),
            )
        return pb.RevealValuesResponse(values=_resolved(found))

    async def ListReveals(
        self, request: pb.ListRevealsRequest, context: Context
    ) -> pb.ListRevealsResponse:
        """Tell who was shown values and why, the newest first."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            size = pages.size(request.page_size)
            filters = ("reveals", namespace)
            found, last = pages.split(
                await self._subjects.reveals(
                    namespace, before=pages.position(request.page_token, *filters), limit=size + 1
                ),
                size,
                weigh=lambda one: 4 * len(one.reason) + 40 * len(one.blob_ids) + 500,
            )
        return pb.ListRevealsResponse(
            reveals=[_reveal(one) for one in found],
            next_page_token=pages.token(str(last.reveal_id), *filters) if last else "",
        )

    async def GetSubject(
        self, request: pb.GetSubjectRequest, context: Context
    ) -> pb.GetSubjectResponse:
        """Tell what is kept of a person, without any value."""
        with as_statuses():
            found = await self._subjects.get(
                self._reader.namespace(request.namespace), _subject(request.subject)
            )
        return pb.GetSubjectResponse(subject=_message(found))

    async def EraseSubject(
        self, request: pb.EraseSubjectRequest, context: Context
    ) -> pb.EraseSubjectResponse:
        """Destroy the key of a person."""
        with as_statuses():
            found, erased = await self._subjects.erase(
                self._reader.namespace(request.namespace),
                _subject(request.subject),
                actor=identity.current_identity().subject,
                reason=requests.text("reason", request.reason),
                request_id=requests.request_id(request.request_id),
            )
        return pb.EraseSubjectResponse(subject=_message(found), erased=erased)

    async def RewrapSubjectKeys(
        self, request: pb.RewrapSubjectKeysRequest, context: Context
    ) -> pb.RewrapSubjectKeysResponse:
        """Wrap some keys of people with the active data key."""
        with as_statuses():
            rewrapped, more = await self._subjects.rewrap(self._reader.namespace(request.namespace))
        return pb.RewrapSubjectKeysResponse(rewrapped=rewrapped, more=more)


def _bounded(values: Sequence[T]) -> Sequence[T]:
    if len(values) > MAX_TOGETHER:
        raise InvalidRequestError(
            f"{len(values)} values, more than the {MAX_TOGETHER} that one call takes"
        )
    return values


def _value(told: pb.SensitiveValue) -> NewValue:
    value = requests.document("value", told.value, MAX_EVENT_BYTES)
    return NewValue(_blob_id(told.blob_id), _subject(told.subject), canonical.render(value))


def _references(told: Sequence[pb.ValueReference]) -> list[Reference]:
    found = []
    for one in _bounded(told):
        if not re.fullmatch(HASH_PATTERN, one.hash):
            raise InvalidRequestError("not the hash of a sensitive value")
        found.append(Reference(str(_blob_id(one.blob_id)), one.hash))
    return found


def _blob_id(told: str) -> UUID:
    try:
        return UUID(told)
    except ValueError as exc:
        raise InvalidRequestError("not the id of a sensitive value") from exc


def _subject(told: str) -> str:
    # The refusal does not repeat it: it may be logged.
    return requests.text("subject", told, MAX_SUBJECT_LENGTH)


def _resolved(found: dict[UUID, bytes]) -> list[pb.ResolvedValue]:
    return [pb.ResolvedValue(blob_id=str(one), value=value) for one, value in found.items()]


def _reveal(one: Reveal) -> pb.Reveal:
    return pb.Reveal(
        blob_ids=map(str, one.blob_ids),
        actor=one.actor,
        reason=one.reason,
        request_id=one.request_id,
        revealed_at=messages.timestamp(one.revealed_at),
    )


def _message(found: Subject) -> pb.Subject:
    return pb.Subject(
        subject_ref=found.subject_ref,
        keys=[
            pb.SubjectKey(
                created_at=messages.timestamp(one.created_at),
                values=one.values,
                erased_at=_moment(one.erased_at),
                erased_by=one.erased_by or "",
                reason=one.reason or "",
                data_key=one.data_key or "",
            )
            for one in found.keys
        ],
    )


def _moment(value: datetime | None) -> Timestamp | None:
    return None if value is None else messages.timestamp(value)
