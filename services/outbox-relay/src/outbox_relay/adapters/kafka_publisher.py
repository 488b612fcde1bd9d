"""Publishes to Kafka with an idempotent producer, and makes a new one when that one is done for."""

import asyncio
from collections.abc import Mapping, Sequence

from outbox_relay.domain.batches import PendingRow
from outbox_relay.errors import PublisherUnavailableError
from runtime import logs
from runtime.kafka import KafkaDeliveryError, KafkaProducer

_log = logs.get_logger(__name__)

DELIVERY_TIMEOUT_S = 20.0


class KafkaRecordPublisher:
    """A producer that outlives its fatal errors."""

    def __init__(self, bootstrap_servers: str) -> None:
        """Name the brokers; the producer is made with the first batch."""
        self._bootstrap_servers = bootstrap_servers
        self._producer: KafkaProducer | None = None

    async def publish(self, rows: Sequence[PendingRow]) -> Mapping[int, str]:
        """Send all rows, then wait for all acknowledgements."""
        if self._producer is None:
            self._producer = KafkaProducer(
                self._bootstrap_servers,
                client_id="outbox-relay",
                delivery_timeout_s=DELIVERY_TIMEOUT_S,
            )
        acknowledgements = [self._send(self._producer, row) for row in rows]
        results = await asyncio.gather(*acknowledgements, return_exceptions=True)
        failures: dict[int, str] = {}
        renew = refused = False
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, KafkaDeliveryError):
                failures[row.position] = str(result)
                refused = refused or result.refused
                # After a timeout nobody knows what the broker has: an idempotent producer that goes
                # on from there can be out of step for ever.
                renew = renew or result.fatal or not result.refused
            elif isinstance(result, BaseException):
                raise result
        if renew:
            await self._renew()
        if len(failures) == len(rows) and not refused:
            raise PublisherUnavailableError(next(iter(failures.values())))
        return failures

    async def close(self) -> None:
        """Flush and close the producer."""
        if self._producer is not None:
            await self._producer.close()
            self._producer = None

    async def _send(self, producer: KafkaProducer, row: PendingRow) -> None:
        await producer.send(
            row.topic,
            key=row.key.encode(),
            value=row.body,
            headers=[(name, value.encode()) for name, value in row.headers],
        )

    async def _renew(self) -> None:
        _log.warning("producer_renewed")
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close(timeout_s=0.0)
