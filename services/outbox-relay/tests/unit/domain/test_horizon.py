"""Where reads begin; that nothing is passed over is proved in tests/integration/test_model.py."""

from outbox_relay.domain.horizon import Horizon, running


def test_a_snapshot_names_the_transactions_in_progress():
    assert running("5:9:5,7") == {5, 7}
    assert running("9:9:") == frozenset()


def test_reading_goes_on_after_the_last_row():
    horizon = Horizon()
    horizon.read(running=(), last=7, complete=False)
    assert horizon.tail == 7
    horizon.read(running=(), last=None, complete=True)
    assert horizon.tail == 7


def test_a_transaction_keeps_the_tail_of_its_first_sight():
    horizon = Horizon()
    horizon.read(running=(), last=7, complete=True)
    horizon.read(running=(100,), last=9, complete=True)
    horizon.read(running=(100, 101), last=12, complete=True)
    assert horizon.floors == {100: 7, 101: 9}
    horizon.read(running=(101,), last=12, complete=True)
    assert horizon.floors == {101: 9}


def test_a_read_that_went_back_and_did_not_come_through_goes_on_from_where_it_ended():
    horizon = Horizon()
    horizon.read(running=(100,), last=20, complete=True)
    horizon.read(running=(), last=5, complete=False)
    assert horizon.tail == 5


def test_a_rewind_never_goes_forward():
    horizon = Horizon()
    horizon.read(running=(), last=7, complete=True)
    horizon.rewind(9)
    assert horizon.tail == 7
    horizon.rewind()
    assert horizon.tail == 0
