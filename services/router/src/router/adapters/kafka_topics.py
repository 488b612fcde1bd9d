"""Watches whether the topics that are needed exist: Kafka's clients are silent about a missing one.

Nothing is created here, and a topic that appears later is read without a restart.
"""

import asyncio
from collections.abc import Sequence

from router.errors import RouterError
from runtime import kafka, logs
from runtime.kafka import Brokers, KafkaDeliveryError
from runtime.lifecycle import Background

LOOK_AGAIN_S = 3.0
LOOK_AFTER_S = 30.0

_log = logs.get_logger(__name__)


class KafkaTopics(Background):
    """Looks at the topics from `start` to `stop`, sooner again while one is missing."""

    name = "topics"

    def __init__(self, bootstrap_servers: Brokers, topics: Sequence[str]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topics = topics
        self._problem: str | None = "not looked at yet"

    async def start(self) -> None:
        """Look once, say what is missing, and go on looking."""
        await self._look()
        await super().start()

    async def ready(self) -> None:
        """Return when all topics were there at the last look. Raises RouterError."""
        if self._problem is not None:
            raise RouterError(self._problem)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S if self._problem else LOOK_AFTER_S)
            await self._look()

    async def _look(self) -> None:
        try:
            problem = await missing(self._bootstrap_servers, self._topics)
        except KafkaDeliveryError as exc:
            problem = f"Kafka at {self._bootstrap_servers} does not answer: {exc.reason}"
        if problem != self._problem:
            if problem is not None:
                _log.error("topics_not_ready", problem=problem)
            elif self._problem is not None:
                _log.info("topics_ready", topics=list(self._topics))
        self._problem = problem


async def missing(bootstrap_servers: Brokers, topics: Sequence[str]) -> str | None:
    """Return one sentence that names the missing topics, None when all are there.

    Raises:
        KafkaDeliveryError: no broker answers.
    """
    absent = await kafka.missing_topics(bootstrap_servers, topics)
    return f"missing topics, which have to be created: {', '.join(absent)}" if absent else None
