"""The registry's gRPC edge: requests to use cases and back, each change counted and logged."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import grpc

from backbone.registry.v1 import registry_pb2 as pb
from backbone.registry.v1 import registry_pb2_grpc
from contracts.roles import Role
from contracts.telemetry import Attribute, Metric
from registry.adapters import messages, requests, statuses
from registry.adapters.rendered import Rendered
from registry.domain.planning import Action
from registry.domain.resources import Resource
from registry.service.drift import DriftService
from registry.service.outcomes import Altered, ApplyOutcome
from registry.service.resources import ResourceService
from runtime import authorisation, identity, logs, telemetry
from runtime.grpcserver import Service

NAME = "backbone.registry.v1.RegistryService"

_READERS = {Role.VIEWER, Role.OPERATOR, Role.AUTHOR, Role.SERVICE}
POLICY = authorisation.policy(
    NAME,
    {
        "ApplyResources": {Role.AUTHOR},
        "ActivateVersion": {Role.AUTHOR},
        "RetireResource": {Role.AUTHOR},
        "DisableDefinition": {Role.AUTHOR, Role.OPERATOR},
        "EnableDefinition": {Role.AUTHOR, Role.OPERATOR},
        "GetResource": _READERS,
        "ListResources": _READERS,
        "ListChanges": _READERS,
        "DiffVersions": _READERS,
        "WatchResources": {Role.SERVICE, Role.VIEWER, Role.OPERATOR},
        "GetDrift": {Role.VIEWER, Role.OPERATOR},
    },
)

_FOUND_BYTES = 64 * 1024 * 1024
_TOLD_BYTES = 16 * 1024 * 1024

_log = logs.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class RegistryServicer(registry_pb2_grpc.RegistryServiceServicer):
    """`RegistryService` over the use cases."""

    def __init__(self, service: ResourceService, drift: DriftService) -> None:
        self._service = service
        self._drift = drift
        # Readers ask for the same, and watchers are told the same: the mirror's own objects.
        self._found = Rendered(messages.get_response, max_bytes=_FOUND_BYTES)
        self._told = Rendered(messages.watch_response, max_bytes=_TOLD_BYTES)
        self._applies = telemetry.meter(__name__).create_counter(
            Metric.REGISTRY_APPLIES, description="Applied documents by outcome."
        )

    async def ApplyResources(  # noqa: N802 - the proto's name
        self, request: pb.ApplyResourcesRequest, context: Context
    ) -> pb.ApplyResourcesResponse:
        """Validate documents together, and store what changed."""
        del context
        actor = identity.current_identity().subject
        outcome: ApplyOutcome | None = None
        try:
            with statuses.told():
                outcome = await self._service.apply(
                    requests.sources(request),
                    namespace=request.namespace,
                    actor=actor,
                    reason=request.reason,
                    validate_only=request.validate_only,
                    prune=requests.prune(request),
                    plan_sha256=request.plan_sha256,
                    request_id=request.request_id,
                )
        finally:
            self._count(request, outcome)
        if not request.validate_only:
            for row in outcome.results:
                if row.action is not Action.UNCHANGED:
                    _log_change(row.resource)
        # A thousand documents with all their differences: too long for the event loop.
        return await asyncio.to_thread(messages.apply_response, outcome)

    async def GetResource(  # noqa: N802 - the proto's name
        self, request: pb.GetResourceRequest, context: Context
    ) -> pb.GetResourceResponse:
        """Return one version."""
        del context
        with statuses.told():
            found = await self._service.get(
                request.namespace,
                requests.kind(request.kind),
                request.resource_id,
                version=request.version,
                as_of=requests.moment(request, "as_of"),
            )
        return self._found.of(found)

    async def ListResources(  # noqa: N802 - the proto's name
        self, request: pb.ListResourcesRequest, context: Context
    ) -> pb.ListResourcesResponse:
        """Return a page of current versions."""
        del context
        with statuses.told():
            masked = requests.mask(request.read_mask)
            page = await self._service.list(
                request.namespace,
                requests.kind(request.kind),
                page_size=request.page_size,
                page_token=request.page_token,
                as_of=requests.moment(request, "as_of"),
                show_retired=request.show_retired,
                owner=request.owner,
            )
        return pb.ListResourcesResponse(
            resources=[masked(messages.resource(found)) for found in page.resources],
            next_page_token=page.next_token,
        )

    async def ListChanges(  # noqa: N802 - the proto's name
        self, request: pb.ListChangesRequest, context: Context
    ) -> pb.ListChangesResponse:
        """Return a page of what happened."""
        del context
        with statuses.told():
            page = await self._service.history(
                request.namespace,
                requests.kind_or_all(request.kind),
                request.resource_id,
                page_size=request.page_size,
                page_token=request.page_token,
            )
        return pb.ListChangesResponse(
            changes=[messages.change(change) for change in page.changes],
            next_page_token=page.next_token,
        )

    async def DiffVersions(  # noqa: N802 - the proto's name
        self, request: pb.DiffVersionsRequest, context: Context
    ) -> pb.DiffVersionsResponse:
        """Return what differs in meaning."""
        del context
        with statuses.told():
            diff = await self._service.diff(
                request.namespace,
                requests.kind(request.kind),
                request.resource_id,
                from_version=request.from_version,
                to_version=request.to_version,
            )
        return messages.diff_response(diff)

    async def ActivateVersion(  # noqa: N802 - the proto's name
        self, request: pb.ActivateVersionRequest, context: Context
    ) -> pb.ActivateVersionResponse:
        """Make a stored version the current one again."""
        del context
        with statuses.told():
            altered = await self._service.activate(
                request.namespace,
                requests.kind(request.kind),
                request.resource_id,
                version=request.version,
                etag=request.etag,
                request_id=request.request_id,
                actor=identity.current_identity().subject,
                reason=request.reason,
            )
        return pb.ActivateVersionResponse(resource=_altered(altered), changed=altered.changed)

    async def DisableDefinition(  # noqa: N802 - the proto's name
        self, request: pb.DisableDefinitionRequest, context: Context
    ) -> pb.DisableDefinitionResponse:
        """Start no more runs of a definition."""
        del context
        with statuses.told():
            altered = await self._service.disable(
                request.namespace,
                request.definition_id,
                etag=request.etag,
                request_id=request.request_id,
                actor=identity.current_identity().subject,
                reason=request.reason,
            )
        return pb.DisableDefinitionResponse(resource=_altered(altered), changed=altered.changed)

    async def EnableDefinition(  # noqa: N802 - the proto's name
        self, request: pb.EnableDefinitionRequest, context: Context
    ) -> pb.EnableDefinitionResponse:
        """Start runs of a definition again."""
        del context
        with statuses.told():
            altered = await self._service.enable(
                request.namespace,
                request.definition_id,
                held=requests.held(request.held),
                etag=request.etag,
                request_id=request.request_id,
                actor=identity.current_identity().subject,
                reason=request.reason,
            )
        return pb.EnableDefinitionResponse(resource=_altered(altered), changed=altered.changed)

    async def RetireResource(  # noqa: N802 - the proto's name
        self, request: pb.RetireResourceRequest, context: Context
    ) -> pb.RetireResourceResponse:
        """Take a resource out of use."""
        del context
        with statuses.told():
            altered = await self._service.retire(
                request.namespace,
                requests.kind(request.kind),
                request.resource_id,
                etag=request.etag,
                request_id=request.request_id,
                actor=identity.current_identity().subject,
                reason=request.reason,
            )
        return pb.RetireResourceResponse(resource=_altered(altered), changed=altered.changed)

    async def WatchResources(  # noqa: N802 - the proto's name
        self, request: pb.WatchResourcesRequest, context: Context
    ) -> AsyncIterator[pb.WatchResourcesResponse]:
        """Stream the resources of a namespace, then every change."""
        del context
        with statuses.told():
            kinds = [requests.kind(kind, field="kinds") for kind in request.kinds]
            items = self._service.watch(
                request.namespace, after_revision=request.after_revision, kinds=kinds
            )
            async with aclosing(items):
                async for item in items:
                    if isinstance(item, Resource):
                        yield self._told.of(item)
                    else:
                        yield messages.sign(item)

    async def GetDrift(  # noqa: N802 - the proto's name
        self, request: pb.GetDriftRequest, context: Context
    ) -> pb.GetDriftResponse:
        """Compare what is applied with what ledger and Temporal have."""
        del context
        with statuses.told():
            report = await self._drift.report(request.namespace)
        return messages.drift_response(report)

    def _count(self, request: pb.ApplyResourcesRequest, outcome: ApplyOutcome | None) -> None:
        if outcome is None or outcome.problems:
            self._applies.add(len(request.documents) or 1, {Attribute.OUTCOME: "refused"})
            return
        for told in _outcomes(outcome, validate_only=request.validate_only):
            self._applies.add(1, {Attribute.OUTCOME: told})


def grpc_service(service: ResourceService, drift: DriftService) -> Service:
    """Return what a gRPC server needs to serve the registry."""
    return Service(
        name=NAME,
        add=registry_pb2_grpc.add_RegistryServiceServicer_to_server,
        servicer=RegistryServicer(service, drift),
        policy=POLICY,
    )


def _outcomes(outcome: ApplyOutcome, *, validate_only: bool) -> Sequence[str]:
    if validate_only:
        return ["validated"] * len(outcome.results)
    return [
        {Action.UNCHANGED: "unchanged", Action.PRUNE: "pruned"}.get(row.action, "applied")
        for row in outcome.results
    ]


def _altered(altered: Altered) -> pb.Resource:
    if altered.changed:
        _log_change(altered.resource)
    return messages.resource(altered.resource)


def _log_change(resource: Resource) -> None:
    latest = resource.latest
    _log.info(
        "resource_changed",
        namespace=resource.namespace,
        kind=resource.key.kind.value,
        resource_id=resource.key.resource_id,
        change=latest.change.value,
        version=latest.version,
        revision=latest.revision,
        actor=latest.actor,
    )
