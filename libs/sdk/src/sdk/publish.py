"""Publishes events: validated envelopes, acknowledged by all replicas of the topic."""

from types import TracebackType
from typing import Self

from contracts import envelope
from contracts.envelope import MAX_EVENT_BYTES, Envelope
from contracts.names import Header
from contracts.rejections import EventRejectedError, Reason
from runtime import telemetry
from runtime.faultpoints import faultpoint
from runtime.kafka import KafkaProducer


class EventPublisher:
    """Publishes envelopes: `async with EventPublisher(servers) as publisher: …`.

    Publishing the same envelope twice is safe: (source, event_id) identifies an event.
    """

    def __init__(self, bootstrap_servers: str, *, client_id: str = "backbone-sdk") -> None:
        """Publish to the brokers at `bootstrap_servers` (host:port, comma-separated)."""
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._producer: KafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Open the producer."""
        self._producer = KafkaProducer(self._bootstrap_servers, client_id=self._client_id)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send what is queued and close."""
        if self._producer is not None:
            await self._producer.close()
            self._producer = None

    async def publish(self, topic: str, event: Envelope, *, key: str | None = None) -> None:
        """Publish an event and return when every replica has it.

        Events of one key keep their order; without one the key is the subject, or else the event's
        id. The current trace context travels in a header when the event carries none: an event that
        is published again has the same bytes.

        Raises:
            EventRejectedError: the event is larger than Backbone takes.
            KafkaDeliveryError: the brokers did not take it.
            RuntimeError: the publisher is not open.
        """
        if self._producer is None:
            raise RuntimeError("open the publisher first: async with EventPublisher(...)")
        parent = event.traceparent or telemetry.traceparent()
        content = envelope.render(event)
        if len(content) > MAX_EVENT_BYTES:
            raise EventRejectedError(
                Reason.OVERSIZE, f"{len(content)} bytes, more than {MAX_EVENT_BYTES}"
            )
        headers = [
            (Header.EVENT_ID.value, event.event_id.encode()),
            (Header.EVENT_TYPE.value, event.type.encode()),
        ]
        if parent is not None:
            headers.append((Header.TRACEPARENT.value, parent.encode()))
        faultpoint("sdk.before_publish")
        await self._producer.send(
            topic,
            key=(key or event.subject or event.event_id).encode(),
            value=content,
            headers=headers,
        )
        faultpoint("sdk.after_publish")
