"""docs/hostile-input.md says what the code has, and what is tried."""

import attacks
import hostile_page


def test_the_page_has_the_limits_of_the_code_and_the_attacks_that_are_tried() -> None:
    page = hostile_page.PAGE.read_text(encoding="utf-8")
    assert page == hostile_page.written(page), "write it anew: python tests/hostile/hostile_page.py"


def test_every_attack_is_in_the_page() -> None:
    page = hostile_page.PAGE.read_text(encoding="utf-8")
    assert [attack.name for attack in attacks.ATTACKS if attack.name not in page] == []


def test_every_limit_is_one() -> None:
    places = [place for rows in hostile_page.LIMITS.values() for _, place, _ in rows]
    assert len(places) == len(set(places))
    assert all(hostile_page.value(place) for place in places)
