"""What a page shows is told from what it does not."""

import pytest
from shown import Shown

PAGE = ("run  2026-01-01T00:00:00Z", "…", "task 11111111-1111-1111-1111-111111111111 open")
ONE, OTHER = "2" * 8 + "-2222" * 3 + "-" + "2" * 12, "3" * 8 + "-3333" * 3 + "-" + "3" * 12


def test_ids_and_times_are_others_and_stand_for_what_came_from_then_on():
    shown = Shown()
    assert shown.came(PAGE, f"run 2026-05-05T01:02:03.4Z\nmore\ntask  {ONE}  open\n")
    assert shown.typed(f"show {PAGE[2].split()[1]}") == f"show {ONE}"
    assert not shown.came(PAGE[2:], f"task {OTHER} open")
    assert shown.came(PAGE[2:], f"task {ONE} open")


@pytest.mark.parametrize(
    "printed",
    [
        f"run 2026-05-05T01:02:03Z\ntask {ONE} closed",
        f"run 2026-05-05T01:02:03Z\ntask {ONE} open\nand more",
        f"run soon\ntask {ONE} open",
        "",
    ],
    ids=["another word", "a line more", "no time", "nothing"],
)
def test_other_words_are_not_what_is_shown(printed):
    assert not Shown().came(PAGE, printed)


def test_words_are_left_out_within_a_line():
    assert Shown().came(
        ("due, the newest of … that are late",), "due, the newest of 4 that are late"
    )
    assert not Shown().came(("due, … late",), "due,\nlate")
