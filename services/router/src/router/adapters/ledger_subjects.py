"""Sensitive values in the ledger, over gRPC: kept and resolved, some at a time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc

from backbone.ledger.v1 import subjects_pb2, subjects_pb2_grpc
from contracts import canonical, sensitive_calls
from contracts.sensitive import Reference
from router.domain.sensitive_events import SensitiveValue
from router.errors import TransientError
from runtime.faultpoints import faultpoint

MAX_WEIGHT = 1_000_000
"""About how many bytes one call tells: well below what a message may hold."""


class LedgerSensitiveValues:
    """`ports.SensitiveValues` by the ledger's calls."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout: timedelta) -> None:
        self._stub: subjects_pb2_grpc.SubjectServiceAsyncStub = (
            subjects_pb2_grpc.SubjectServiceStub(channel)
        )
        self._timeout_s = timeout.total_seconds()

    async def keep(
        self, namespace: str, values: Sequence[SensitiveValue]
    ) -> Mapping[UUID, str | None]:
        """Keep values; return the hash of each, None for one whose id has another value.

        Raises:
            TransientError: the ledger does not answer, or cannot keep anything: the same again is
                safe.
        """
        hashes: dict[UUID, str | None] = {}
        for part in _parts(values):
            request = subjects_pb2.KeepValuesRequest(namespace=namespace, values=part)
            try:
                faultpoint("router.before_keep_values")
                response = await self._stub.KeepValues(request, timeout=self._timeout_s)
                faultpoint("router.after_keep_values")
            except grpc.aio.AioRpcError as exc:
                raise _transient(exc) from exc
            for one, kept in zip(part, response.kept, strict=True):
                hashes[UUID(one.blob_id)] = None if kept.conflict else kept.hash
        return hashes

    async def resolve(self, namespace: str, references: Collection[Reference]) -> Mapping[str, Any]:
        """Return the values behind references, by blob id; none of what is erased.

        Raises:
            TransientError: the ledger does not answer, or cannot read them.
        """
        found: dict[str, Any] = {}
        for request in sensitive_calls.resolutions(namespace, references):
            try:
                faultpoint("router.before_resolve_values")
                response = await self._stub.ResolveValues(request, timeout=self._timeout_s)
                faultpoint("router.after_resolve_values")
            except grpc.aio.AioRpcError as exc:
                raise _transient(exc) from exc
            found |= sensitive_calls.values(response.values)
        return found


def _transient(exc: grpc.aio.AioRpcError) -> TransientError:
    return TransientError(f"the ledger: {exc.code().name}: {exc.details()}")


def _parts(values: Sequence[SensitiveValue]) -> Iterator[list[subjects_pb2.SensitiveValue]]:
    part: list[subjects_pb2.SensitiveValue] = []
    weight = 0
    for one in values:
        told = subjects_pb2.SensitiveValue(
            blob_id=str(one.blob_id), subject=one.subject, value=canonical.render(one.value)
        )
        weighs = len(told.value) + 600
        if part and (weight + weighs > MAX_WEIGHT or len(part) == sensitive_calls.MAX_TOGETHER):
            yield part
            part, weight = [], 0
        part.append(told)
        weight += weighs
    if part:
        yield part
