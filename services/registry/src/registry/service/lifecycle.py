"""What happens to a resource besides being applied: activated, disabled, enabled, retired."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition, Mode, WhileDisabled
from contracts.resources import ChangeKind, HeldEvents, ResourceKind, ResourceState
from registry.domain import dependencies, planning, proposals, validation
from registry.domain.heads import View
from registry.domain.resources import Key, Resource
from registry.errors import (
    EtagMismatchError,
    InvalidDocumentsError,
    InvalidRequestError,
    Located,
    ResourceInUseError,
    ResourceNotFoundError,
    StateError,
)
from registry.ports import ResourceChanges, ResourceStore
from registry.service import requests
from registry.service.mirror import Mirrors
from registry.service.outcomes import Altered
from registry.service.requests import Asked
from registry.service.turns import Done, Turns, Work

_EMPTY = validation.Reading((), ())


@dataclass(frozen=True, slots=True)
class _Alteration:
    """What is to happen to a resource: `target` is its current version afterwards."""

    target: Resource
    change: ChangeKind
    state: ResourceState
    held: HeldEvents | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """Which resource is meant, as of which etag, and who asks."""

    namespace: str
    key: Key
    etag: str
    asked: Asked


_Decide = Callable[[View, Resource], Awaitable[_Alteration | None]]


class Lifecycle:
    """The use cases that change a resource without a document."""

    def __init__(
        self,
        store: ResourceStore,
        mirrors: Mirrors,
        turns: Turns,
        *,
        catalogue: Catalogue | None,
    ) -> None:
        self._store = store
        self._mirrors = mirrors
        self._turns = turns
        self._catalogue = catalogue

    async def activate(self, asking: Asking, version: int) -> Altered:
        """Do what `ResourceService.activate` says."""
        requests.require_version("version", version)
        if not version:
            raise InvalidRequestError("version", "say which one: versions are counted from 1")

        async def decide(view: View, head: Resource) -> _Alteration | None:
            _refuse_retired(head)
            if head.version == version:
                return None
            target = await self._store.resource(asking.namespace, asking.key, version)
            if target is None:
                raise ResourceNotFoundError(
                    asking.namespace, asking.key.resource_id, f" at version {version}"
                )
            problems = await asyncio.to_thread(self._problems, view, target)
            if problems:
                raise InvalidDocumentsError(problems)
            return _Alteration(
                replace(target, versions=head.versions), ChangeKind.ACTIVATED, head.state
            )

        return await self._alter("activate", asking, decide)

    async def disable(self, asking: Asking) -> Altered:
        """Do what `ResourceService.disable` says."""

        async def decide(_: View, head: Resource) -> _Alteration | None:
            _refuse_retired(head)
            if head.state is ResourceState.DISABLED:
                return None
            return _Alteration(head, ChangeKind.DISABLED, ResourceState.DISABLED)

        return await self._alter("disable", asking, decide)

    async def enable(self, asking: Asking, held: HeldEvents | None) -> Altered:
        """Do what `ResourceService.enable` says."""

        async def decide(_: View, head: Resource) -> _Alteration | None:
            _refuse_retired(head)
            if head.state is ResourceState.ACTIVE:
                return None
            definition = await asyncio.to_thread(head.load)
            holds = (
                isinstance(definition, ActivityDefinition)
                and definition.spec.while_disabled is WhileDisabled.HOLD
            )
            if holds and held is None:
                raise InvalidRequestError(
                    "held",
                    "the definition has whileDisabled: hold; say what becomes of the events that "
                    f"it held: {', '.join(HeldEvents)}",
                )
            if (
                held is HeldEvents.COMPRESS
                and isinstance(definition, ActivityDefinition)
                and definition.spec.mode is Mode.STATEFUL
            ):
                raise InvalidRequestError(
                    "held",
                    "an instance of a stateful definition takes its events one by one; choose "
                    f"{HeldEvents.START} or {HeldEvents.DISCARD}",
                )
            return _Alteration(head, ChangeKind.ENABLED, ResourceState.ACTIVE, held)

        return await self._alter("enable", asking, decide)

    async def retire(self, asking: Asking) -> Altered:
        """Do what `ResourceService.retire` says."""

        async def decide(view: View, head: Resource) -> _Alteration | None:
            if head.state is ResourceState.RETIRED:
                return None
            if head.key.kind is ResourceKind.EVENT_TYPE:
                users = await asyncio.to_thread(_listeners, view, head.key.resource_id)
                if users:
                    raise ResourceInUseError(
                        head.key.resource_id, sorted(user.key.resource_id for user in users)
                    )
            return _Alteration(head, ChangeKind.RETIRED, ResourceState.RETIRED)

        return await self._alter("retire", asking, decide)

    async def _alter(self, name: str, asking: Asking, decide: _Decide) -> Altered:
        """Find the resource, decide what happens to it, and do that in its turn."""
        namespace, key, asked = asking.namespace, asking.key, asking.asked
        requests.require_served(namespace, self._mirrors.namespaces)

        def rests_on(view: View) -> object:
            head = view.get(key)
            others = (
                (
                    view.newest[ResourceKind.EVENT_TYPE],
                    view.newest[ResourceKind.ACTIVITY_DEFINITION],
                )
                if key.kind is ResourceKind.EVENT_TYPE or name == "activate"
                else None
            )
            return (head and head.revision, others)

        async def prepare(view: View) -> tuple[Resource, _Alteration | None]:
            head = view.get(key)
            if head is None:
                raise ResourceNotFoundError(namespace, key.resource_id)
            if asking.etag and asking.etag != head.etag:
                raise EtagMismatchError(key.resource_id, planning.current_state(head))
            return head, await decide(view, head)

        async def carry_out(
            changes: ResourceChanges, _: View, prepared: tuple[Resource, _Alteration | None]
        ) -> Done[Altered]:
            resource, alteration = prepared
            if alteration is not None:
                resource = await changes.alter(
                    alteration.target,
                    alteration.change,
                    state=alteration.state,
                    actor=asked.actor,
                    reason=asked.reason,
                    held=alteration.held,
                )
            changed = alteration is not None
            return Done(
                Altered(resource, changed),
                [resource] if changed else [],
                {"revision": resource.revision, "changed": changed},
            )

        async def answered(answer: Any) -> Altered:
            revision = answer["revision"]
            then = await self._store.resources_at_revisions(namespace, [revision])
            return Altered(then[revision], answer["changed"])

        altered = await self._turns.take(
            namespace,
            asked,
            Work(
                rests_on=rests_on,
                prepare=prepare,
                carry_out=carry_out,
                answered=answered,
            ),
        )
        if not altered.resource.content:
            # Of what was retired already only the database has the content.
            return await answered({"revision": altered.resource.revision, "changed": False})
        return altered

    def _problems(self, view: View, target: Resource) -> list[Located]:
        """Return what is wrong with a stored version, and with who depends on it, as of now."""
        event_types = {
            resource.key.resource_id: resource for resource in view.in_use(ResourceKind.EVENT_TYPE)
        }
        checked = [target]
        if target.key.kind is ResourceKind.EVENT_TYPE:
            event_types[target.key.resource_id] = target
            checked += _listeners(view, target.key.resource_id)
        surroundings = validation.surroundings(
            _EMPTY, event_types=event_types, catalogue=self._catalogue
        )
        return proposals.stored_problems(checked, surroundings)


def asking(
    name: str,
    namespace: str,
    key: Key,
    *details: Any,
    etag: str,
    request_id: str,
    actor: str,
    reason: str,
) -> Asking:
    """Return what a request asks for.

    Raises:
        InvalidRequestError: the reason or the request id cannot be used.
    """
    asked = requests.asked(
        name, namespace, list(key), *details, etag,
        actor=actor, reason=reason, request_id=request_id,
    )  # fmt: skip
    return Asking(namespace, key, etag, asked)


def _listeners(view: View, event_type: str) -> list[Resource]:
    return dependencies.listeners(view.in_use(ResourceKind.ACTIVITY_DEFINITION), [event_type])


def _refuse_retired(head: Resource) -> None:
    if head.state is ResourceState.RETIRED:
        kind, resource_id = head.key
        raise StateError(f"{kind} {resource_id!r} is retired: applying it brings it back")
