"""The registry as the commands see it: one method a call, messages out, errors as sentences."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime

import grpc

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from cli import stamps
from cli.calls import Calls
from cli.errors import UnavailableError
from cli.kinds import Kind

_PAGE = 200
# Checking a thousand documents takes longer than a call usually may.
_APPLY_TIMEOUT_S = 60.0
# The registry gives a sign of life every 15 s at least.
_SILENCE_S = 45.0


@dataclass(frozen=True)
class Source:
    """A document as it was written, and what problems call it."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Change:
    """What an apply is to do; the same one is planned and then carried out."""

    sources: Sequence[Source]
    namespace: str = ""
    etag: str = ""
    prune: bool = False
    prune_owner: str = ""


class Registry(Calls["registry_pb2_grpc.RegistryServiceAsyncStub"]):
    """The registry's calls for one namespace. Every method raises CliError."""

    stub = registry_pb2_grpc.RegistryServiceStub

    async def plan(self, change: Change, *, reason: str) -> registry_pb2.ApplyResourcesResponse:
        """Return what a change would do, or everything that is wrong with it."""
        request = _apply_request(change)
        request.validate_only = True
        request.reason = reason
        return await self._ask(self._stub.ApplyResources(request, timeout=_APPLY_TIMEOUT_S))

    async def apply(
        self, change: Change, *, plan_sha256: str, request_id: str, reason: str
    ) -> registry_pb2.ApplyResourcesResponse:
        """Carry out a change exactly as it was planned."""
        request = _apply_request(change)
        request.plan_sha256 = plan_sha256
        request.request_id = request_id
        request.reason = reason
        return await self._ask(self._stub.ApplyResources(request, timeout=_APPLY_TIMEOUT_S))

    async def resource(
        self, kind: Kind, resource_id: str, *, version: int = 0, as_of: datetime | None = None
    ) -> registry_pb2.Resource:
        """Return a version of a resource: the current one for 0, or the one of a time."""
        request = registry_pb2.GetResourceRequest(
            namespace=self._namespace,
            kind=kind.number,
            resource_id=resource_id,
            version=version,
            as_of=stamps.stamp(as_of),
        )
        return (await self._ask(self._stub.GetResource(request))).resource

    async def resources(
        self,
        kind: Kind,
        *,
        as_of: datetime | None = None,
        show_retired: bool = False,
        owner: str = "",
    ) -> list[registry_pb2.Resource]:
        """Return the current version of every resource of a kind, by id."""
        request = registry_pb2.ListResourcesRequest(
            namespace=self._namespace,
            kind=kind.number,
            page_size=_PAGE,
            as_of=stamps.stamp(as_of),
            show_retired=show_retired,
            owner=owner,
        )
        found: list[registry_pb2.Resource] = []
        while True:
            page = await self._ask(self._stub.ListResources(request))
            found.extend(page.resources)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def history(
        self, kind: Kind | None, resource_id: str, *, limit: int
    ) -> list[registry_pb2.Change]:
        """Return at most `limit` changes, newest first: of a resource, of a kind, or all."""
        request = registry_pb2.ListChangesRequest(namespace=self._namespace, page_size=_PAGE)
        if resource_id and kind is not None:
            request.kind = kind.number
            request.resource_id = resource_id
        found: list[registry_pb2.Change] = []
        while True:
            page = await self._ask(self._stub.ListChanges(request))
            found.extend(
                change for change in page.changes if kind is None or change.kind == kind.number
            )
            if not page.next_page_token or len(found) >= limit:
                return found[:limit]
            request.page_token = page.next_page_token

    async def diff(
        self, kind: Kind, resource_id: str, *, from_version: int, to_version: int
    ) -> registry_pb2.DiffVersionsResponse:
        """Return what differs in meaning between two versions."""
        request = registry_pb2.DiffVersionsRequest(
            namespace=self._namespace,
            kind=kind.number,
            resource_id=resource_id,
            from_version=from_version,
            to_version=to_version,
        )
        return await self._ask(self._stub.DiffVersions(request))

    async def activate(
        self, kind: Kind, resource_id: str, *, version: int, etag: str, request_id: str, reason: str
    ) -> registry_pb2.ActivateVersionResponse:
        """Make a stored version the current one again."""
        request = registry_pb2.ActivateVersionRequest(
            namespace=self._namespace,
            kind=kind.number,
            resource_id=resource_id,
            version=version,
            etag=etag,
            request_id=request_id,
            reason=reason,
        )
        return await self._ask(self._stub.ActivateVersion(request))

    async def disable(
        self, definition_id: str, *, etag: str, request_id: str, reason: str
    ) -> registry_pb2.DisableDefinitionResponse:
        """Let a definition start no more runs."""
        request = registry_pb2.DisableDefinitionRequest(
            namespace=self._namespace,
            definition_id=definition_id,
            etag=etag,
            request_id=request_id,
            reason=reason,
        )
        return await self._ask(self._stub.DisableDefinition(request))

    async def enable(
        self,
        definition_id: str,
        *,
        held: registry_pb2.HeldEvents.ValueType,
        etag: str,
        request_id: str,
        reason: str,
    ) -> registry_pb2.EnableDefinitionResponse:
        """Let a disabled definition start runs again."""
        request = registry_pb2.EnableDefinitionRequest(
            namespace=self._namespace,
            definition_id=definition_id,
            held=held,
            etag=etag,
            request_id=request_id,
            reason=reason,
        )
        return await self._ask(self._stub.EnableDefinition(request))

    async def retire(
        self, kind: Kind, resource_id: str, *, etag: str, request_id: str, reason: str
    ) -> registry_pb2.RetireResourceResponse:
        """Take a resource out of use."""
        request = registry_pb2.RetireResourceRequest(
            namespace=self._namespace,
            kind=kind.number,
            resource_id=resource_id,
            etag=etag,
            request_id=request_id,
            reason=reason,
        )
        return await self._ask(self._stub.RetireResource(request))

    async def drift(self) -> registry_pb2.GetDriftResponse:
        """Return how what is applied differs from what the ledger and Temporal have."""
        request = registry_pb2.GetDriftRequest(namespace=self._namespace)
        return await self._ask(self._stub.GetDrift(request))

    async def watch(
        self, kinds: Sequence[Kind], *, after_revision: int
    ) -> AsyncGenerator[registry_pb2.WatchResourcesResponse, None]:
        """Return what the registry sends of a namespace, until it ends the call.

        Raises:
            UnavailableError: it is away, or has been silent for too long.
        """
        request = registry_pb2.WatchResourcesRequest(
            namespace=self._namespace,
            after_revision=after_revision,
            kinds=[kind.number for kind in kinds],
        )
        stream = self._stub.WatchResources(request)
        try:
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    message = await stream.read()
                if not isinstance(message, registry_pb2.WatchResourcesResponse):
                    return
                yield message
        except grpc.aio.AioRpcError as exc:
            raise self._explain(exc) from exc
        except TimeoutError as exc:
            raise UnavailableError(f"the registry was silent for {_SILENCE_S:g} s") from exc
        finally:
            stream.cancel()


def _apply_request(change: Change) -> registry_pb2.ApplyResourcesRequest:
    return registry_pb2.ApplyResourcesRequest(
        namespace=change.namespace,
        documents=[
            registry_pb2.Document(content=one.content, name=one.name, etag=change.etag)
            for one in change.sources
        ],
        prune=change.prune,
        prune_owner=change.prune_owner,
    )
