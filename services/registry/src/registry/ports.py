"""What the registry needs of the world, each named for the need."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Never, Protocol, TypeVar

from contracts.resources import ChangeKind, HeldEvents, ResourceKind, ResourceState
from registry.domain.materialisation import Desired, Release, Wakeup
from registry.domain.mending import Difference, DriftKind, Expected, Plan, Standing
from registry.domain.resources import Change, Key, Resource

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was carried out, and what came of it, as JSON of the use case's own."""

    request_id: str
    sha256: str
    answer: Any


class ResourceChanges(Protocol):
    """One transaction that may change resources of one namespace; such transactions take turns.

    `revision` is the newest revision, this transaction's own changes among them.
    """

    now: datetime
    revision: int

    async def request(self, request_id: str) -> Request | None:
        """Return the request that was carried out under this id."""
        ...

    async def remember(self, request: Request) -> None:
        """Record that a request was carried out; forget some that nobody repeats any more."""
        ...

    async def changed(self, *, after_revision: int, limit: int, max_bytes: int) -> list[Resource]:
        """Return current versions by revision, as `ResourceStore.changed` does."""
        ...

    async def apply(
        self, key: Key, content: bytes, *, before: Resource | None, actor: str, reason: str
    ) -> Resource:
        """Store the version after those of `before`, and the event that says so.

        It becomes the current one. A retired resource is active again, another one stays as it is.
        """
        ...

    async def alter(
        self,
        target: Resource,
        change: ChangeKind,
        *,
        state: ResourceState,
        actor: str,
        reason: str,
        held: HeldEvents | None = None,
    ) -> Resource:
        """Record a change that stores no version, and the event that says so.

        `target` is the version that is the current one afterwards.
        """
        ...


class ResourceStore(Protocol):
    """Where resources are."""

    async def change(self, namespace: str, work: Callable[[ResourceChanges], Awaitable[T]]) -> T:
        """Run `work` with the namespace's changes locked; commit it, or nothing if it raises.

        `work` may be run again from its start after a conflict.
        """
        ...

    async def request(self, namespace: str, request_id: str) -> Request | None:
        """Return the request that was carried out under this id."""
        ...

    async def resource(self, namespace: str, key: Key, version: int = 0) -> Resource | None:
        """Return a version of a resource, the current one for 0."""
        ...

    async def resource_at(self, namespace: str, key: Key, at: datetime) -> Resource | None:
        """Return a resource as it was at a time; None when it was not there yet."""
        ...

    async def resources_at_revisions(
        self, namespace: str, revisions: Sequence[int]
    ) -> dict[int, Resource]:
        """Return what each of these revisions changed, as it was right after it."""
        ...

    async def payload_schemas(
        self, namespace: str, event_types: Collection[str]
    ) -> dict[str, dict[int, Mapping[str, Any]]]:
        """Return every schema that these event types ever had, by schema version."""
        ...

    async def page(
        self,
        namespace: str,
        kind: ResourceKind,
        *,
        after_id: str,
        limit: int,
        max_bytes: int,
        at: datetime | None = None,
        owner: str = "",
        show_retired: bool = False,
    ) -> list[Resource]:
        """Return current versions by id, those after `after_id`; as they were at a time.

        At most `limit`, and no more content than `max_bytes` unless it is a single one.
        """
        ...

    async def changed(
        self, namespace: str, *, after_revision: int, limit: int, max_bytes: int
    ) -> list[Resource]:
        """Return current versions by revision, those after `after_revision`, the retired too.

        Bounded as `page`.
        """
        ...

    async def history(
        self, namespace: str, key: Key | None, *, before_revision: int | None, limit: int
    ) -> list[Change]:
        """Return changes of a resource, or of all, newest first."""
        ...

    async def released(self, namespace: str, definition_ids: Collection[str]) -> dict[str, Change]:
        """Return, by id, the newest change of definitions that says what becomes of held events."""
        ...

    async def revision(self, namespace: str) -> int:
        """Return the newest revision; 0 before the first change.

        Every change up to it is visible to whoever reads after this.
        """
        ...


@dataclass(frozen=True, slots=True)
class Materialisation:
    """What the last attempt to hand a definition's schedules on came to; no error is a success."""

    definition_id: str
    revision: int
    attempted_at: datetime
    error: str | None


