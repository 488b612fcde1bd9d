"""Messages that are made once for each resource."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.adapters.rendered import Rendered
from registry.domain.resources import Change, Key, Resource

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def resource(resource_id: str) -> Resource:
    key = Key(ResourceKind.PRODUCER, resource_id)
    applied = Change(1, key, ChangeKind.APPLIED, 1, ResourceState.ACTIVE, NOON, "ada", "why")
    return Resource("dev", key, 1, b"x" * 1024, "0" * 64, applied, applied, 1)


@pytest.fixture
def made() -> list[str]:
    return []


@pytest.fixture
def rendered(made: list[str]) -> Any:
    """Has room for three resources of a kilobyte each."""

    def make(resource: Resource) -> tuple[str, int]:
        made.append(resource.key.resource_id)
        return resource.key.resource_id, resource.revision

    return Rendered(make, max_bytes=3 * 2048)


def test_message_is_made_once(rendered: Rendered[Any], made: list[str]) -> None:
    a = resource("a")
    assert rendered.of(a) is rendered.of(a)
    assert made == ["a"]


def test_resource_that_changed_has_a_message_of_its_own(rendered: Rendered[Any]) -> None:
    a = resource("a")
    assert rendered.of(a) == ("a", 1)
    assert rendered.of(replace(a, latest=replace(a.latest, revision=2))) == ("a", 2)


def test_least_used_is_given_up(rendered: Rendered[Any], made: list[str]) -> None:
    a, b, c, d = (resource(name) for name in "abcd")
    for each in (a, b, c, a, d, a, b):
        rendered.of(each)
    assert made == ["a", "b", "c", "d", "b"]


def test_no_more_is_held_than_there_is_room_for(rendered: Rendered[Any]) -> None:
    for number in range(1000):
        rendered.of(resource(f"a{number}"))
    assert len(rendered._made) == 3


def test_message_that_has_no_room_at_all_is_made_all_the_same() -> None:
    rendered = Rendered(lambda resource: resource.key.resource_id, max_bytes=10)
    assert rendered.of(resource("a")) == "a"
    assert not rendered._made
