from datetime import UTC, datetime, timedelta

from console.domain import timelines
from console.domain.timelines import AHEAD, Due

START = datetime(2026, 3, 1, tzinfo=UTC)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def test_marks_lie_where_their_time_is_between_the_first_and_the_last() -> None:
    line = timelines.drawn([Due("run", at(hour), at(hour)) for hour in (0, 3, 4)], now=at(100))
    assert line is not None
    assert (line.begins, line.ends, line.now) == (at(0), at(4), None)
    (lane,) = line.lanes
    assert [mark.left for mark in lane.marks] == [0, 75, 100]


def test_a_stretch_has_a_width_and_counts_all_of_its_due_times() -> None:
    line = timelines.drawn(
        [Due("skipped", at(0), at(2), count=120), Due("run", at(8), at(8))], now=at(9)
    )
    assert line is not None
    run, skipped = line.lanes
    assert (skipped.outcome, skipped.count) == ("skipped", 120)
    assert [(mark.left, mark.width) for mark in skipped.marks] == [(0, 25)]
    assert [(mark.left, mark.width) for mark in run.marks] == [(100, 0)]


def test_what_is_to_come_has_a_lane_of_its_own_behind_now() -> None:
    line = timelines.drawn([Due("dropped", at(0), at(0))], ahead=[at(2), at(4)], now=at(1))
    assert line is not None
    assert [lane.outcome for lane in line.lanes] == ["dropped", AHEAD]
    assert line.now == 25
    assert [mark.left for mark in line.lanes[1].marks] == [50, 100]


def test_an_outcome_of_a_newer_release_has_a_lane_too_the_last_one() -> None:
    dues = [Due("postponed", at(0), at(0)), Due("run", at(1), at(1))]
    line = timelines.drawn(dues, now=at(2))
    assert line is not None
    assert [(lane.outcome, lane.kind) for lane in line.lanes] == [
        ("run", "good"),
        ("postponed", ""),
    ]


def test_one_due_time_alone_lies_at_the_left_and_none_gives_no_line() -> None:
    line = timelines.drawn([Due("run", at(0), at(0))], now=at(1))
    assert line is not None
    assert line.lanes[0].marks[0].left == 0
    assert timelines.drawn([], now=at(1)) is None
