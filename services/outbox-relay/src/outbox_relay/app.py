"""Puts the relay together: settings, adapters, use case, process."""

from collections.abc import Sequence

from outbox_relay.adapters.kafka_publisher import KafkaRecordPublisher
from outbox_relay.adapters.postgres_outbox import PostgresOutboxStore
from outbox_relay.errors import RelayError
from outbox_relay.service import OutboxRelay
from outbox_relay.settings import OutboxSettings, Settings
from runtime import commands, kafka, logs, telemetry
from runtime.httpserver import Health, HttpServer
from runtime.lifecycle import Background, Component, Process

SERVICE = "outbox-relay"


class _RelayComponent(Background):
    """Runs one relay in the background and closes what it used."""

    def __init__(
        self, relay: OutboxRelay, store: PostgresOutboxStore, publisher: KafkaRecordPublisher
    ) -> None:
        self.name = f"relay-{relay.name}"
        self._relay = relay
        self._store = store
        self._publisher = publisher

    async def _run(self) -> None:
        await self._relay.run()

    async def stop(self) -> None:
        await super().stop()
        # What was sent and is not acknowledged stays in the outbox: a duplicate later, not a loss.
        await self._publisher.close()
        await self._store.close()


async def serve() -> None:
    """Relay every configured outbox until SIGTERM."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)
    provider = telemetry.Telemetry(service=SERVICE, otlp_endpoint=settings.otlp_endpoint)
    health = Health()
    components: list[Component] = [
        HttpServer(listen=settings.http_listen, health=health),
        *(_component(settings, outbox, health) for outbox in settings.outboxes),
    ]
    try:
        await Process(components, health=health, grace=settings.shutdown_grace).run()
    finally:
        provider.shutdown()


def _component(settings: Settings, outbox: OutboxSettings, health: Health) -> _RelayComponent:
    store = PostgresOutboxStore(dsn=outbox.dsn.get_secret_value(), schema=outbox.db_schema)
    publisher = KafkaRecordPublisher(settings.kafka_bootstrap_servers)
    relay = OutboxRelay(
        name=outbox.name,
        store=store,
        publisher=publisher,
        batch_size=settings.batch_size,
        idle_s=settings.idle.total_seconds(),
    )

    async def works() -> None:
        if relay.problem is not None:
            raise RelayError(relay.problem)

    health.add_check(f"outbox-{outbox.name}", works)
    return _RelayComponent(relay, store, publisher)


async def check() -> Sequence[commands.Check]:
    """Look at every outbox and at the brokers."""
    settings = Settings()
    logs.setup(service=SERVICE, level=settings.log_level)

    async def brokers() -> str:
        await kafka.missing_topics(settings.kafka_bootstrap_servers, [])
        return settings.kafka_bootstrap_servers

    return [
        await commands.probe("kafka", brokers),
        *[await _check_outbox(outbox) for outbox in settings.outboxes],
    ]


async def _check_outbox(outbox: OutboxSettings) -> commands.Check:
    async def readable() -> str:
        store = PostgresOutboxStore(dsn=outbox.dsn.get_secret_value(), schema=outbox.db_schema)
        try:
            leading = await store.lead()
            if leading:
                await store.pending(limit=1, without=())
            return "readable" if leading else "led by another relay"
        finally:
            await store.close()

    return await commands.probe(f"outbox {outbox.name}", readable)
