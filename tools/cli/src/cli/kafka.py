"""Kafka as the commands use it: publish and wait for the broker, follow topics without a group."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from cli.errors import CliError, NotReachableError, UnavailableError, UsageError
from cli.settings import Settings
from contracts.envelope import Envelope
from contracts.names import Header, Reader
from runtime import kafka, kafkaspans
from runtime.kafka import Brokers, KafkaDeliveryError, KafkaProducer
from runtime.tls import TlsFiles
from signing.keys import SigningKey

_CLIENT_ID = Reader.CLI.value
_METADATA_TIMEOUT_S = 10.0
_POLL_S = 0.2

# Of the client's own codes, those that it recovers from by itself: a broker that went away.
_PASSING = frozenset(
    {
        KafkaError._PARTITION_EOF,  # noqa: SLF001 - the library's public name for a client-side code
        KafkaError._TRANSPORT,  # noqa: SLF001 - as above
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - as above
        KafkaError._RESOLVE,  # noqa: SLF001 - as above
        KafkaError._TIMED_OUT,  # noqa: SLF001 - as above
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001 - as above
    }
)


@dataclass(frozen=True)
class Record:
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Published:
    """Where the broker put an event."""

    topic: str
    partition: int
    offset: int
    source: str
    event_id: str


def bootstrap(settings: Settings) -> Brokers:
    """Return the brokers. Raises UsageError when they are not known."""
    if settings.kafka_bootstrap_servers is None:
        raise UsageError(
            "the address of Kafka is not known: start the stack with `make up` and run this below "
            "its folder, or set BACKBONE_KAFKA_BOOTSTRAP_SERVERS"
        )
    files = TlsFiles.of(settings)
    if files is None and settings.tls_client_ca is not None:
        raise UsageError(
            "Kafka knows people by certificate, not by token: set BACKBONE_TLS_CERTIFICATE and "
            "BACKBONE_TLS_PRIVATE_KEY"
        )
    return kafka.brokers(settings.kafka_bootstrap_servers, files)


async def publish(
    servers: Brokers,
    topic: str,
    events: Sequence[tuple[Envelope, bytes]],
    *,
    signing_key: SigningKey | None = None,
) -> list[Published]:
    """Send envelopes, each with its bytes, in order, and wait for the broker to have them all.

    The key is the subject, so that what happens to one thing stays in order, or else the event id.

    Raises:
        CliError: there is no such topic, no broker answers, or one did not take an event.
    """
    try:
        if await kafka.missing_topics(servers, [topic], timeout_s=_METADATA_TIMEOUT_S):
            raise CliError(f"there is no topic {topic}: create it, or check its name")
        producer = KafkaProducer(servers, client_id=_CLIENT_ID, delivery_timeout_s=20.0)
    except KafkaDeliveryError as exc:
        raise _unreachable(servers, exc.reason) from exc
    published: list[Published] = []
    try:
        for start in range(0, len(events), 1000):
            part = events[start : start + 1000]
            sent = [
                _send(producer, topic, envelope, content, signing_key=signing_key)
                for envelope, content in part
            ]
            for (envelope, _), future in zip(part, sent, strict=True):
                message = await future
                published.append(
                    Published(
                        topic=topic,
                        partition=_number(message.partition()),
                        offset=_number(message.offset()),
                        source=envelope.source,
                        event_id=envelope.event_id,
                    )
                )
    except KafkaDeliveryError as exc:
        raise UnavailableError(
            f"{len(published)} of {len(events)} events are acknowledged; the broker did not take "
            f"the next one: {exc.reason} (publishing the same file again is safe: the router "
            "knows an event by source and event_id)"
        ) from exc
    finally:
        await producer.close()
    return published


class Tail:
    """Follows topics from where they end now, or from their beginning; commits nothing."""

    def __init__(self, servers: Brokers, topics: Sequence[str], *, from_beginning: bool) -> None:
        """Find the topics and where to begin: what is published after this is seen.

        Raises:
            CliError: a topic does not exist, or no broker answers.
        """
        self._servers = servers
        self._consumer = Consumer(
            {
                **kafka.client_settings(servers),
                "client.id": _CLIENT_ID,
                # Required by the client and joined by nobody: partitions are assigned by hand.
                "group.id": f"{_CLIENT_ID}-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "log_level": 0,
                "error_cb": _ignore,
            }
        )
        try:
            self._consumer.assign(self._positions(topics, from_beginning=from_beginning))
        except KafkaException as exc:
            self._consumer.close()
            raise _unreachable(servers, exc.args[0].str()) from exc
        except CliError:
            self._consumer.close()
            raise

    def records(
        self, *, timeout_s: float | None = None, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Record]:
        """Yield records as they come, until `timeout_s` is over or `stopped` says so.

        Raises:
            CliError: the brokers went away for good, or refuse to be read.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not stopped():
            wait = _POLL_S
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                wait = min(wait, left)
            message = self._consumer.poll(wait)
            if message is None:
                continue
            error = message.error()
            if error is not None:
                if error.retriable() or error.code() in _PASSING:
                    continue
                raise CliError(f"Kafka at {self._servers} cannot be read: {error.str()}")
            yield _record(message)

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def _positions(self, topics: Sequence[str], *, from_beginning: bool) -> list[TopicPartition]:
        known = self._consumer.list_topics(timeout=_METADATA_TIMEOUT_S).topics
        absent = [topic for topic in topics if topic not in known]
        if absent:
            raise CliError(f"there is no topic {', '.join(absent)}: check its name")
        positions = []
        for topic in topics:
            for partition in known[topic].partitions:
                position = TopicPartition(topic, partition, OFFSET_BEGINNING)
                if not from_beginning:
                    # The number, not "the end": "the end" would be looked up later.
                    ends = self._consumer.get_watermark_offsets(
                        position, timeout=_METADATA_TIMEOUT_S
                    )
                    if ends is None:
                        raise _unreachable(self._servers, f"{topic} did not say where it ends")
                    position.offset = ends[1]
                positions.append(position)
        return positions


