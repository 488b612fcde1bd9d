"""Events with sensitive fields: what is taken out of them, and what is put in its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from contracts import identifiers, sensitive
from contracts.rejections import EventRejectedError, Reason
from contracts.sensitive import Marks, Place, Reference
from router.domain.ingress import Event
from router.domain.routing import Candidate, TriggerError


@dataclass(frozen=True, slots=True)
class SensitiveValue:
    """A value that is to be kept encrypted, of somebody as the event names them."""

    blob_id: UUID
    subject: str = field(repr=False)
    value: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """The sensitive values of an event, by their places in its payload."""

    event: Event
    values: Mapping[Place, SensitiveValue]

    def kept(self, hashes: Mapping[UUID, str]) -> Event:
        """Return the event as it is kept: with references, of the hashes of its values."""
        document = self.event.document
        references = {
            place: Reference(str(one.blob_id), hashes[one.blob_id])
            for place, one in self.values.items()
        }
        payload = sensitive.replaced(document["payload"], references)
        return replace(self.event, document={**document, "payload": payload})


def take(namespace: str, event: Event, marks: Marks | None) -> Taken | None:
    """Return what is sensitive in an event; None when nothing is.

    Raises:
        EventRejectedError: it does not say whose that is, or there is too much of it.
    """
    if marks is None:
        return None
    document = event.document
    found = sensitive.found(document["payload"], marks.fields)
    if not found:
        return None
    subject = sensitive.subject_of(document, marks.subject)
    if subject is None:
        raise EventRejectedError(
            Reason.SUBJECT_MISSING,
            f"it has sensitive fields, and does not say by {'.'.join(marks.subject)} whose they "
            "are: a text or a whole number",
        )
    if len(subject) > sensitive.MAX_SUBJECT_LENGTH or "\x00" in subject:
        raise EventRejectedError(
            Reason.SUBJECT_MISSING,
            f"{'.'.join(marks.subject)} says whose its sensitive fields are in more than "
            f"{sensitive.MAX_SUBJECT_LENGTH} characters, or with a NUL character",
        )
    if len(found) > sensitive.MAX_VALUES:
        raise EventRejectedError(
            Reason.OVERSIZE,
            f"{len(found)} sensitive values, more than the {sensitive.MAX_VALUES} of one event",
        )
    source, event_id = document["source"], document["event_id"]
    return Taken(
        event,
        {
            place: SensitiveValue(
                identifiers.blob_id(namespace, source, event_id, sensitive.pointer(place)),
                subject,
                value,
            )
            for place, value in found.items()
        },
    )


def silenced(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates without the texts of their errors, which may quote what is sensitive."""
    return [
        replace(
            one,
            errors=tuple(
                TriggerError(
                    error.trigger,
                    "it gave an error; its text is left out, since the event has sensitive fields",
                )
                for error in one.errors
            ),
        )
        if one.errors
        else one
        for one in candidates
    ]
