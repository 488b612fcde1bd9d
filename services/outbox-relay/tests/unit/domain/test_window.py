"""What is in flight, and how a refused record is found among others."""

from outbox_relay.domain.rows import PendingRow
from outbox_relay.domain.window import Flight, Window


def rows(*positions, size=10):
    return [PendingRow(p, "dev", "s", "t", "k", "[]", b"x" * size, None) for p in positions]


def test_the_window_is_bounded_by_bytes():
    window = Window(size=100, rows=50)
    window.start(first := Flight(rows(1, 2, size=40), started=0.0))
    assert window.has_room
    window.start(Flight(rows(3, size=40), started=0.0))
    assert not window.has_room
    window.land(first)
    assert window.has_room
    assert [row.position for row in window.flying] == [3]


def test_rows_in_flight_are_not_sent_again():
    window = Window(size=100, rows=50)
    window.start(Flight(rows(1, 2), started=0.0))
    window.read(rows(1, 2, 3))
    assert [row.position for row in window.take()] == [3]
    window.lose()
    window.read(rows(1, 2, 3))
    assert len(window.take()) == 3


def test_what_was_read_ahead_is_on_its_way_until_it_is_taken():
    window = Window(size=100, rows=50)
    window.read(rows(1, 2))
    assert window
    assert not window.flying
    assert [row.position for row in window.take()] == [1, 2]
    assert not window
    assert not window.take()


def test_a_refused_record_is_found_alone_within_a_few_batches():
    window = Window(size=10**9, rows=1000)
    pending = rows(*range(1, 1001))
    culprit, attempts = 613, 0
    while True:
        batch = pending[: window.limit]
        flight = Flight(batch, started=0.0)
        window.start(flight)
        attempts += 1
        refused = any(row.position == culprit for row in batch)
        if refused and len(batch) == 1:
            break
        if refused:
            window.suspect()
            window.lose()
        else:
            window.land(flight)
            pending = pending[len(batch) :]
    assert pending[0].position == culprit
    assert attempts < 60
    window.lose()


def test_while_a_culprit_is_sought_batches_fly_alone():
    window = Window(size=10**9, rows=1000)
    window.start(Flight(rows(*range(1, 101)), started=0.0))
    window.suspect()
    window.lose()
    assert window.limit < 100
    window.start(Flight(rows(1), started=0.0))
    assert not window.has_room


def test_batches_are_whole_again_once_the_suspects_have_landed():
    window = Window(size=10**9, rows=1000)
    window.start(Flight(rows(1, 2), started=0.0))
    window.suspect()
    window.lose()
    for position in (1, 2):
        window.start(flight := Flight(rows(position), started=0.0))
        window.land(flight)
    assert window.limit == 1000
