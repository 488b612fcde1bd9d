"""Empties one outbox for as long as the process lives.

A row leaves the outbox only after the broker has acknowledged its bytes, so that whatever happens
in between it is published again, never lost. One loop does it all: see who leads which shard, send
what was read and meanwhile delete what has landed and read on, and wait until something stirs.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from contracts.telemetry import Attribute, Metric
from outbox_relay.domain import shares
from outbox_relay.domain.horizon import Horizon
from outbox_relay.domain.rows import PendingRow
from outbox_relay.domain.shares import Change
from outbox_relay.domain.waits import Policy, Waits
from outbox_relay.domain.window import Flight, Window
from outbox_relay.errors import PublishingError, RelayError
from outbox_relay.ports import Lag, OutboxSession, Publisher
from runtime import logs, telemetry

_log = logs.get_logger(__name__)

_FIRST_RETRY_S = 0.1
_LONGEST_RETRY_S = 5.0
_SWEEP_S = 30.0
"""How often everything pending is read again, whatever the horizon says."""
_LAG_S = 5.0


class OutboxRelay:
    """Relays one outbox, together with the other relays of it: each leads some of its shards."""

    def __init__(
        self,
        *,
        name: str,
        session: OutboxSession,
        publisher: Publisher,
        stirred: asyncio.Event,
        refused: Mapping[str, Policy],
        batch_rows: int,
        window_bytes: int,
        poll_s: float,
    ) -> None:
        """Relay what `session` reads through `publisher`.

        `stirred` is set by the publisher when something has landed or failed. `refused` is the
        policy by kind of stream. At most about `window_bytes` are in flight, read `batch_rows` at a
        time. Every `poll_s` seconds the outbox is looked at without being woken.
        """
        self.name = name
        self.problem: str | None = "not started"
        self.lag = Lag(rows=0, seconds=0.0, parked=0)
        self._session = session
        self._publisher = publisher
        self._stirred = stirred
        self._refused = refused
        self._batch_rows = batch_rows
        self._window_bytes = window_bytes
        self._poll_s = poll_s
        self._ending = False
        self._of: dict[str, str] = {Attribute.OUTBOX: name}
        meter = telemetry.meter(__name__)
        self._published = meter.create_counter(
            Metric.RELAY_PUBLISHED, unit="{event}", description="Events acknowledged by the broker."
        )
        self._parked = meter.create_counter(
            Metric.RELAY_PARKED, unit="{event}", description="Events the broker refuses for good."
        )
        self._renewals = meter.create_counter(
            Metric.RELAY_RENEWALS, description="Times the relay began anew after trouble."
        )
        self._duration = meter.create_histogram(
            Metric.RELAY_BATCH_DURATION, unit="s", description="From sending to acknowledgement."
        )
        self._start_over()

    @property
    def shards(self) -> frozenset[int]:
        """The shards this relay leads."""
        return self._shards

    async def run(self) -> None:
        """Relay until `end` or cancelled; what is away is waited for."""
        retry_s = _FIRST_RETRY_S
        while not self._ending:
            try:
                await self._relay()
            except RelayError as exc:
                if self.problem != str(exc):
                    _log.warning("relay_waits", outbox=self.name, reason=str(exc))
                self.problem = str(exc)
                self._renewals.add(1, self._of)
                if self._has_worked:
                    retry_s = _FIRST_RETRY_S
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _LONGEST_RETRY_S)

    def end(self) -> None:
        """Read no more; `run` returns once what is in flight has landed."""
        self._ending = True
        self._stirred.set()

    async def _relay(self) -> None:
        """Relay over one session, until it fails or the end has come."""
        self._start_over()
        try:
            await self._session.open(self._woken)
            while True:
                self._stirred.clear()
                await self._look()
                if self._ending and not self._window:
                    return
                if not await self._turn():
                    await self._wait()
        finally:
            # What is in flight stays in the outbox: copies later, no loss.
            await self._publisher.close()
            await self._session.close()

    def _start_over(self) -> None:
        self._horizon = Horizon()
        self._waits = Waits()
        self._window = Window(size=self._window_bytes, rows=self._batch_rows)
        self._shards: frozenset[int] = frozenset()
        self._handing_over = False
        self._unread = self._again = self._has_worked = False
        self._look_at = self._sweep_at = self._lag_at = 0.0

    def _woken(self, again: bool) -> None:  # noqa: FBT001 - a callback
        self._unread = True
        if again:
            self._again = True
            self._look_at = 0.0
        self._stirred.set()

    async def _wait(self) -> None:
        timeout = max(0.0, self._look_at - time.monotonic())
        try:
            async with asyncio.timeout(timeout):
                await self._stirred.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        """See to what nobody tells: the other relays, parked streams, topics, lost wake-ups."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self._poll_s
        await self._share()
        if self._waits.know_parked(await self._session.waiting_streams()):
            self._again = True
        if self._waits.due(now=now):
            self._waits.retry()
            self._again = True
        if self._again or now >= self._sweep_at:
            self._horizon.rewind()
            self._again = False
            self._sweep_at = now + _SWEEP_S
        if now >= self._lag_at:
            self._lag_at = now + _LAG_S
            self.lag = await self._session.lag()
        self._unread = True

    async def _share(self) -> None:
        lead = await self._session.lead()
        change = shares.change(members=lead.members, mine=lead.mine, others=lead.others)
        if self._ending:
            change = Change(give=frozenset(), take=frozenset())
        # A shard is given up when nothing of it is in flight, so that its next leader begins where
        # this one ended; until then nothing is read.
        self._handing_over = bool(change.give) and bool(self._window)
        if self._handing_over:
            self._look_at = 0.0
            return
        self._shards = lead.mine - change.give
        if change.give or change.take:
            taken = await self._session.change(change)
            self._shards |= taken
            self._again = self._again or bool(taken)
            _log.info("shards", outbox=self.name, led=len(self._shards), relays=lead.members)

    async def _turn(self) -> bool:
        """Send what was read, and meanwhile read on; return whether there was anything to do."""
        landed = await self._landed()
        rows = await self._sendable()
        if not (landed or rows or self._may_read):
            return False
        # In this order: while the database works at its request, rows are handed to the producer.
        _, left = await asyncio.gather(self._exchange(landed), self._send(rows, more=self._unread))
        if left is not None:
            await self._refuse(*left)
        return True

    async def _landed(self) -> list[Flight]:
        """Take what the broker has: it is in flight no more, and about to leave the outbox."""
        try:
            landed = self._publisher.landed()
        except PublishingError as exc:
            await self._recover(exc)
            return []
        now = time.monotonic()
        for flight in landed:
            self._window.land(flight)
            self._published.add(len(flight.rows), self._of)
            self._duration.record(now - flight.started, self._of)
        return landed

    async def _sendable(self) -> list[PendingRow]:
        """Take what was read and may be sent."""
        if not self._window.has_room:
            return []
        rows = self._window.take()
        missing = await self._publisher.missing({row.topic for row in rows})
        for topic, reason in missing.items():
            self._hold(topic, reason)
        return self._waits.free(rows)

    @property
    def _may_read(self) -> bool:
        free = self._window.has_room and not (self._ending or self._handing_over)
        return free and self._unread and bool(self._shards)

    async def _exchange(self, landed: Sequence[Flight]) -> None:
        """Remove from the outbox what the broker has, and read on if there may be more."""
        reading = self._may_read
        if landed:
            await self._session.delete([row.position for flight in landed for row in flight.rows])
            self._waits.sent()
            self._succeeded()
        if not reading:
            return
        self._unread = False
        rows, complete = await self._session.read(
            self._horizon,
            shards=self._shards,
            rows=self._window.limit,
            size=self._window.read_size,
        )
        self._window.read(rows)
        if not complete:
            self._unread = True
        elif not rows:
            self._succeeded()

    async def _send(
        self, rows: Sequence[PendingRow], *, more: bool
    ) -> tuple[PendingRow, PublishingError | None] | None:
        """Send; return the first row that the producer does not take, and why if it says so."""
        if not rows:
            return None
        try:
            flight = self._publisher.send(rows, more=more)
        except PublishingError as exc:
            return rows[0], exc
        self._window.start(flight)
        taken = len(flight.rows)
        return (rows[taken], None) if taken < len(rows) else None

    async def _refuse(self, row: PendingRow, trouble: PublishingError | None) -> None:
        """Deal with a row that the producer does not even take."""
        if trouble is not None:
            if not trouble.refused:
                await self._recover(trouble)
                return
            await self._park(row, str(trouble))
        self._read_again_from(row)

    async def _recover(self, trouble: PublishingError) -> None:
        """Learn from what failed, and read again what was in flight.

        Raises:
            PublishingError: it is no single record's and no single topic's fault.
        """
        if trouble.topic is None and not trouble.refused:
            raise trouble
        flying = self._window.flying
        await self._publisher.reset()
        self._renewals.add(1, self._of)
        if trouble.topic is not None:
            self._hold(trouble.topic, str(trouble))
        elif len(flying) == 1:
            await self._park(flying[0], str(trouble))
        else:
            self._window.suspect()
        self._window.lose()
        if flying:
            self._read_again_from(min(flying))

    async def _park(self, row: PendingRow, reason: str) -> None:
        policy = self._refused.get(row.stream.partition(":")[0], Policy.WAIT)
        await self._session.park(row.position, reason=reason, waits=policy is Policy.WAIT)
        if policy is Policy.WAIT:
            self._waits.park(row.stream_key)
        self._parked.add(1, self._of)
        _log.error(
            "event_parked",
            outbox=self.name,
            namespace=row.namespace,
            stream=row.stream,
            position=row.position,
            topic=row.topic,
            reason=reason,
            stream_policy=policy.value,
        )

    def _hold(self, topic: str, reason: str) -> None:
        if self._waits.hold(topic, reason, now=time.monotonic()):
            _log.error("topic_waits", outbox=self.name, topic=topic, reason=reason)

    def _read_again_from(self, row: PendingRow) -> None:
        """Read again from `row` on, also what was read meanwhile: it belongs behind that row."""
        first = min([row, *self._window.take()])
        self._horizon.rewind(first.position - 1)
        self._unread = True

    def _succeeded(self) -> None:
        """Note that outbox and broker, as far as was needed, are there."""
        self._has_worked = True
        problem = "; ".join(f"{topic}: {why}" for topic, why in self._waits.topics.items()) or None
        if problem != self.problem:
            if problem is None:
                _log.info("relay_works", outbox=self.name)
            self.problem = problem
