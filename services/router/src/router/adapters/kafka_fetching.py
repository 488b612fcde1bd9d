"""FastStream's client, with a poll that costs little while no record comes.

librdkafka fills a batch until it is full or the time is up, whatever it has by then. A time that is
short enough for one record to be routed at once means a hundred polls a second of an idle router.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, Message
from faststream.confluent.configs.broker import KafkaBrokerConfig
from faststream.confluent.helpers.client import AsyncConfluentConsumer

IDLE_S = 0.1
"""How long a poll waits for its first record: what else has to be done by the one thread of the
consumer (to seek, to pause, to leave) waits behind it."""


class PatientClient(AsyncConfluentConsumer):
    """Waits for the first record of a batch, and then only as long as it is told for more."""

    async def getmany(
        self,
        timeout: float = 0.1,  # noqa: ASYNC109 - FastStream's signature
        max_records: int | None = 10,
    ) -> tuple[Message, ...]:
        """Return at most `max_records`, `timeout` seconds after the first; none if none came."""
        fetched = await asyncio.get_running_loop().run_in_executor(
            self._thread_pool,
            functools.partial(_fetch, self.consumer, max_records or 1, gather_s=timeout),
        )
        # What has an error tells of the partition, and is no record.
        return tuple(message for message in fetched if not message.error())


def builder(config: KafkaBrokerConfig) -> Callable[..., AsyncConfluentConsumer]:
    """Return what FastStream is to make its clients with, in the place of its own."""
    return functools.partial(
        PatientClient,
        config=config.connection_config,
        admin_service=config.admin,
        logger=config.logger,
    )


def _fetch(consumer: Consumer, most: int, *, gather_s: float) -> list[Message]:
    messages = consumer.consume(num_messages=1, timeout=IDLE_S)
    if messages and most > 1:
        # What was taken is handed on whatever becomes of the rest, which the next poll will tell.
        with contextlib.suppress(KafkaException):
            messages += consumer.consume(num_messages=most - 1, timeout=gather_s)
    return messages
