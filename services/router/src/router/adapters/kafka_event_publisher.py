"""Gives events that came by HTTP to Kafka, and waits until all replicas have them."""

import asyncio
from collections.abc import Callable, Sequence

from router.errors import NotPublishedError
from router.ports import Outgoing
from runtime.faultpoints import faultpoint
from runtime.kafka import KafkaDeliveryError, KafkaProducer
from runtime.kafkarenewal import RenewedProducer


class KafkaEventPublisher:
    """`ports.EventPublisher` with a producer of its own."""

    def __init__(self, make_producer: Callable[[], KafkaProducer]) -> None:
        """`make_producer` is called in the event loop, and again after a fatal error."""
        self._producer = RenewedProducer(make_producer, purpose="http-events")

    async def publish(self, events: Sequence[Outgoing]) -> None:
        """Publish events in their order; return when the brokers have them all.

        Raises:
            NotPublishedError: they do not have all of them, or it is not known.
        """
        faultpoint("router.before_publish_events")
        results = await asyncio.gather(
            *(
                self._producer.send(
                    event.topic, key=event.key, value=event.value, headers=event.headers
                )
                for event in events
            ),
            return_exceptions=True,
        )
        faultpoint("router.after_publish_events")
        failures = [result for result in results if isinstance(result, BaseException)]
        if not failures:
            return
        for failure in failures:
            if not isinstance(failure, KafkaDeliveryError | BufferError):
                raise failure
        raise NotPublishedError(
            str(failures[0]),
            published=len(events) - len(failures),
            total=len(events),
            too_large=any(isinstance(f, KafkaDeliveryError) and f.too_large for f in failures),
        ) from failures[0]

    async def close(self) -> None:
        """End the producer."""
        await self._producer.close()
