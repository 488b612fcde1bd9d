"""Empties one outbox for as long as the process lives.

A row leaves the outbox only after the broker has acknowledged its bytes, so that whatever happens
in between it is published again, never lost.
"""

import asyncio
import time

from contracts.telemetry import Attribute, Metric
from outbox_relay.domain import batches
from outbox_relay.domain.holds import Holds
from outbox_relay.errors import RelayError
from outbox_relay.ports import OutboxStore, RecordPublisher
from runtime import logs, telemetry
from runtime.faultpoints import faultpoint

_log = logs.get_logger(__name__)

_LONGEST_RETRY_S = 5.0
_STANDBY_S = 0.5


class OutboxRelay:
    """Relays one outbox; one of all its instances leads, the others stand by."""

    def __init__(
        self,
        *,
        name: str,
        store: OutboxStore,
        publisher: RecordPublisher,
        batch_size: int,
        idle_s: float,
    ) -> None:
        """Relay `store` through `publisher`, `batch_size` rows at a time.

        `idle_s` is how long an empty outbox is left alone, in seconds.
        """
        self.name = name
        self.problem: str | None = "not started"
        self._store = store
        self._publisher = publisher
        self._batch_size = batch_size
        self._idle_s = idle_s
        self._holds = Holds()
        meter = telemetry.meter(__name__)
        self._published = meter.create_counter(
            Metric.RELAY_PUBLISHED, unit="{event}", description="Events acknowledged by the broker."
        )
        self._duration = meter.create_histogram(
            Metric.RELAY_BATCH_DURATION, unit="s", description="From reading to deleting a batch."
        )

    async def run(self) -> None:
        """Relay until cancelled; what is away is waited for."""
        retry_s = 0.1
        while True:
            try:
                relayed = await self.relay_batch()
            except RelayError as exc:
                if self.problem != str(exc):
                    _log.warning("relay_waits", outbox=self.name, reason=str(exc))
                self.problem = str(exc)
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _LONGEST_RETRY_S)
                continue
            if self.problem is not None:
                _log.info("relay_works", outbox=self.name, leading=relayed is not None)
            self.problem = None
            retry_s = 0.1
            if relayed is None:
                await asyncio.sleep(_STANDBY_S)
            elif relayed == 0:
                await asyncio.sleep(self._idle_s)

    async def relay_batch(self) -> int | None:
        """Publish one batch and return how many rows left the outbox; None while standing by.

        Raises:
            RelayError: the outbox or the broker is away; nothing is lost.
        """
        if not await self._store.lead():
            return None
        started = time.monotonic()
        rows = await self._store.pending(
            limit=self._batch_size, without=self._holds.waiting(now=started)
        )
        if not rows:
            return 0
        faultpoint("relay.after_select.before_send")
        failures = await self._publisher.publish(rows)
        faultpoint("relay.after_send.before_delete")
        settled = batches.settle(rows, failures)
        if settled.published:
            await self._store.delete(settled.published)
        faultpoint("relay.after_delete")
        published = set(settled.published)
        for row in rows:
            if row.position in published and row.stream_key not in settled.held:
                self._holds.release(row.stream_key)
        for (namespace, stream), reason in settled.held.items():
            _log.error(
                "stream_held", outbox=self.name, namespace=namespace, stream=stream, reason=reason
            )
        self._holds.add(settled.held, now=time.monotonic())
        self._published.add(len(settled.published), {Attribute.OUTBOX: self.name})
        self._duration.record(time.monotonic() - started, {Attribute.OUTBOX: self.name})
        return len(settled.published)
