"""What the registry needs of the world, each named for the need."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from registry.domain.materialisation import Desired, Wakeup
from registry.domain.versioning import DefinitionVersion

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was carried out, and what came of it."""

    request_id: str
    sha256: str
    definition_id: str
    version: int
    changed: bool


class DefinitionChange(Protocol):
    """One transaction that may change definitions of one namespace; changes come one at a time."""

    now: datetime
    next_revision: int

    async def request(self, request_id: str) -> Request | None:
        """Return the request that was carried out under this id."""
        ...

    async def remember(self, request: Request) -> None:
        """Record that a request was carried out."""
        ...

    async def active(self, definition_id: str) -> DefinitionVersion | None:
        """Return the active version."""
        ...

    async def version(self, definition_id: str, version: int) -> DefinitionVersion | None:
        """Return a version."""
        ...

    async def append(self, version: DefinitionVersion) -> None:
        """Store a version, which becomes the active one, and the event that says so."""
        ...


class DefinitionStore(Protocol):
    """Where definitions are."""

    async def change(self, namespace: str, work: Callable[[DefinitionChange], Awaitable[T]]) -> T:
        """Run `work` with the namespace's changes locked; commit it, or nothing if it raises.

        `work` may be run again from its start after a conflict.
        """
        ...

    async def active(self, namespace: str, definition_id: str) -> DefinitionVersion | None:
        """Return the active version of a definition."""
        ...

    async def version(
        self, namespace: str, definition_id: str, version: int
    ) -> DefinitionVersion | None:
        """Return a version of a definition."""
        ...

    async def page(
        self, namespace: str, *, after_id: str, limit: int, max_bytes: int
    ) -> list[DefinitionVersion]:
        """Return active versions by id, those after `after_id`.

        At most `limit`, and no more content than `max_bytes` unless it is a single one.
        """
        ...

    async def changed(
        self, namespace: str, *, after_revision: int, limit: int, max_bytes: int
    ) -> list[DefinitionVersion]:
        """Return active versions by revision, those after `after_revision`; bounded as `page`."""
        ...

    async def revision(self, namespace: str) -> int:
        """Return the newest revision; 0 before the first change.

        Every change up to it is visible to whoever reads after this.
        """
        ...


class Materialisations(Protocol):
    """What is known of handing definitions' schedules on, for people to look at."""

    async def record(
        self, namespace: str, definition_id: str, *, version: int, error: str | None
    ) -> None:
        """Record that a version was materialised, or why it was not."""
        ...


class ScheduleLedger(Protocol):
    """Who accounts for due times."""

    async def put(self, desired: Desired) -> None:
        """Say from when on which schedules count. Idempotent.

        Raises:
            NeighbourUnavailableError: no answer; try again later.
            MaterialisationError: refused.
        """
        ...


class WakeupClock(Protocol):
    """What wakes definitions when something is due."""

    async def fingerprints(self, namespace: str) -> dict[str, str]:
        """Return what is there: the fingerprint of each definition that is woken.

        Possibly a little out of date. Raises NeighbourUnavailableError.
        """
        ...

    async def put(self, wakeup: Wakeup, *, at_once: bool) -> None:
        """Make it so that the definition is woken as `wakeup` says. Idempotent.

        With `at_once` it is also woken now, if that changed anything.

        Raises:
            NeighbourUnavailableError: no answer; try again later.
            MaterialisationError: refused.
        """
        ...

    async def remove(self, namespace: str, definition_id: str) -> None:
        """Wake the definition no longer. Idempotent. Raises NeighbourUnavailableError."""
        ...


class Leadership(Protocol):
    """Which of several replicas may act."""

    def held(self) -> AbstractAsyncContextManager["Term"]:
        """Wait until this process leads, and lead until the block is left."""
        ...


class Term(Protocol):
    """A time of leading."""

    async def confirm(self) -> None:
        """Return while this process leads. Raises LeadershipLostError when it no longer does."""
        ...
