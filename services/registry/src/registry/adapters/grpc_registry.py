"""The registry's gRPC edge: messages to use cases and back, errors to statuses, once, here."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

import grpc

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from contracts.roles import Role
from contracts.telemetry import Attribute, Metric
from registry.domain.versioning import DefinitionVersion
from registry.errors import (
    DefinitionNotFoundError,
    EtagMismatchError,
    InvalidDefinitionError,
    InvalidRequestError,
    NamespaceNotServedError,
    RequestIdReusedError,
)
from registry.service.definitions import Bookmark, DefinitionService, SnapshotStart
from rules.checks import Problem
from runtime import authorisation, identity, logs, rpcerrors, telemetry
from runtime.grpcserver import Service

NAME = "backbone.registry.v1.RegistryService"

_READERS = {Role.VIEWER, Role.OPERATOR, Role.AUTHOR, Role.SERVICE}
POLICY = authorisation.policy(
    NAME,
    {
        "ApplyDefinition": {Role.AUTHOR},
        "GetDefinition": _READERS,
        "ListDefinitions": _READERS,
        "WatchDefinitions": {Role.SERVICE, Role.VIEWER},
    },
)

# Problems travel in the trailing metadata, of which clients take 8 KiB: base64, percent-encoding of
# the message and all.
_MAX_DETAIL_BYTES = 3600
_MAX_TEXT = 300
_MAX_MESSAGE = 200
_log = logs.get_logger(__name__)


class RegistryServicer(registry_pb2_grpc.RegistryServiceServicer):
    """`RegistryService` over the use cases."""

    def __init__(self, service: DefinitionService) -> None:
        self._service = service
        self._applies = telemetry.meter(__name__).create_counter(
            Metric.REGISTRY_APPLIES, description="Applied documents by outcome."
        )

    async def ApplyDefinition(  # noqa: N802 - the proto's name
        self,
        request: registry_pb2.ApplyDefinitionRequest,
        context: grpc.aio.ServicerContext[
            registry_pb2.ApplyDefinitionRequest, registry_pb2.ApplyDefinitionResponse
        ],
    ) -> registry_pb2.ApplyDefinitionResponse:
        """Store a document as the next version."""
        del context
        actor = identity.current_identity().subject
        outcome = "refused"
        try:
            with _statuses():
                applied = await self._service.apply(
                    request.document,
                    actor=actor,
                    reason=request.reason,
                    etag=request.etag,
                    request_id=request.request_id,
                    validate_only=request.validate_only,
                )
            outcome = "validated" if request.validate_only else "unchanged"
            if applied.changed:
                outcome = "applied"
                _log.info(
                    "definition_applied",
                    namespace=applied.version.namespace,
                    definition_id=applied.version.definition_id,
                    version=applied.version.version,
                    revision=applied.version.revision,
                    actor=actor,
                )
        finally:
            self._applies.add(1, {Attribute.OUTCOME: outcome})
        return registry_pb2.ApplyDefinitionResponse(
            definition=_message(applied.version), changed=applied.changed
        )

    async def GetDefinition(  # noqa: N802 - the proto's name
        self,
        request: registry_pb2.GetDefinitionRequest,
        context: grpc.aio.ServicerContext[
            registry_pb2.GetDefinitionRequest, registry_pb2.GetDefinitionResponse
        ],
    ) -> registry_pb2.GetDefinitionResponse:
        """Return one version."""
        del context
        with _statuses():
            version = await self._service.get(
                request.namespace, request.definition_id, request.version
            )
        return registry_pb2.GetDefinitionResponse(definition=_message(version))

    async def ListDefinitions(  # noqa: N802 - the proto's name
        self,
        request: registry_pb2.ListDefinitionsRequest,
        context: grpc.aio.ServicerContext[
            registry_pb2.ListDefinitionsRequest, registry_pb2.ListDefinitionsResponse
        ],
    ) -> registry_pb2.ListDefinitionsResponse:
        """Return a page of active definitions."""
        del context
        with _statuses():
            page = await self._service.list(
                request.namespace, page_size=request.page_size, page_token=request.page_token
            )
        return registry_pb2.ListDefinitionsResponse(
            definitions=[_message(version) for version in page.versions],
            next_page_token=page.next_token,
        )

    async def WatchDefinitions(  # noqa: N802 - the proto's name
        self,
        request: registry_pb2.WatchDefinitionsRequest,
        context: grpc.aio.ServicerContext[
            registry_pb2.WatchDefinitionsRequest, registry_pb2.WatchDefinitionsResponse
        ],
    ) -> AsyncIterator[registry_pb2.WatchDefinitionsResponse]:
        """Stream the active definitions, then every change."""
        del context
        with _statuses():
            async for change in self._service.watch(
                request.namespace, after_revision=request.after_revision
            ):
                match change:
                    case SnapshotStart():
                        response = registry_pb2.WatchDefinitionsResponse(
                            snapshot_start=registry_pb2.SnapshotStart()
                        )
                    case Bookmark(revision):
                        response = registry_pb2.WatchDefinitionsResponse(
                            bookmark=registry_pb2.Bookmark(revision=revision)
                        )
                    case DefinitionVersion():
                        response = registry_pb2.WatchDefinitionsResponse(active=_message(change))
                yield response


def grpc_service(service: DefinitionService) -> Service:
    """Return what a gRPC server needs to serve the registry."""
    return Service(
        name=NAME,
        add=registry_pb2_grpc.add_RegistryServiceServicer_to_server,
        servicer=RegistryServicer(service),
        policy=POLICY,
    )


@contextmanager
def _statuses() -> Iterator[None]:
    try:
        yield
    except InvalidDefinitionError as exc:
        raise rpcerrors.InvalidArgumentError(
            _summary(exc), detail=_invalid_definition(exc.problems)
        ) from exc
    except InvalidRequestError as exc:
        raise rpcerrors.InvalidArgumentError(str(exc)) from exc
    except (DefinitionNotFoundError, NamespaceNotServedError) as exc:
        raise rpcerrors.NotFoundError(str(exc)) from exc
    except EtagMismatchError as exc:
        raise rpcerrors.AbortedError(str(exc)) from exc
    except RequestIdReusedError as exc:
        raise rpcerrors.AlreadyExistsError(str(exc)) from exc


def _summary(exc: InvalidDefinitionError) -> str:
    if len(exc.problems) == 1:
        return _cut(str(exc), _MAX_MESSAGE)
    return _cut(f"the definition has {len(exc.problems)} problems: {exc}", _MAX_MESSAGE)


def _invalid_definition(problems: Sequence[Problem]) -> registry_pb2.InvalidDefinition:
    message = registry_pb2.InvalidDefinition()
    for told, problem in enumerate(problems):
        added = message.problems.add(
            path=_cut(problem.path, _MAX_TEXT), message=_cut(problem.message, _MAX_TEXT)
        )
        if message.ByteSize() > _MAX_DETAIL_BYTES and told > 0:
            added.path = ""
            added.message = f"and {len(problems) - told} more"
            break
    return message


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _message(version: DefinitionVersion) -> registry_pb2.Definition:
    message = registry_pb2.Definition(
        namespace=version.namespace,
        definition_id=version.definition_id,
        version=version.version,
        content=version.content,
        content_sha256=version.content_sha256,
        etag=version.etag,
        applied_by=version.applied_by,
        reason=version.reason,
        revision=version.revision,
    )
    if version.applied_at is not None:
        message.applied_at.FromDatetime(version.applied_at)
    return message
