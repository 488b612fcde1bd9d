"""Publishes to Kafka with an idempotent producer, and makes a new one when that one is done for.

It also makes a new one when the certificate was replaced, as soon as nothing is in flight.

What one producer writes of a stream is a run without gaps: with `enable.gapless.guarantee` any
record that fails for good ends the producer, instead of letting later records pass, and no record
times out alone. After any failure, or when nothing is acknowledged for too long, the producer is
thrown away with all that is in flight. What of that still arrives is the beginning of the same run:
copies, never a later event before an earlier one.

Delivery is counted for each flight, in the thread that serves the reports: one future for each
record would cost more than all the rest. Requests to the broker are what costs most then, so in a
backlog records wait a little for company; what has nothing behind it is flushed at once.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

import pydantic_core
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from contracts.names import Header
from outbox_relay.adapters.otel_spans import FlightSpans
from outbox_relay.domain.rows import PendingRow
from outbox_relay.domain.window import Flight
from outbox_relay.errors import PublishingError
from runtime import kafka, logs, telemetry
from runtime.faultpoints import faultpoint
from runtime.kafka import Brokers, CertificateInUse

_log = logs.get_logger(__name__)

_METADATA_TIMEOUT_S = 5.0
_LINGER_MS = 10
_REPORTS_S = 0.1
_IDLE_S = 1.0
"""How often the client's own news are heard while nothing is in flight."""
_TOPICS_TROUBLE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - the library's public name for a client-side code
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - as above
    }
)
_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
    }
)
# What follows from a failure; the failure itself says more.
_CONSEQUENCES = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001 - as above


class KafkaPublisher:
    """A producer that outlives its fatal errors. Use it from one event loop."""

    def __init__(
        self,
        bootstrap_servers: Brokers,
        *,
        delivery_timeout: timedelta,
        stirred: Callable[[], None],
    ) -> None:
        """Name the brokers; `stirred` is called in the event loop when a flight has ended.

        A producer that gets no acknowledgement for `delivery_timeout` is replaced.
        """
        self._bootstrap_servers = bootstrap_servers
        self._delivery_timeout_s = delivery_timeout.total_seconds()
        self._stirred = stirred
        self._life: _Life | None = None
        self._ending: asyncio.Task[None] | None = None
        self._known: set[str] = set()

    async def missing(self, topics: Collection[str]) -> dict[str, str]:
        """Ask for the topics that were not seen yet; a producer never makes one."""
        unknown = set(topics) - self._known
        if not unknown:
            return {}
        faultpoint("relay.before_look_for_topics")
        try:
            absent = await kafka.missing_topics(
                self._bootstrap_servers, sorted(unknown), timeout_s=_METADATA_TIMEOUT_S
            )
        except kafka.KafkaDeliveryError as exc:
            raise PublishingError(f"Kafka does not answer: {exc.reason}") from exc
        faultpoint("relay.after_look_for_topics")
        self._known |= unknown - set(absent)
        return dict.fromkeys(absent, "the topic is not there; create it, the relay does not")

    def send(self, rows: Sequence[PendingRow], *, more: bool) -> Flight:
        """Queue rows in the producer."""
        if self._life is not None and self._life.may_be_renewed:
            # Nothing is in flight, so that nothing of it can come after what is sent now.
            self._ending = asyncio.create_task(asyncio.to_thread(self._life.end))
            self._life = None
            _log.info("certificate_replaced")
        if self._life is None:
            self._life = _Life(self._bootstrap_servers, self._stirred)
        faultpoint("relay.before_send")
        flight = self._life.send(rows, more=more)
        faultpoint("relay.after_send")
        return flight

    def landed(self) -> list[Flight]:
        """Take the flights that are through, or say what went wrong with one that is not."""
        if self._life is None:
            return []
        landed = self._life.landed()
        if not landed:
            trouble = self._life.trouble(self._delivery_timeout_s)
            if trouble is not None:
                if trouble.topic is not None:
                    self._known.discard(trouble.topic)
                raise trouble
        return landed

    async def reset(self) -> None:
        """Throw the producer away."""
        if self._life is not None:
            _log.warning("producer_renewed")
        await self.close()

    async def close(self) -> None:
        """Throw the producer away, in silence."""
        life, self._life = self._life, None
        if life is not None:
            await asyncio.to_thread(life.end)
        if self._ending is not None:
            await self._ending
            self._ending = None


