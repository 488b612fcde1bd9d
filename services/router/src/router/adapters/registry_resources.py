"""The definitions, event types and producers in use, kept current by the registry's changes.

No event waits for the registry: routing reads memory. While the registry is away the router goes
on with what it knew last, and says so. The first snapshot is waited for, since an event that is
held against nothing would be dropped.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import grpc
from pydantic import ValidationError

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from contracts.eventtypes import EventType
from contracts.producers import Producer
from router.domain import routing
from router.domain.policy import Policy
from router.domain.routing import Active, Index
from router.errors import (
    DefinitionUnknownError,
    DefinitionUnusableError,
    RouterError,
    TransientError,
)
from rules import expressions
from rules.errors import RulesError
from runtime import logs
from runtime.faultpoints import faultpoint

SILENCE_S = 45.0
"""The registry says something every 15 s; one that is silent for so long is taken for away."""
RECONNECT_FIRST_S = 0.2
RECONNECT_LONGEST_S = 10.0
LATEST_TIMEOUT_S = 2.0

_DEFINITION = registry_pb2.RESOURCE_KIND_ACTIVITY_DEFINITION
_EVENT_TYPE = registry_pb2.RESOURCE_KIND_EVENT_TYPE
_PRODUCER = registry_pb2.RESOURCE_KIND_PRODUCER
_KINDS = (_DEFINITION, _EVENT_TYPE, _PRODUCER)

_log = logs.get_logger(__name__)


@dataclass(slots=True)
class _Known:
    """What stood at a revision, that of the newest change in it."""

    index: Index = field(default_factory=Index)
    policy: Policy = field(default_factory=Policy)
    revision: int = 0


@dataclass(slots=True)
class _Watched:
    """What is known of one namespace; `revision` is safe to resume after."""

    known: _Known = field(default_factory=_Known)
    snapshot: _Known | None = None
    revision: int = 0
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    unusable: dict[str, str] = field(default_factory=dict)
    problem: str | None = "no answer yet"

    def target(self) -> _Known:
        return self.known if self.snapshot is None else self.snapshot


class RegistryResources:
    """Watches the resources of the namespaces, from `start` to `stop`."""

    name = "definitions"

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        namespaces: Sequence[str],
        on_snapshot: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_snapshot` is called when all of a namespace has come, anew or for the first time."""
        # Its async form is told by the channel; the stubs' overloads need the annotation.
        self._stub: registry_pb2_grpc.RegistryServiceAsyncStub = (
            registry_pb2_grpc.RegistryServiceStub(channel)
        )
        self._watched = {namespace: _Watched() for namespace in namespaces}
        self._on_snapshot = on_snapshot
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to watch; `complete` tells when a first snapshot is there."""
        self._tasks = [
            asyncio.create_task(self._watch(namespace, watched), name=f"definitions-{namespace}")
            for namespace, watched in self._watched.items()
        ]

    async def stop(self) -> None:
        """Stop watching; what is known stays known."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def index(self, namespace: str) -> Index:
        """Return the definitions of a namespace. Raises KeyError for one that is not watched."""
        return self._watched[namespace].known.index

    def policy(self, namespace: str) -> Policy:
        """Return what a namespace lets in. Raises KeyError for one that is not watched."""
        return self._watched[namespace].known.policy

    def revision(self, namespace: str) -> int:
        """Return the revision of the newest change that is in use in a namespace."""
        return self._watched[namespace].known.revision

    def known(self) -> bool:
        """Say whether there was a first snapshot of every namespace."""
        return all(watched.complete.is_set() for watched in self._watched.values())

    async def complete(self, namespace: str) -> None:
        """Wait for the first snapshot of a namespace."""
        await self._watched[namespace].complete.wait()

    async def ready(self) -> None:
        """Return when events can be routed.

        Raises:
            RouterError: a namespace has no snapshot yet, or a resource cannot be read.
        """
        for namespace, watched in self._watched.items():
            if not watched.complete.is_set():
                raise RouterError(f"no definitions of {namespace!r} yet: {watched.problem}")
            if watched.unusable:
                raise RouterError(
                    f"resources of {namespace!r} that this release cannot read: "
                    + ", ".join(sorted(watched.unusable))
                )

    async def latest(self, namespace: str, definition_id: str) -> Active:
        """Ask the registry for the version in use; what was known last when it is away.

        Raises:
            DefinitionUnknownError: there is none, or it is retired; the message says which.
            DefinitionUnusableError: this release cannot read it.
            TransientError: the registry is away, and nothing is known of the definition.
        """
        request = registry_pb2.GetResourceRequest(
            namespace=namespace, kind=_DEFINITION, resource_id=definition_id
        )
        try:
            faultpoint("router.before_get_definition")
            response = await self._stub.GetResource(request, timeout=LATEST_TIMEOUT_S)
            faultpoint("router.after_get_definition")
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                known_ids = [
                    active.definition_id for active in self._watched[namespace].known.index
                ]
                raise DefinitionUnknownError(
                    expressions.did_you_mean(definition_id, known_ids, "definition")
                ) from exc
            known = self._watched[namespace].known.index.get(definition_id)
            if known is None:
                raise TransientError(f"the registry cannot be asked: {_told(exc)}") from exc
            _log.warning(
                "definition_maybe_stale", namespace=namespace, definition_id=definition_id,
                version=known.version, error=_told(exc),
            )  # fmt: skip
            return known
        if response.resource.state == registry_pb2.RESOURCE_STATE_RETIRED:
            raise DefinitionUnknownError(
                f"definition {definition_id!r} is retired; applying it brings it back"
            )
        return compile_resource(response.resource)

    async def _watch(self, namespace: str, watched: _Watched) -> None:
        failures = 0
        while True:
            try:
                async for change in self._changes(namespace, watched.revision):
                    if watched.problem is not None and watched.complete.is_set():
                        _log.info("registry_back", namespace=namespace)
                    failures, watched.problem = 0, None
                    was = watched.known
                    _apply(namespace, watched, change)
                    if watched.known is not was:
                        self._on_snapshot()
                told = "the stream of changes ended"
            except grpc.aio.AioRpcError as exc:
                told = _told(exc)
            except TimeoutError:
                told = f"silent for {SILENCE_S:.0f} s"
            # A snapshot that broke off is begun again; until then the earlier one is used.
            watched.snapshot = None
            watched.problem = told
            failures += 1
            _log.warning(
                "registry_away",
                namespace=namespace,
                error=told,
                known_definitions=len(watched.known.index),
                as_of_revision=watched.revision,
            )
            pause = min(RECONNECT_LONGEST_S, RECONNECT_FIRST_S * 2.0 ** min(failures - 1, 10))
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def _changes(self, namespace: str, after_revision: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - an iterator of WatchResourcesResponse
        call = self._stub.WatchResources(
            registry_pb2.WatchResourcesRequest(
                namespace=namespace, after_revision=after_revision, kinds=_KINDS
            )
        )
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    faultpoint("router.before_read_change")
                    change = await call.read()
                    faultpoint("router.after_read_change")
                if change is grpc.aio.EOF:
                    return
                yield change
        finally:
            call.cancel()


def _apply(namespace: str, watched: _Watched, change: registry_pb2.WatchResourcesResponse) -> None:
    kind = change.WhichOneof("change")
    if kind == "snapshot_start":
        # Built aside: routing goes on with the earlier resources until this one is whole.
        watched.snapshot = _Known()
        watched.unusable.clear()
    elif kind == "resource" and change.resource.kind in _KINDS:
        _take(namespace, watched, change.resource)
    elif kind == "bookmark":
        # The only revision that is safe to resume after: all before it has been sent.
        watched.revision = change.bookmark.revision
        watched.target().revision = max(watched.target().revision, watched.revision)
        if watched.snapshot is not None:
            watched.known, watched.snapshot = watched.snapshot, None
        if not watched.complete.is_set():
            count = len(watched.known.index)
            _log.info("definitions_known", namespace=namespace, count=count)
            watched.complete.set()


def _take(namespace: str, watched: _Watched, resource: registry_pb2.Resource) -> None:
    target = watched.target()
    target.revision = max(target.revision, resource.latest.revision)
    watched.unusable.pop(_name(resource), None)
    if resource.state == registry_pb2.RESOURCE_STATE_RETIRED:
        _remove(target, resource)
        return
    try:
        _put(target, resource)
    except (DefinitionUnusableError, ValidationError, RulesError) as exc:
        _keep(target, watched.known, resource)
        if resource.kind != _DEFINITION or not _disabled(resource):
            # Disabling a definition is how an operator ends this.
            watched.unusable[_name(resource)] = str(exc)
        _log.error(
            "resource_unusable", namespace=namespace, resource=_name(resource),
            version=resource.version, error=str(exc)[:500],
        )  # fmt: skip


def _name(resource: registry_pb2.Resource) -> str:
    if resource.kind == _DEFINITION:
        return resource.resource_id
    kind = "event type" if resource.kind == _EVENT_TYPE else "producer"
    return f"{kind} {resource.resource_id}"


def _remove(target: _Known, resource: registry_pb2.Resource) -> None:
    if resource.kind == _DEFINITION:
        target.index.remove(resource.resource_id)
    elif resource.kind == _EVENT_TYPE:
        target.policy.remove_event_type(resource.resource_id)
    else:
        target.policy.remove_producer(resource.resource_id)


def _put(target: _Known, resource: registry_pb2.Resource) -> None:
    if resource.kind == _DEFINITION:
        target.index.put(compile_resource(resource))
    elif resource.kind == _EVENT_TYPE:
        target.policy.put_event_type(EventType.model_validate_json(resource.content))
    else:
        producer = Producer.model_validate_json(resource.content)
        target.policy.put_producer(resource.resource_id, producer)


def _keep(target: _Known, known: _Known, resource: registry_pb2.Resource) -> None:
    """Go on with the version before: an old rule is nearer to what is wanted than none."""
    if resource.kind == _EVENT_TYPE:
        target.policy.keep_event_type(resource.resource_id, known.policy)
    elif resource.kind == _PRODUCER:
        target.policy.keep_producer(resource.resource_id, known.policy)
    else:
        earlier = known.index.get(resource.resource_id)
        if earlier is not None:
            target.index.put(
                replace(earlier, revision=resource.latest.revision, disabled=_disabled(resource))
            )


def compile_resource(resource: registry_pb2.Resource) -> Active:
    """Compile a definition in the state that the registry tells.

    Raises:
        DefinitionUnusableError: this release cannot read it.
    """
    return routing.compile_definition(
        resource.content,
        version=resource.version,
        revision=resource.latest.revision,
        disabled=_disabled(resource),
    )


def _disabled(resource: registry_pb2.Resource) -> bool:
    # A state that this release does not know starts nothing either.
    return resource.state != registry_pb2.RESOURCE_STATE_ACTIVE


def _told(exc: grpc.aio.AioRpcError) -> str:
    return f"{exc.code().name}: {exc.details()}"
