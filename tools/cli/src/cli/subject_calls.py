"""People's sensitive values as the commands see them: messages out, errors as sentences."""

from collections.abc import Collection
from typing import Any

from backbone.ledger.v1 import subjects_pb2, subjects_pb2_grpc
from cli import paging
from cli.calls import Calls
from contracts import sensitive_calls
from contracts.sensitive import Reference


class Subjects(Calls["subjects_pb2_grpc.SubjectServiceAsyncStub"]):
    """The calls about people for one namespace. Every method raises CliError."""

    stub = subjects_pb2_grpc.SubjectServiceStub

    async def get(self, subject: str) -> subjects_pb2.Subject:
        """Return what is kept of a person, without any value."""
        request = subjects_pb2.GetSubjectRequest(namespace=self._namespace, subject=subject)
        return (await self._ask(self._stub.GetSubject(request))).subject

    async def erase(
        self, subject: str, *, reason: str, request_id: str
    ) -> subjects_pb2.EraseSubjectResponse:
        """Destroy the key of a person."""
        request = subjects_pb2.EraseSubjectRequest(
            namespace=self._namespace, subject=subject, reason=reason, request_id=request_id
        )
        return await self._ask(self._stub.EraseSubject(request))

    async def reveal(
        self, references: Collection[Reference], *, reason: str, request_id: str
    ) -> dict[str, Any]:
        """Return the values behind references, by blob id, which is recorded; none of the erased.

        At most 1,000 of them: what a run can refer to beyond is left a reference.
        """
        if not references:
            return {}
        request = subjects_pb2.RevealValuesRequest(
            namespace=self._namespace,
            references=sensitive_calls.told(sorted(references)[: sensitive_calls.MAX_TOGETHER]),
            reason=reason,
            request_id=request_id,
        )
        answer = await self._ask(self._stub.RevealValues(request))
        return sensitive_calls.values(answer.values)

    async def reveals(self, *, limit: int) -> list[subjects_pb2.Reveal]:
        """Return who was shown values and why, the newest first."""
        request = subjects_pb2.ListRevealsRequest(namespace=self._namespace)
        return await paging.gathered(
            request,
            lambda: self._ask(self._stub.ListReveals(request)),
            items=lambda page: page.reveals,
            limit=limit,
        )

    async def rewrap(self) -> int:
        """Wrap all keys of people with the active data key; return how many it were."""
        total = 0
        while True:
            request = subjects_pb2.RewrapSubjectKeysRequest(namespace=self._namespace)
            answer = await self._ask(self._stub.RewrapSubjectKeys(request))
            total += answer.rewrapped
            if not answer.more:
                return total
