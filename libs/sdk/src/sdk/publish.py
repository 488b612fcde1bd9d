"""Publishes events: validated envelopes, acknowledged by all replicas of the topic."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from opentelemetry import trace

from contracts import envelope
from contracts.envelope import MAX_EVENT_BYTES, Envelope
from contracts.names import Header
from contracts.rejections import EventRejectedError, Reason
from runtime import kafkaspans
from runtime.faultpoints import faultpoint
from runtime.kafka import Brokers, KafkaProducer
from runtime.kafkarenewal import RenewedProducer
from signing import keyfiles
from signing.keys import SigningKey


class EventPublisher:
    """Publishes envelopes: `async with EventPublisher(servers) as publisher: …`.

    Publishing the same envelope twice is safe: (source, event_id) identifies an event.
    """

    def __init__(
        self,
        bootstrap_servers: Brokers,
        *,
        client_id: str = "backbone-sdk",
        signing_key: Path | None = None,
    ) -> None:
        """Publish to the brokers at `bootstrap_servers` (host:port, comma-separated).

        `signing_key` is the file of the key that signs all of it (`backbone keys new`), which is
        read when the publisher is opened.
        """
        self._key_file = signing_key
        self._key: SigningKey | None = None
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._producer: RenewedProducer | None = None

    async def __aenter__(self) -> Self:
        """Read the key and open the producer.

        Raises:
            KeyUnusableError: there is no such file, or no key in it that may be used.
        """
        if self._key_file is not None:
            self._key = keyfiles.read_private(self._key_file)
        self._producer = RenewedProducer(
            lambda: KafkaProducer(self._bootstrap_servers, client_id=self._client_id),
            purpose=self._client_id,
        )
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
        id. Publishing is a span of the event's trace, of the current one when the event carries
        none, and of a new one without either. It travels in a header: an event that is published
        again has the same bytes.

        Raises:
            EventRejectedError: the event is larger than Backbone takes.
            KafkaDeliveryError: the brokers did not take it.
            RuntimeError: the publisher is not open.
        """
        if self._producer is None:
            raise RuntimeError("open the publisher first: async with EventPublisher(...)")
        content = envelope.render(event)
        if len(content) > MAX_EVENT_BYTES:
            raise EventRejectedError(
                Reason.OVERSIZE, f"{len(content)} bytes, more than {MAX_EVENT_BYTES}"
            )
        headers = [
            (Header.EVENT_ID.value, event.event_id.encode()),
            (Header.EVENT_TYPE.value, event.type.encode()),
        ]
        record_key = (key or event.subject or event.event_id).encode()
        if self._key is not None:
            # As of now, each time: what is published again is as new as a first time.
            signature = self._key.sign_record(
                topic=topic,
                issued_at_ms=time.time_ns() // 1_000_000,
                key=record_key,
                headers=headers,
                value=content,
            )
            headers.append(signature.header())
        span, carried = kafkaspans.published(
            topic, event_id=event.event_id, parent=event.traceparent, namespace=event.namespace
        )
        if carried is not None:
            headers.append((Header.TRACEPARENT.value, carried.encode()))
        with trace.use_span(span, end_on_exit=True):
            faultpoint("sdk.before_publish")
            await self._producer.send(
                topic,
                key=record_key,
                value=content,
                headers=headers,
            )
            faultpoint("sdk.after_publish")
