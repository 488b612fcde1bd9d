from sdk.inbox.progress import BACKOFF_FIRST_S, BACKOFF_LONGEST_S, Intake, Progress


def test_batches_are_taken_as_they_come():
    progress = Progress()
    assert progress.take(5) == Intake()
    assert progress.take(9) == Intake()


def test_record_fetched_before_going_back_is_not_taken():
    progress = Progress()
    progress.go_back(5)
    progress.sought()
    assert progress.take(8) == Intake(back_to=5)
    progress.go_back(5)
    progress.sought()
    assert progress.take(5) == Intake()
    assert progress.take(8) == Intake()


def test_record_that_is_skipped_after_two_seeks_is_gone():
    progress = Progress()
    for _ in range(2):
        progress.go_back(5)
        progress.sought()
        intake = progress.take(8)
    assert intake == Intake(gone=5)


def test_record_is_never_gone_as_long_as_seeks_are_refused():
    progress = Progress()
    for _ in range(10):
        progress.go_back(5)
        assert progress.take(8) == Intake(back_to=5)


def test_pauses_grow_with_failures_in_a_row():
    progress = Progress()
    assert [progress.fail(5) for _ in range(3)] == [
        BACKOFF_FIRST_S,
        BACKOFF_FIRST_S * 2,
        BACKOFF_FIRST_S * 4,
    ]
    assert [progress.fail(5) for _ in range(20)][-1] == BACKOFF_LONGEST_S
    assert progress.failures == 23
    assert progress.fail(6) == BACKOFF_FIRST_S
