"""Asks the registry how definitions were at a time, for whoever asks why they did not run."""

from datetime import UTC, datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from contracts import identifiers
from router.adapters import registry_resources
from router.domain.routing import Active
from router.errors import DefinitionAbsentError, TransientError

TIMEOUT_S = 3.0
MAX_PAGES = 5
_PAGE = 1000


class RegistryHistory:
    """`ports.DefinitionHistory` by the registry's RPCs."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # Its async form is told by the channel; the stubs' overloads need the annotation.
        self._stub: registry_pb2_grpc.RegistryServiceAsyncStub = (
            registry_pb2_grpc.RegistryServiceStub(channel)
        )

    async def at(self, namespace: str, definition_id: str, moment: datetime) -> Active:
        """Return the version that was in use at a time.

        Raises:
            DefinitionAbsentError: there was none yet, there never was, or it was retired.
            DefinitionUnusableError: this release cannot read it.
            TransientError: the registry is away.
        """
        as_of = Timestamp()
        as_of.FromDatetime(moment)
        request = registry_pb2.GetResourceRequest(
            namespace=namespace,
            kind=registry_pb2.RESOURCE_KIND_ACTIVITY_DEFINITION,
            resource_id=definition_id,
            as_of=as_of,
        )
        told = f"definition {definition_id!r}"
        try:
            resource = (await self._stub.GetResource(request, timeout=TIMEOUT_S)).resource
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                raise DefinitionAbsentError(
                    f"{told} did not exist at {identifiers.instant(moment)}", retired=False
                ) from exc
            raise _away(exc) from exc
        if resource.state == registry_pb2.RESOURCE_STATE_RETIRED:
            raise DefinitionAbsentError(
                f"{told} was retired at {identifiers.instant(moment)}", retired=True
            )
        return registry_resources.compile_resource(resource)

    async def changed_since(self, namespace: str, moment: datetime) -> set[str] | None:
        """Return the ids of the definitions that changed after a time.

        None when there were more than 5,000 changes since.

        Raises:
            TransientError: the registry is away.
        """
        changed: set[str] = set()
        token = ""
        for _ in range(MAX_PAGES):
            request = registry_pb2.ListChangesRequest(
                namespace=namespace, page_size=_PAGE, page_token=token
            )
            try:
                page = await self._stub.ListChanges(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as exc:
                raise _away(exc) from exc
            for change in page.changes:
                if change.at.ToDatetime(UTC) <= moment:
                    return changed
                if change.kind == registry_pb2.RESOURCE_KIND_ACTIVITY_DEFINITION:
                    changed.add(change.resource_id)
            token = page.next_page_token
            if not token:
                return changed
        return None


def _away(exc: grpc.aio.AioRpcError) -> TransientError:
    return TransientError(f"the registry cannot be asked: {exc.code().name}: {exc.details()}")
