"""A Kafka producer that can be awaited: idempotent, acknowledged by all replicas, with a deadline.

librdkafka's default partitioner is not Java's; `murmur2_random` is, so that a key has one partition
whoever produces it. An idempotent producer drops duplicates only within its own life: consumers
drop the rest by event id.
"""

import asyncio
import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from runtime import logs
from runtime.errors import RuntimeLibraryError
from runtime.tls import Certificates, TlsFiles

_log = logs.get_logger(__name__)

Headers = Sequence[tuple[str, bytes | None]]


class KafkaDeliveryError(RuntimeLibraryError):
    """The broker did not take a record.

    `fatal`: make a new producer, since this one is of no more use, or got no acknowledgement for as
    long as a record may wait: some never get one again after a broker was away. `refused`: the
    broker will refuse this record again, however often it is sent (too large, no such topic, not
    authorised). `too_large`: it is refused for its size alone.
    """

    def __init__(
        self, topic: str, reason: str, *, fatal: bool, refused: bool, too_large: bool = False
    ) -> None:
        super().__init__(f"{topic}: {reason}")
        self.topic = topic
        self.reason = reason
        self.fatal = fatal
        self.refused = refused
        self.too_large = too_large


# https://github.com/confluentinc/librdkafka/issues/3189 and others like it.
_UNACKNOWLEDGED = frozenset(
    {
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001 - the library's public name for a client-side code
    }
)
_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the library's public name for a client-side code
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - as above
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.INVALID_RECORD,
    }
)


@dataclass(frozen=True)
class SecureBrokers:
    """Brokers that are spoken with over mutual TLS: their host:port, comma-separated."""

    addresses: str
    tls: TlsFiles

    def __str__(self) -> str:
        return self.addresses


Brokers = str | SecureBrokers
"""Where the brokers are; as text alone, they are spoken with in the clear."""


def brokers(bootstrap_servers: str, tls: TlsFiles | None) -> Brokers:
    """Return the brokers of settings."""
    return bootstrap_servers if tls is None else SecureBrokers(bootstrap_servers, tls)


class CertificateInUse:
    """The certificate that a client was made with: librdkafka reads the files once."""

    def __init__(self, bootstrap_servers: Brokers) -> None:
        """Make it before the client. Raises ConfigurationError when the files cannot be used."""
        self._certificates = (
            Certificates(bootstrap_servers.tls)
            if isinstance(bootstrap_servers, SecureBrokers)
            else None
        )
        self._made_of = None if self._certificates is None else self._certificates.newest()

    @property
    def is_replaced(self) -> bool:
        """Whether a client that is made now would show another one."""
        return self._certificates is not None and self._certificates.newest() is not self._made_of


def client_settings(bootstrap_servers: Brokers) -> dict[str, Any]:
    """Return how the brokers are spoken with, for librdkafka; see `CertificateInUse`."""
    found: dict[str, Any] = {"bootstrap.servers": str(bootstrap_servers)}
    if isinstance(bootstrap_servers, SecureBrokers):
        files = bootstrap_servers.tls
        found |= {
            "security.protocol": "ssl",
            "ssl.ca.location": str(files.client_ca),
            "ssl.certificate.location": str(files.certificate),
            "ssl.key.location": str(files.private_key),
            "ssl.endpoint.identification.algorithm": "https",
        }
    return found


def producer_settings(bootstrap_servers: Brokers, *, client_id: str) -> dict[str, Any]:
    """Return what all producers of Backbone have in common, for librdkafka."""
    return {
        **client_settings(bootstrap_servers),
        "client.id": client_id,
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "socket.keepalive.enable": True,
        "request.timeout.ms": 10_000,
        "message.max.bytes": 2 * 1024 * 1024,
        "allow.auto.create.topics": False,
        # A topic that appears is seen within seconds, not minutes.
        "topic.metadata.refresh.interval.ms": 10_000,
        # A topic that is not there fails its records soon: others wait behind them.
        "topic.metadata.propagation.max.ms": 2_000,
        # Its own lines would stand between ours; the callback tells the same.
        "log_level": 0,
    }


