"""Takes out of events what is sensitive, before anything of them is written or started.

From here on an event is what is kept of it: references in the place of values. Its candidates were
found by the values; nothing else is decided by them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from contracts import sensitive
from contracts.rejections import EventRejectedError, Reason
from contracts.sensitive import Reference
from router.domain import sensitive_events
from router.domain.ingress import Event
from router.domain.policy import Policy
from router.domain.sensitive_events import SensitiveValue, Taken
from router.errors import TransientError
from router.ports import SensitiveValues
from router.service.admission import Task


class Unkept:
    """`ports.SensitiveValues` of who was given none: what is sensitive waits, and is told of."""

    async def keep(
        self,
        namespace: str,
        values: Sequence[SensitiveValue],
    ) -> Mapping[UUID, str | None]:
        """Raise TransientError."""
        raise TransientError(f"nobody keeps the {len(values)} sensitive values of {namespace}")

    async def resolve(self, namespace: str, references: Collection[Reference]) -> Mapping[str, Any]:
        """Raise TransientError."""
        raise TransientError(f"nobody has the {len(references)} sensitive values of {namespace}")


async def keep(
    tasks: Sequence[Task], *, namespace: str, policy: Policy, values: SensitiveValues
) -> None:
    """Have the values of tasks' events kept, and leave references in their places.

    A task whose event cannot be kept has a rejection then.

    Raises:
        TransientError: they cannot be kept now; then nothing may be done with any of the events.
    """
    taken: list[tuple[Task, Taken]] = []
    for task in tasks:
        if task.event is None or task.rejection is not None:
            continue
        try:
            found = take(namespace, task.event, policy)
        except EventRejectedError as exc:
            task.rejection = exc
        else:
            if found is not None:
                taken.append((task, found))
    kept = await kept_events(namespace, [found for _, found in taken], values=values)
    for (task, _), one in zip(taken, kept, strict=True):
        if isinstance(one, Event):
            task.event = one
            task.candidates = sensitive_events.silenced(task.candidates)
        else:
            task.rejection = one


async def kept_events(
    namespace: str, taken: Sequence[Taken], *, values: SensitiveValues
) -> list[Event | EventRejectedError]:
    """Return events as they are kept; one whose id brought another value before is rejected.

    Raises:
        TransientError: they cannot be kept now.
    """
    wanted = [one for event in taken for one in event.values.values()]
    hashes = await values.keep(namespace, wanted) if wanted else {}
    kept: list[Event | EventRejectedError] = []
    for event in taken:
        told = {one.blob_id: hashes[one.blob_id] for one in event.values.values()}
        known = {blob_id: one for blob_id, one in told.items() if one is not None}
        if len(known) < len(told):
            document = event.event.document
            kept.append(
                EventRejectedError(
                    Reason.ID_CONFLICT,
                    f"source {document['source']!r} used event id {document['event_id']!r} for "
                    "other sensitive values before",
                )
            )
        else:
            kept.append(event.kept(known))
    return kept


async def seen(
    namespace: str, documents: Sequence[Mapping[str, Any]], *, values: SensitiveValues
) -> list[Any]:
    """Return events that were kept as their conditions see them: what is erased is null.

    Raises:
        TransientError: the values cannot be had now.
    """
    wanted = sensitive.references(documents)
    if not wanted:
        return list(documents)
    found = await values.resolve(namespace, wanted)
    known = {one.blob_id: found.get(one.blob_id) for one in wanted}
    return [sensitive.revealed(one, known) for one in documents]


def take(namespace: str, event: Event, policy: Policy) -> Taken | None:
    """Return what is sensitive in an event; None when nothing is.

    Raises:
        EventRejectedError: it cannot be kept: see `sensitive_events.take`.
    """
    document = event.document
    marks = policy.marks(document["type"], document["schema_version"])
    return sensitive_events.take(namespace, event, marks)
