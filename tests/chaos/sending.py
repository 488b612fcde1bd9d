"""The producer of the workload: sends records and writes down what Kafka acknowledged."""

import threading

from confluent_kafka import KafkaError, Message, Producer
from history import HistoryFile, Intents, Sent, digest
from observing import INPUT
from workload import Planned

from runtime import kafka
from runtime.kafka import Brokers

POLL = 0.1  # seconds between two looks for acknowledgements
HASTY = 6  # one record of so many
LONGEST_FLUSH = 120.0  # seconds


class Sender:
    """Sends without waiting; an acknowledgement that does not come in time leaves it unknown.

    Every so many records are sent by a producer that loses its patience early.
    """

    def __init__(
        self,
        bootstrap: Brokers,
        history: HistoryFile,
        intents: Intents,
        *,
        patience_s: float,
        hasty_s: float,
    ) -> None:
        self._producers = [
            _producer(bootstrap, hasty_s if number == 0 else patience_s) for number in range(2)
        ]
        self._history = history
        self._intents = intents
        self._number = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="producer", daemon=True)
        self._poller.start()

    def send(self, source: str, planned: Planned) -> None:
        """Begin to send one record."""
        operation = self._history.begin("producer", "send", event_id=planned.event_id)

        def settle(error: KafkaError | None, message: Message) -> None:
            sent = Sent(
                source=source,
                event_id=planned.event_id,
                digest=digest(planned.value),
                partition=None if error else message.partition(),
                offset=None if error else message.offset(),
                expect_tasks=planned.expect_tasks,
                expect_reason=planned.expect_reason,
                expect_decision=planned.expect_decision,
                duplicate=planned.duplicate,
                early=planned.early,
                visit=planned.visit,
            )
            with self._lock:
                self._intents.sent.append(sent)
            if error:
                self._history.end(operation, "info", error=error.str())
            else:
                self._history.end(operation, "ok", at=[sent.partition, sent.offset])

        self._number += 1
        producer = self._producers[self._number % HASTY != 0]
        producer.produce(
            INPUT,
            key=planned.key,
            value=planned.value,
            headers=list(planned.headers),
            on_delivery=settle,
        )

    def finish(self) -> None:
        """Return once every record is acknowledged, or its time is over."""
        left = sum(producer.flush(LONGEST_FLUSH) for producer in self._producers)
        self._stopped.set()
        self._poller.join()
        assert left == 0, f"{left} records are neither acknowledged nor given up"

    def _poll(self) -> None:
        while not self._stopped.is_set():
            for producer in self._producers:
                producer.poll(POLL)


def _producer(bootstrap: Brokers, patience_s: float) -> Producer:
    # No idempotence: what it sends again after a lost acknowledgement is there twice.
    return Producer(
        {
            **kafka.client_settings(bootstrap),
            "acks": "all",
            "enable.idempotence": False,
            "message.timeout.ms": int(patience_s * 1000),
            "request.timeout.ms": int(min(patience_s, 5.0) * 1000),
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
    )