class KafkaProducer:
    """Sends records; every `send` ends with the broker's acknowledgement or an error.

    Use it from the event loop it was made in. A thread of its own serves the delivery reports.
    """

    def __init__(
        self,
        bootstrap_servers: Brokers,
        *,
        client_id: str,
        delivery_timeout_s: float = 30.0,
        linger_ms: float = 2.0,
    ) -> None:
        self._certificate = CertificateInUse(bootstrap_servers)
        self._producer = Producer(
            {
                **producer_settings(bootstrap_servers, client_id=client_id),
                "delivery.timeout.ms": int(delivery_timeout_s * 1000),
                "request.timeout.ms": int(min(delivery_timeout_s, 10.0) * 1000),
                "linger.ms": linger_ms,
                "error_cb": _note_error,
            }
        )
        self._loop = asyncio.get_running_loop()
        self._closed = threading.Event()
        self._poller = threading.Thread(target=self._poll, name=f"kafka-{client_id}", daemon=True)
        self._poller.start()

    @property
    def is_outdated(self) -> bool:
        """Whether its certificate was replaced since it was made."""
        return self._certificate.is_replaced

    def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> "asyncio.Future[Message]":
        """Queue a record and return a future of its acknowledged message.

        Records of one key keep the order of their `send` calls. The future raises
        KafkaDeliveryError.

        Raises:
            BufferError: 100,000 records wait already; await some of them first.
            KafkaDeliveryError: the record was refused before it was queued.
        """
        future: asyncio.Future[Message] = self._loop.create_future()
        try:
            self._producer.produce(
                topic,
                value=value,
                key=key,
                headers=list(headers),
                on_delivery=functools.partial(self._delivered, future, topic),
            )
        except KafkaException as exc:
            raise _delivery_error(topic, exc.args[0]) from exc
        return future

    async def flush(self, timeout_s: float) -> int:
        """Wait until everything is acknowledged or failed; return how much is still queued."""
        return await asyncio.to_thread(self._producer.flush, timeout_s)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Flush and end the thread; what is not acknowledged by then fails."""
        await self.flush(timeout_s)
        self._producer.purge()
        await self.flush(1.0)
        self._closed.set()
        await asyncio.to_thread(self._poller.join, 2.0)

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(0.1)

    def _delivered(
        self,
        future: "asyncio.Future[Message]",
        topic: str,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        self._loop.call_soon_threadsafe(_settle, future, topic, error, message)


def _settle(
    future: "asyncio.Future[Message]", topic: str, error: KafkaError | None, message: Message
) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(message)
    else:
        future.set_exception(_delivery_error(topic, error))


def _delivery_error(topic: str, error: KafkaError) -> KafkaDeliveryError:
    return KafkaDeliveryError(
        topic,
        error.str(),
        fatal=error.fatal() or error.code() in _UNACKNOWLEDGED,
        refused=error.code() in _REFUSED,
        too_large=error.code() == KafkaError.MSG_SIZE_TOO_LARGE,
    )


def _note_error(error: KafkaError) -> None:
    _log.warning("kafka_client_error", error=error.str(), fatal=error.fatal())


async def missing_topics(
    bootstrap_servers: Brokers, topics: Sequence[str], *, timeout_s: float = 5.0
) -> list[str]:
    """Return those of `topics` that the cluster does not have.

    Raises:
        KafkaDeliveryError: no broker answers within `timeout_s`.
    """

    def look() -> list[str]:
        admin = AdminClient({**client_settings(bootstrap_servers), "log_level": 0, **_QUIET})
        known: dict[str, Any] = admin.list_topics(timeout=timeout_s).topics
        return [topic for topic in topics if topic not in known or known[topic].error is not None]

    try:
        return await asyncio.to_thread(look)
    except KafkaException as exc:
        raise _delivery_error("metadata", exc.args[0]) from exc


_QUIET: dict[str, Any] = {"error_cb": lambda _error: None}
