"""Parks refused records in the namespace's dead-letter topic, with the reason and the origin.

Key, value and headers are the sender's bytes. The headers that we add cannot be forged: the
sender's own of those names are kept under another name.
"""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

from contracts import identifiers, names
from contracts.names import Header, Topic
from contracts.rejections import Reason
from router.domain.records import RawHeaders, Record
from router.errors import TransientError
from runtime import logs
from runtime.faultpoints import faultpoint
from runtime.kafka import KafkaDeliveryError, KafkaProducer

MAX_DETAIL = 2000
"""Characters of the detail header."""
KEPT_OF_TOO_LARGE = 256 * 1024
"""Bytes of a value that are kept when the topic does not take all of it with our headers."""
FORGED_PREFIX = "sender-"

OURS = frozenset(
    {
        Header.REASON,
        Header.DETAIL,
        Header.ORIGIN_TOPIC,
        Header.ORIGIN_PARTITION,
        Header.ORIGIN_OFFSET,
        Header.ORIGIN_TIMESTAMP,
        Header.ATTEMPTS,
        Header.HEADERS_UNREADABLE,
        Header.VALUE_CUT_FROM,
    }
)

_log = logs.get_logger(__name__)
Headers = list[tuple[str, bytes | None]]


class KafkaDeadLetters:
    """Writes dead letters with a producer of its own, made anew when it has failed for good."""

    def __init__(self, make_producer: Callable[[], KafkaProducer]) -> None:
        """`make_producer` is called in the event loop, and again after a fatal error."""
        self._make = make_producer
        self._producer: KafkaProducer | None = None

    async def park(
        self, record: Record, *, namespace: str, reason: Reason, detail: str, attempts: int
    ) -> None:
        """Write a dead letter and return when the brokers have it.

        A value that the topic does not take whole is cut, and marked with its full length.

        Raises:
            TransientError: it was not written.
        """
        topic = names.topic(namespace, Topic.DEAD_LETTERS)
        headers = dead_letter_headers(record, reason=reason, detail=detail, attempts=attempts)
        try:
            await self._send(topic, record.key, record.value, headers)
        except KafkaDeliveryError as exc:
            if not exc.too_large or record.value is None:
                raise TransientError(f"dead letter: {exc}") from exc
            length = str(len(record.value)).encode()
            headers.append((Header.VALUE_CUT_FROM.value, length))
            try:
                await self._send(topic, record.key, record.value[:KEPT_OF_TOO_LARGE], headers)
            except KafkaDeliveryError as again:
                raise TransientError(f"dead letter: {again}") from again

    async def close(self) -> None:
        """End the producer."""
        if self._producer is not None:
            await self._producer.close()
            self._producer = None

    async def _send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        if self._producer is None:
            self._producer = self._make()
        producer = self._producer
        try:
            faultpoint("router.before_dead_letter")
            await producer.send(topic, key=key, value=value, headers=headers)
            faultpoint("router.after_dead_letter")
        except BufferError as exc:
            raise TransientError("dead letter: the producer's queue is full") from exc
        except KafkaDeliveryError as exc:
            if exc.fatal and self._producer is producer:
                self._producer = None
                _log.error("dead_letter_producer_replaced", error=exc.reason)
                with contextlib.suppress(KafkaDeliveryError):
                    await producer.close(timeout_s=1.0)
            raise


def dead_letter_headers(record: Record, *, reason: Reason, detail: str, attempts: int) -> Headers:
    """Return the sender's headers, none of which can pass for ours, and then ours."""
    ours: dict[Header, str] = {
        Header.REASON: reason.value,
        Header.DETAIL: detail[:MAX_DETAIL],
        Header.ORIGIN_TOPIC: record.topic,
        Header.ORIGIN_PARTITION: str(record.partition),
        Header.ORIGIN_OFFSET: str(record.offset),
        Header.ORIGIN_TIMESTAMP: _timestamp(record.timestamp_ms),
        Header.ATTEMPTS: str(attempts),
    }
    if record.headers is None:
        ours[Header.HEADERS_UNREADABLE] = "true"
    return [
        *((_unforged(name), value) for name, value in _sendable(record.headers or ())),
        *((name.value, text.encode("utf-8", "replace")) for name, text in ours.items()),
    ]


def _unforged(name: str) -> str:
    return FORGED_PREFIX + name if name.lower() in OURS else name


def _sendable(headers: RawHeaders) -> RawHeaders:
    # A name that cannot be encoded again would make the dead letter itself impossible.
    return tuple((name.encode("utf-8", "replace").decode(), value) for name, value in headers)


def _timestamp(timestamp_ms: int | None) -> str:
    if timestamp_ms is None:
        return ""
    try:
        return identifiers.instant(datetime.fromtimestamp(timestamp_ms / 1000, UTC))
    except (ValueError, OverflowError, OSError):  # The sender chooses it: any 64-bit number.
        return str(timestamp_ms)
