"""What the router needs from outside, named for the need."""

from collections.abc import Iterable
from typing import Protocol

from contracts.rejections import Reason
from contracts.runs import RunInput
from router.domain.records import Record
from router.domain.routing import Active, Index


class ActiveDefinitions(Protocol):
    """The definitions in use, the disabled ones too, kept current by somebody else."""

    def index(self, namespace: str) -> Index:
        """Return what is known of a namespace now. Raises KeyError for one not served here."""
        ...

    async def latest(self, namespace: str, definition_id: str) -> Active:
        """Return the version in use, asked for now; what was known last when nobody answers.

        Raises:
            DefinitionUnknownError: there is none, or it is retired; the message says which.
            DefinitionUnusableError: this release cannot read it.
            TransientError: nobody answers, and nothing is known of it.
        """
        ...


class WorkflowStarter(Protocol):
    """Starts runs."""

    async def start(self, run: RunInput, *, task_queue: str) -> bool:
        """Start a run; False when its id had been started before, which is success too.

        Raises:
            TransientError: it may or may not have started; the same again is safe.
            StartRefusedError: it will be refused however often it is tried.
        """
        ...

    async def started(self, namespace: str, run_id: str) -> RunInput | None:
        """Return what a run was started with, None when it is not known (any more).

        Raises:
            TransientError: nobody answers now.
        """
        ...


class SeenEvents(Protocol):
    """A memory of events whose outcome is durable. It may forget; it never fails."""

    async def digest(self, namespace: str, source: str, event_id: str) -> str | None:
        """Return the digest that was remembered with an event, None when there is none."""
        ...

    def remember(self, namespace: str, source: str, event_id: str, digest: str) -> None:
        """Keep the digest of an event, soon and without a promise."""
        ...


class DeadLetters(Protocol):
    """Where refused records are parked."""

    async def park(
        self, record: Record, *, namespace: str, reason: Reason, detail: str, attempts: int
    ) -> None:
        """Keep a record with the reason; return when it is durable.

        Raises:
            TransientError: it was not kept.
        """
        ...


class Observer(Protocol):
    """Counts what happens."""

    def settled(self, namespace: str, outcome: str, seconds: float) -> None:
        """One record has its durable outcome."""
        ...

    def parked(self, namespace: str, reason: Reason) -> None:
        """One record became a dead letter."""
        ...

    def candidates(self, namespace: str, outcomes: Iterable[tuple[str, str]]) -> None:
        """An event was held against definitions: (definition id, outcome) each."""
        ...
