"""The evidence of event stores as the commands see it: one method a call, errors as sentences."""

from collections.abc import AsyncIterator

from backbone.audit.v1 import audit_pb2, audit_pb2_grpc
from cli.calls import Calls


class Audit(Calls["audit_pb2_grpc.AuditServiceAsyncStub"]):
    """The calls about one service's event store. Every method raises CliError."""

    stub = audit_pb2_grpc.AuditServiceStub

    async def verify(
        self, *, after_checkpoint: int
    ) -> AsyncIterator[audit_pb2.VerifyEventsResponse]:
        """Yield what each call has found, until nothing is left."""
        request = audit_pb2.VerifyEventsRequest(
            namespace=self._namespace, after_checkpoint=after_checkpoint
        )
        while True:
            page = await self._ask(self._stub.VerifyEvents(request))
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def checkpoint(self, number: int = 0) -> audit_pb2.GetCheckpointResponse:
        """Return a checkpoint, or the newest; NotFoundError when there is none."""
        request = audit_pb2.GetCheckpointRequest(namespace=self._namespace, number=number)
        return await self._ask(self._stub.GetCheckpoint(request))