class _Life:
    """One producer from its making to its first failure."""

    def __init__(self, bootstrap_servers: Brokers, stirred: Callable[[], None]) -> None:
        self._certificate = CertificateInUse(bootstrap_servers)
        self._producer = Producer(
            {
                **kafka.producer_settings(bootstrap_servers, client_id="outbox-relay"),
                "enable.gapless.guarantee": True,
                # No record times out by itself, which would be a gap; the relay has a deadline.
                "message.timeout.ms": 0,
                "linger.ms": _LINGER_MS,
                "error_cb": self._fatal,
            }
        )
        self._loop = asyncio.get_running_loop()
        self._stirred = stirred
        self._flights: deque[tuple[Flight, FlightSpans]] = deque()
        self._traced = telemetry.records()
        self._failure: tuple[str | None, KafkaError] | None = None
        self._progress = time.monotonic()
        self._more = False
        self._sent = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kafka-reports", daemon=True)
        self._thread.start()

    @property
    def may_be_renewed(self) -> bool:
        """Whether nothing is in flight, and its certificate was replaced since it was made."""
        return not self._flights and self._certificate.is_replaced

    def send(self, rows: Sequence[PendingRow], *, more: bool) -> Flight:
        if not self._flights:
            self._progress = time.monotonic()
        flight = Flight(rows, started=time.monotonic())
        spans = FlightSpans()
        self._flights.append((flight, spans))
        produce, delivered = self._producer.produce, self._report(flight)
        for number, row in enumerate(rows):
            headers = _headers(row)
            begun = self._traced and spans.begin(row, headers)
            try:
                produce(
                    row.topic,
                    row.body,
                    row.key,
                    headers=headers,
                    on_delivery=delivered,
                )
            except (KafkaException, BufferError) as exc:
                more = False
                if begun:
                    spans.forget()
                flight.rows = rows[:number]
                if number:
                    self._stirred()  # It may have landed before it was known to be so short.
                    break
                self._flights.pop()
                error = exc.args[0]
                if isinstance(error, KafkaError):
                    raise _trouble(row.topic, error) from exc
                raise PublishingError(str(exc)) from exc
        self._more = more
        self._sent.set()
        return flight

    def landed(self) -> list[Flight]:
        landed = []
        while self._flights and self._flights[0][0].has_landed:
            flight, spans = self._flights.popleft()
            spans.land()
            landed.append(flight)
        if landed:
            self._progress = time.monotonic()
        return landed

    def trouble(self, timeout_s: float) -> PublishingError | None:
        if self._failure is not None:
            return _trouble(*self._failure)
        if self._flights and time.monotonic() - self._progress > timeout_s:
            return PublishingError(f"Kafka has acknowledged nothing for {timeout_s:.0f} s")
        return None

    def end(self) -> None:
        for _, spans in self._flights:
            spans.give_up()
        self._producer.purge()
        self._ended.set()
        self._sent.set()
        self._thread.join()
        del self._producer  # Here, since it takes its time.

    def _report(self, flight: Flight) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                if error.code() not in _CONSEQUENCES:
                    self._fail(message.topic(), error)
                return
            flight.acknowledged += 1
            if flight.has_landed:
                self._loop.call_soon_threadsafe(self._stirred)

        return delivered

    def _fail(self, topic: str | None, error: KafkaError) -> None:
        # A record that failed is the cause; that the producer has ended is the consequence.
        if self._failure is None or self._failure[0] is None:
            self._failure = (topic, error)
            self._loop.call_soon_threadsafe(self._stirred)

    def _fatal(self, error: KafkaError) -> None:
        if error.fatal():
            self._fail(None, error)
        else:
            _log.warning("kafka_client_error", error=error.str())

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                if not len(self._producer):
                    self._sent.wait(_IDLE_S)
                    self._sent.clear()
                if self._more:
                    self._producer.poll(_REPORTS_S)
                else:
                    self._producer.flush(_REPORTS_S)
            except KafkaException as exc:  # A fatal error comes this way, too.
                self._fatal(exc.args[0])
            except SystemError:  # A report was given while that exception was on its way.
                continue


def _headers(row: PendingRow) -> dict[str, str | bytes | None]:
    # Names are unique: the event store renders them. Text is cheaper to hand over than bytes.
    headers: dict[str, str | bytes | None] = dict(pydantic_core.from_json(row.headers))
    if row.republish_id is not None:
        headers[Header.REPUBLISHED.value] = row.republish_id
    if row.signature is not None:
        headers[Header.SIGNATURE.value] = row.signature
    return headers


def _trouble(topic: str | None, error: KafkaError) -> PublishingError:
    code = error.code()
    return PublishingError(
        error.str(),
        topic=topic if code in _TOPICS_TROUBLE else None,
        refused=code in _REFUSED,
    )
