"""Puts the relay together: settings, adapters, use case, process."""

import asyncio
from collections.abc import Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, Observation

from contracts.telemetry import Attribute, Metric
from outbox_relay.adapters.kafka_publisher import KafkaPublisher
from outbox_relay.adapters.postgres_outbox import PostgresOutboxSession
from outbox_relay.errors import RelayError
from outbox_relay.service import OutboxRelay
from outbox_relay.settings import OutboxSettings, Settings
from runtime import commands, databases, kafka, logs, secretfiles, telemetry
from runtime.httpserver import Health, HealthCheck, HttpServer
from runtime.lifecycle import Background, Component, Process
from runtime.tls import TlsFiles
from runtime.vitals import Vitals

SERVICE = "outbox-relay"

_LANDING = 0.5  # of the grace: for what is in flight when the end comes


class RelayComponent(Background):
    """Runs one relay in the background; at the end what is in flight may land first."""

    def __init__(self, relay: OutboxRelay, *, grace_s: float) -> None:
        """`grace_s`: seconds until what has not landed is given up, to be sent again."""
        self.name = f"relay-{relay.name}"
        self._relay = relay
        self._grace_s = grace_s

    async def _run(self) -> None:
        await self._relay.run()

    async def stop(self) -> None:
        """Read no more, let land what is in flight, and give up the lead."""
        self._relay.end()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=self._grace_s)
        await super().stop()


async def serve() -> None:
    """Relay every configured outbox until SIGTERM."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    tls = TlsFiles.required(settings)
    provider = telemetry.Telemetry(
        service=SERVICE,
        otlp_endpoint=settings.otlp_endpoint,
        sample_ratio=settings.trace_sample_ratio,
    )
    health = Health()
    relays = [_relay(settings, outbox, tls) for outbox in settings.outboxes]
    grace_s = settings.shutdown_grace.total_seconds() * _LANDING
    components: list[Component] = [
        HttpServer(listen=settings.http_listen, health=health),
        Vitals(tls),
        *(RelayComponent(relay, grace_s=grace_s) for relay in relays),
    ]
    for relay in relays:
        health.add_check(f"outbox-{relay.name}", _works(relay))
    _observe(relays)
    try:
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


def _relay(settings: Settings, outbox: OutboxSettings, tls: TlsFiles | None) -> OutboxRelay:
    stirred = asyncio.Event()
    return OutboxRelay(
        name=outbox.name,
        session=PostgresOutboxSession(
            dsn=databases.secured(outbox.dsn.get_secret_value(), tls),
            password=secretfiles.reader(outbox.password_file),
            schema=outbox.db_schema,
            hung_after=settings.hung_after,
        ),
        publisher=KafkaPublisher(
            kafka.brokers(settings.kafka_bootstrap_servers, tls),
            delivery_timeout=settings.delivery_timeout,
            stirred=stirred.set,
        ),
        stirred=stirred,
        refused=outbox.refused,
        batch_rows=settings.batch_rows,
        window_bytes=settings.window_bytes,
        poll_s=settings.poll.total_seconds(),
    )


def _works(relay: OutboxRelay) -> HealthCheck:
    async def works() -> None:
        if relay.problem is not None:
            raise RelayError(relay.problem)

    return works


def _observe(relays: Sequence[OutboxRelay]) -> None:
    """Offer how far behind each outbox is, and who leads what, to whoever scrapes."""
    meter = telemetry.meter(__name__)
    of: dict[OutboxRelay, dict[str, str]] = {r: {Attribute.OUTBOX: r.name} for r in relays}

    def rows(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(relay.lag.rows, of[relay]) for relay in relays]

    def seconds(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(relay.lag.seconds, of[relay]) for relay in relays]

    def parked(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(relay.lag.parked, of[relay]) for relay in relays]

    def shards(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(len(relay.shards), of[relay]) for relay in relays]

    meter.create_observable_gauge(
        Metric.OUTBOX_PENDING, [rows], description="Pending rows, counted up to 100,000."
    )
    meter.create_observable_gauge(
        Metric.OUTBOX_LAG, [seconds], unit="s", description="Age of the oldest pending row."
    )
    meter.create_observable_gauge(
        Metric.OUTBOX_PARKED, [parked], description="Rows that the broker refuses."
    )
    meter.create_observable_gauge(
        Metric.RELAY_SHARDS, [shards], description="Shards that this relay leads."
    )


async def check() -> Sequence[commands.Check]:
    """Look at every outbox and at the brokers."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    tls = TlsFiles.required(settings)

    async def brokers() -> str:
        await kafka.missing_topics(kafka.brokers(settings.kafka_bootstrap_servers, tls), [])
        return settings.kafka_bootstrap_servers

    return [
        await commands.probe("kafka", brokers),
        *[await _check_outbox(settings, outbox, tls) for outbox in settings.outboxes],
    ]


async def _check_outbox(
    settings: Settings, outbox: OutboxSettings, tls: TlsFiles | None
) -> commands.Check:
    async def readable() -> str:
        session = PostgresOutboxSession(
            dsn=databases.secured(outbox.dsn.get_secret_value(), tls),
            password=secretfiles.reader(outbox.password_file),
            schema=outbox.db_schema,
            hung_after=settings.hung_after,
        )
        try:
            await session.open(lambda _again: None)
            lag, lead = await session.lag(), await session.lead()
        finally:
            await session.close()
        return f"readable, {lag.rows} pending, {lag.parked} parked, {lead.members - 1} relays"

    return await commands.probe(f"outbox {outbox.name}", readable)