class Materialisations(Protocol):
    """What is known of handing definitions' schedules on."""

    async def record(
        self, namespace: str, definition_id: str, *, revision: int, error: str | None
    ) -> None:
        """Record that a definition was materialised as of a revision, or why it was not."""
        ...

    async def all(self, namespace: str) -> Sequence[Materialisation]:
        """Return the last attempt for every definition, by id."""
        ...

    async def of(
        self, namespace: str, definition_ids: Collection[str]
    ) -> Sequence[Materialisation]:
        """Return the last attempt for each of these definitions."""
        ...


class ScheduleLedger(Protocol):
    """Who accounts for due times, and keeps what waits."""

    async def put(self, desired: Desired) -> None:
        """Say from when on which schedules count. Idempotent.

        Raises:
            NeighbourUnavailableError: no answer; try again later.
            MaterialisationError: refused.
        """
        ...

    async def release(self, release: Release) -> None:
        """Say what becomes of the events that a definition held. Idempotent.

        Raises:
            NeighbourUnavailableError: no answer; try again later.
            MaterialisationError: refused.
        """
        ...


class WakeupClock(Protocol):
    """What wakes definitions when something is due. Every call may raise NeighbourUnavailableError.

    What was looked at and has changed since is not written over.
    """

    def pages(self) -> AsyncIterator[Mapping[str, str]]:
        """Yield what is there, a page at a time: the mark (`Standing`) of what wakes a definition.

        Possibly a little out of date.
        """
        ...

    async def expected(self, wakeup: Wakeup) -> Expected:
        """Return what `wakeup` is written as."""
        ...

    async def inspect(self, definition_id: str) -> Standing | None:
        """Return what wakes a definition, as it is now; None when nothing does."""
        ...

    async def create(self, wakeup: Wakeup, *, at_once: bool) -> None:
        """Wake a definition from now on; with `at_once` also now.

        Raises:
            WakeupMovedError: something does already.
            MaterialisationError: refused.
        """
        ...

    async def update(self, wakeup: Wakeup, standing: Standing, *, at_once: bool) -> None:
        """Wake a definition otherwise; with `at_once` also now.

        It changes nothing, and need not say so, when what wakes it is no longer `standing`.

        Raises:
            WakeupMovedError: it said so.
            MaterialisationError: refused.
        """
        ...

    async def remove(self, definition_id: str) -> None:
        """Wake the definition no longer. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class FoundDrift:
    """Something that was changed by hand, and when it was put back; None while it is not."""

    drift_id: int
    definition_id: str
    kind: DriftKind
    differences: Sequence[Difference]
    revision: int
    found_at: datetime
    repaired_at: datetime | None


class DriftLog(Protocol):
    """The record of what was changed by hand and put back; kept for 90 days."""

    async def found(self, namespace: str, definition_id: str, plan: Plan, *, revision: int) -> bool:
        """Record a drift before it is repaired; False when it was recorded already."""
        ...

    async def repaired(self, namespace: str, definition_id: str) -> bool:
        """Record that all is as it should be; False when nothing else was recorded."""
        ...

    async def open(self, namespace: str) -> set[str]:
        """Return whose drift was found and is not known to be repaired."""
        ...

    async def page(
        self, namespace: str, *, definition_id: str, before: int | None, limit: int
    ) -> Sequence[FoundDrift]:
        """Return drifts, newest first: of one definition or, for an empty id, of all."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads, or did last, and when all was last compared with what is there."""

    holder: str
    term: int
    leads: bool
    compared_at: datetime | None


class Leadership(Protocol):
    """Which of several replicas may act."""

    def held(self) -> AbstractAsyncContextManager["Term"]:
        """Wait until this process leads, and lead until the block is left."""
        ...


class Leases(Protocol):
    """What is known of who leads."""

    async def lease(self, namespace: str) -> Lease | None:
        """Return who leads a namespace, None when nobody ever did."""
        ...


class Term(Protocol):
    """A time of leading. It ends by itself where it is not kept."""

    number: int

    def confirm(self) -> None:
        """Return while this process leads for sure. Raises LeadershipLostError otherwise."""
        ...

    async def keep(self) -> Never:
        """Renew the term as long as it is ours. Raises LeadershipLostError when it no longer is."""
        ...

    async def compared(self) -> None:
        """Record that everything was compared with what is there."""
        ...
