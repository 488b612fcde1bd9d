"""A partition's progress: nothing is passed over, nothing that is done is done again."""

import random

import pytest

from router.domain import progress
from router.domain.progress import Progress


def test_commit_moves_behind_the_last_record_when_all_are_done():
    subject = Progress()
    assert subject.take([4, 5, 6]).work == (4, 5, 6)
    settled = subject.settle([4, 5, 6], done={4, 5, 6}, failed=())
    assert (settled.commit, settled.rewind) == (7, None)


def test_commit_stops_before_a_record_that_failed_and_reads_it_again():
    subject = Progress()
    subject.take([4, 5, 6])
    settled = subject.settle([4, 5, 6], done={4, 6}, failed={5})
    assert (settled.commit, settled.rewind) == (5, 5)
    assert settled.pause_s == progress.BACKOFF_FIRST_S


def test_records_done_behind_a_failed_one_are_skipped_when_read_again():
    subject = Progress()
    subject.take([4, 5, 6, 7])
    subject.settle([4, 5, 6, 7], done={6, 7}, failed={4})
    assert subject.take([4, 5]).work == (4, 5)
    assert subject.settle([4, 5], done={4, 5}, failed=()).commit == 6
    assert subject.take([6, 7, 8]).work == (8,)
    assert subject.settle([6, 7, 8], done={8}, failed=()).commit == 9


def test_a_batch_whose_commit_was_refused_is_read_again_and_done_once():
    subject = Progress()
    subject.take([4, 6])
    assert subject.settle([4, 6], done={4, 6}, failed=()).rewind is None
    again = subject.uncommitted([4, 6])
    assert (again.rewind, again.pause_s) == (4, progress.COMMIT_AGAIN_S)
    assert subject.take([4, 6, 7]).work == (7,)
    assert subject.settle([4, 6, 7], done={7}, failed=()).commit == 8


def test_pause_grows_with_each_failure_of_the_same_record_and_attempts_are_counted():
    subject = Progress()
    pauses = []
    for attempt in range(1, 12):
        subject.take([3])
        assert subject.attempts(3) == attempt
        pauses.append(subject.settle([3], done=(), failed={3}).pause_s)
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses[-1] == progress.BACKOFF_LONGEST_S
    subject.take([3])
    subject.settle([3], done={3}, failed=())
    assert subject.attempts(3) == 1


def test_records_that_were_not_begun_are_read_again_at_once():
    subject = Progress()
    subject.take([0, 1, 2])
    settled = subject.settle([0, 1, 2], done={0}, failed=())
    assert (settled.commit, settled.rewind, settled.pause_s) == (1, 1, 0.0)


def test_records_fetched_before_a_rewind_are_not_taken_for_the_ones_asked_for():
    subject = Progress()
    subject.take([0, 1])
    subject.settle([0, 1], done=(), failed={0})
    late = subject.take([2, 3])
    assert (late.work, late.rewind) == ((), 0)
    assert subject.take([0, 1]).work == (0, 1)


def test_a_record_that_the_broker_has_lost_does_not_stop_its_partition_for_ever():
    subject = Progress()
    subject.take([0, 1])
    subject.settle([0, 1], done=(), failed={0})
    assert subject.take([5, 6]).rewind == 0
    again = subject.take([5, 6])
    assert (again.work, again.gone) == ((5, 6), 0)
    assert subject.settle([5, 6], done={5, 6}, failed=()).commit == 7


@pytest.mark.parametrize("seed", range(200))
def test_every_record_is_done_before_its_offset_is_committed_whatever_fails(seed):
    chance = random.Random(seed)
    subject, log, done = Progress(), list(range(40)), set()
    committed = position = asked = 0
    for _ in range(2000):
        if committed == len(log):
            break
        batch = log[position : position + chance.randint(1, 9)]
        if not batch:  # The late rewind takes effect.
            position = asked
            continue
        position = batch[-1] + 1
        intake = subject.take(batch)
        if intake.rewind is not None:
            position = intake.rewind
            continue
        good = {o for o in intake.work if chance.random() < 0.8}
        assert not good & done, "work that was done is done again"
        bad = {o for o in intake.work if o not in good and chance.random() < 0.7}
        done |= good
        settled = subject.settle(batch, done=good, failed=bad)
        if settled.commit is not None:
            assert settled.commit >= committed
            committed = settled.commit
            assert done >= set(range(committed))
        if settled.rewind is not None:
            asked = settled.rewind
            # Sometimes what was fetched already comes first.
            position = asked if chance.random() < 0.8 else position
    assert committed == len(log)
