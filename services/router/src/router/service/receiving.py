"""Taking events by HTTP: held against the same checks as records are, then given to Kafka.

Nothing of a request is published unless all of it is admitted, and it is taken only when the
brokers have all of it. Who is told otherwise may send the same again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts import envelope, strictjson
from contracts.names import CLOUDEVENTS_HEADER_PREFIX, Header
from contracts.rejections import EventRejectedError, Reason
from router.domain import ingress
from router.domain.posted import Posted
from router.domain.records import Record
from router.errors import RouterError
from router.ports import EventPublisher, Observer, Outgoing

MAX_TOLD = 20
"""Refused events of a batch that are told one by one."""

Admit = Callable[[Record], Mapping[str, Any]]
"""Returns the document of an admitted event, or raises EventRejectedError."""


@dataclass(frozen=True)
class Refusal:
    """Why one event of a request, counted from 0, is refused."""

    index: int
    rejection: EventRejectedError


class EventsRefusedError(RouterError):
    """Some of the events are refused, so that none was taken."""

    def __init__(self, refusals: Sequence[Refusal], total: int) -> None:
        super().__init__(f"{len(refusals)} of {total} events are refused")
        self.refusals = refusals
        self.total = total


@dataclass(frozen=True)
class Inlet:
    """Where the events of a namespace go in, and what admits them.

    `refuse_halted` raises IngressHaltedError while a kill switch stops what comes in.
    """

    topic: str
    admit: Admit
    refuse_halted: Callable[[], None] = lambda: None


class EventDoor:
    """Takes events for some namespaces."""

    def __init__(
        self, inlets: Mapping[str, Inlet], *, publisher: EventPublisher, observer: Observer
    ) -> None:
        self._inlets = inlets
        self._publisher = publisher
        self._observer = observer

    async def receive(self, events: Sequence[Posted], *, namespace: str) -> int:
        """Publish events and return how many, when the brokers have them all.

        `namespace` is empty when the request names none: then each event does, or there is only
        one.

        Raises:
            EventsRefusedError: nothing was published.
            IngressHaltedError: a kill switch stops one of the namespaces; nothing was published.
            NotPublishedError: the brokers did not take all of them.
        """
        outgoing: list[Outgoing] = []
        refusals: list[Refusal] = []
        now_ms = time.time_ns() // 1_000_000
        for index, event in enumerate(events):
            try:
                outgoing.append(self._admitted(event, namespace, now_ms))
            except EventRejectedError as exc:
                refusals.append(Refusal(index, exc))
        if refusals:
            self._observer.received("refused", len(events))
            raise EventsRefusedError(refusals, len(events))
        await self._publisher.publish(outgoing)
        self._observer.received("accepted", len(events))
        return len(events)

    def _admitted(self, event: Posted, namespace: str, now_ms: int) -> Outgoing:
        inlet = self._inlet(event, namespace)
        # It has no place yet; its time will be Kafka's, which is about now.
        record = Record(inlet.topic, 0, 0, now_ms, None, event.value, event.headers)
        if any(name == Header.SIGNATURE for name, _ in event.headers):
            # A signature covers the key, which is in the event: this one is read before it is
            # verified, by the reader that takes any bytes, and within the size of a request.
            envelope.refuse_oversize(event.value)
            record = record._replace(key=_key(ingress.read(record).document))
        document = inlet.admit(record)
        return Outgoing(
            topic=inlet.topic,
            key=_key(document),
            value=event.value,
            headers=(
                (Header.EVENT_ID.value, str(document["event_id"]).encode()),
                (Header.EVENT_TYPE.value, str(document["type"]).encode()),
                *event.headers,
            ),
        )

    def _inlet(self, event: Posted, namespace: str) -> Inlet:
        if not namespace:
            namespace = next(iter(self._inlets)) if len(self._inlets) == 1 else _said(event)
        inlet = self._inlets.get(namespace)
        if inlet is None:
            raise EventRejectedError(
                Reason.WRONG_NAMESPACE,
                f"the namespace is {namespace[:100]!r}; taken here: {', '.join(self._inlets)}",
            )
        inlet.refuse_halted()
        return inlet


def _key(document: Mapping[str, Any]) -> bytes | None:
    """Return the key of an event's record: what happens to one thing stays in order."""
    subject = document.get("subject")
    return subject.encode() if isinstance(subject, str) else None


def _said(event: Posted) -> str:
    """Return the namespace that an event says, empty when it says none. Raises as a reader does."""
    for name, value in event.headers:
        if name == f"{CLOUDEVENTS_HEADER_PREFIX}namespace":
            return (value or b"").decode("utf-8", "replace")
    document = strictjson.parse(event.value)
    said = document.get("namespace") if isinstance(document, dict) else None
    return said if isinstance(said, str) else ""
