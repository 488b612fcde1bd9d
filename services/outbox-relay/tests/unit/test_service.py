"""The relay's use case over fakes whose behaviour the real adapters share (tests/integration)."""

import pytest

from outbox_relay.domain.batches import PendingRow
from outbox_relay.errors import OutboxUnavailableError, PublisherUnavailableError
from outbox_relay.service import OutboxRelay


def row(position: int, stream: str = "a") -> PendingRow:
    return PendingRow(position, "dev", stream, "t", stream, (), b"x")


class FakeOutbox:
    def __init__(self, rows):
        self.rows = {r.position: r for r in rows}
        self.leading = True
        self.fail_delete = False

    async def lead(self):
        return self.leading

    async def pending(self, *, limit, without):
        rows = [r for _, r in sorted(self.rows.items()) if r.stream_key not in without]
        return rows[:limit]

    async def delete(self, positions):
        if self.fail_delete:
            raise OutboxUnavailableError("lost")
        for position in positions:
            self.rows.pop(position, None)


class FakeBroker:
    def __init__(self):
        self.log = []
        self.refuses = set()
        self.away = False

    async def publish(self, rows):
        if self.away:
            raise PublisherUnavailableError("away")
        self.log.extend(r.position for r in rows if r.position not in self.refuses)
        return {r.position: "refused" for r in rows if r.position in self.refuses}


def relay(store, broker, batch_size=10):
    return OutboxRelay(
        name="test", store=store, publisher=broker, batch_size=batch_size, idle_s=0.0
    )


async def test_rows_leave_in_order_of_position():
    store, broker = FakeOutbox([row(2), row(1), row(3)]), FakeBroker()
    assert await relay(store, broker).relay_batch() == 3
    assert broker.log == [1, 2, 3]
    assert store.rows == {}


async def test_a_row_that_commits_late_is_not_passed_over():
    store, broker = FakeOutbox([row(5, "a")]), FakeBroker()
    subject = relay(store, broker)
    await subject.relay_batch()
    store.rows[2] = row(2, "b")
    await subject.relay_batch()
    assert broker.log == [5, 2]


async def test_a_standby_touches_nothing():
    store, broker = FakeOutbox([row(1)]), FakeBroker()
    store.leading = False
    assert await relay(store, broker).relay_batch() is None
    assert broker.log == []
    assert store.rows


async def test_rows_stay_while_the_broker_is_away():
    store, broker = FakeOutbox([row(1)]), FakeBroker()
    broker.away = True
    subject = relay(store, broker)
    with pytest.raises(PublisherUnavailableError):
        await subject.relay_batch()
    broker.away = False
    assert await subject.relay_batch() == 1


async def test_a_row_is_published_again_when_its_deletion_failed():
    store, broker = FakeOutbox([row(1)]), FakeBroker()
    store.fail_delete = True
    subject = relay(store, broker)
    with pytest.raises(OutboxUnavailableError):
        await subject.relay_batch()
    store.fail_delete = False
    await subject.relay_batch()
    assert broker.log == [1, 1]
    assert store.rows == {}


async def test_a_refused_row_holds_its_stream_and_no_other():
    store = FakeOutbox([row(1, "a"), row(2, "b"), row(3, "a")])
    broker = FakeBroker()
    broker.refuses = {1}
    subject = relay(store, broker, batch_size=2)
    await subject.relay_batch()
    store.rows[4] = row(4, "c")
    await subject.relay_batch()
    assert broker.log == [2, 4]
    assert set(store.rows) == {1, 3}