def _send(
    producer: KafkaProducer,
    topic: str,
    envelope: Envelope,
    content: bytes,
    *,
    signing_key: SigningKey | None,
) -> "asyncio.Future[Message]":
    headers = [
        (Header.EVENT_ID.value, envelope.event_id.encode()),
        (Header.EVENT_TYPE.value, envelope.type.encode()),
    ]
    key = (envelope.subject or envelope.event_id).encode()
    if signing_key is not None:
        signature = signing_key.sign_record(
            topic=topic,
            issued_at_ms=time.time_ns() // 1_000_000,
            key=key,
            headers=headers,
            value=content,
        )
        headers.append(signature.header())
    span, carried = kafkaspans.published(
        topic,
        event_id=envelope.event_id,
        parent=envelope.traceparent,
        namespace=envelope.namespace,
    )
    if carried is not None:
        headers.append((Header.TRACEPARENT.value, carried.encode()))
    sent = producer.send(topic, key=key, value=content, headers=headers)
    sent.add_done_callback(lambda _: span.end())
    return sent


def _record(message: Message) -> Record:
    headers: Any = message.headers() or []
    key: Any = message.key()
    value: Any = message.value()
    return Record(
        topic=str(message.topic()),
        partition=_number(message.partition()),
        offset=_number(message.offset()),
        timestamp_ms=_number(message.timestamp()[1]),
        key=key,
        value=value,
        headers=tuple((name, content or b"") for name, content in headers),
    )


def _number(value: int | None) -> int:
    return -1 if value is None else value


def _unreachable(servers: Brokers, reason: str) -> NotReachableError:
    return NotReachableError(
        f"Kafka is not reachable at {servers}: start it with `make up`, or set "
        f"BACKBONE_KAFKA_BOOTSTRAP_SERVERS to where it is ({reason})"
    )


def _ignore(_error: KafkaError) -> None:
    """The poll that fails tells of it."""
