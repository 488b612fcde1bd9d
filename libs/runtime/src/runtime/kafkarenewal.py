"""A producer that is made anew when it has failed for good, or its certificate was replaced."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from runtime import logs
from runtime.kafka import KafkaDeliveryError, KafkaProducer

_log = logs.get_logger(__name__)

Headers = Sequence[tuple[str, bytes | None]]


class RenewedProducer:
    """Sends with a producer of its own, the first of which is made when it is needed."""

    def __init__(self, make_producer: Callable[[], KafkaProducer], *, purpose: str) -> None:
        """`make_producer` is called in the event loop; `purpose` is for the log."""
        self._make = make_producer
        self._purpose = purpose
        self._producer: KafkaProducer | None = None
        self._turns = asyncio.Lock()

    async def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        """Send a record and return when the brokers have it.

        Raises:
            BufferError: too many records wait already.
            KafkaDeliveryError: the brokers did not take it.
        """
        producer = await self._current()
        try:
            await producer.send(topic, key=key, value=value, headers=headers)
        except KafkaDeliveryError as exc:
            if exc.fatal and self._producer is producer:
                self._producer = None
                _log.error("producer_replaced", purpose=self._purpose, error=exc.reason)
                with contextlib.suppress(KafkaDeliveryError):
                    await producer.close(timeout_s=1.0)
            raise

    async def _current(self) -> KafkaProducer:
        if self._producer is not None and self._producer.is_outdated:
            # What was sent by it comes before what is sent now.
            async with self._turns:
                before = self._producer
                if before is not None and before.is_outdated:
                    await before.close()
                    _log.info("producer_renewed", purpose=self._purpose)
                    if self._producer is before:
                        self._producer = None
        if self._producer is None:
            self._producer = self._make()
        return self._producer

    async def close(self) -> None:
        """End the producer."""
        if self._producer is not None:
            await self._producer.close()
            self._producer = None
