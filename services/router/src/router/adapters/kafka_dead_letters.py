"""Parks refused records in the namespace's dead-letter topic, with the reason and the origin."""

from collections.abc import Callable

from contracts import names
from contracts.names import Header, Topic
from contracts.rejections import Reason
from router.adapters.dead_letter_seal import DeadLetterSeal, Parcel
from router.domain import dead_letters
from router.domain.records import Record
from router.errors import TransientError
from runtime import logs
from runtime.faultpoints import faultpoint
from runtime.kafka import KafkaDeliveryError, KafkaProducer
from runtime.kafkarenewal import RenewedProducer

KEPT_OF_TOO_LARGE = 256 * 1024
"""Bytes of a value that are kept when the topic does not take all of it with our headers."""

_log = logs.get_logger(__name__)


class KafkaDeadLetters:
    """Writes dead letters with a producer of its own."""

    def __init__(
        self, make_producer: Callable[[], KafkaProducer], *, seal: DeadLetterSeal | None = None
    ) -> None:
        """`make_producer` is called in the event loop, and again after a fatal error."""
        self._seal = seal or DeadLetterSeal()
        self._producer = RenewedProducer(make_producer, purpose="dead-letters")

    async def park(
        self, record: Record, *, namespace: str, reason: Reason, detail: str, attempts: int
    ) -> None:
        """Write a dead letter and return when the brokers have it.

        A value that the topic does not take whole is cut, and marked with its full length.

        Raises:
            TransientError: it was not written.
        """
        headers = dead_letters.parked(record, reason=reason, detail=detail, attempts=attempts)
        try:
            await self._send(namespace, Parcel(record.key, record.value, headers))
        except KafkaDeliveryError as exc:
            if not exc.too_large or record.value is None:
                raise TransientError(f"dead letter: {exc}") from exc
            length = str(len(record.value)).encode()
            headers.append((Header.VALUE_CUT_FROM.value, length))
            cut = record.value[:KEPT_OF_TOO_LARGE]
            try:
                await self._send(namespace, Parcel(record.key, cut, headers))
            except KafkaDeliveryError as again:
                raise TransientError(f"dead letter: {again}") from again
        _log.warning(
            "record_parked",
            namespace=namespace,
            reason=reason.value,
            quoted=detail[:500],
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )

    async def close(self) -> None:
        """End the producer."""
        await self._producer.close()

    async def _send(self, namespace: str, parcel: Parcel) -> None:
        topic = names.topic(namespace, Topic.DEAD_LETTERS)
        kept = self._seal.sealed(parcel, namespace=namespace)
        try:
            faultpoint("router.before_dead_letter")
            await self._producer.send(topic, key=kept.key, value=kept.value, headers=kept.headers)
            faultpoint("router.after_dead_letter")
        except BufferError as exc:
            raise TransientError("dead letter: the producer's queue is full") from exc
