"""The heads of a namespace in memory: ordered by id and by revision, whatever comes when."""

import random
from datetime import UTC, datetime

from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain.heads import Heads
from registry.domain.resources import Change, Key, Resource

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DEFINITION = ResourceKind.ACTIVITY_DEFINITION


def resource(
    resource_id: str,
    revision: int,
    *,
    kind: ResourceKind = DEFINITION,
    retired: bool = False,
    size: int = 10,
) -> Resource:
    key = Key(kind, resource_id)
    state = ResourceState.RETIRED if retired else ResourceState.ACTIVE
    change = Change(revision, key, ChangeKind.APPLIED, 1, state, NOON, "a", "r")
    return Resource("dev", key, 1, b"x" * size, "", change, change, 1)


def ids(found: list[Resource]) -> list[str]:
    return [item.key.resource_id for item in found]


def test_pages_are_by_id_and_bounded_by_count_and_content() -> None:
    heads = Heads()
    heads.absorb(resource(name, revision) for revision, name in enumerate("dbace", start=1))
    heads.absorb([resource("other", 6, kind=ResourceKind.PRODUCER)])

    def page(after_id: str, limit: int = 10, max_bytes: int = 1000) -> list[str]:
        return ids(heads.page(DEFINITION, after_id=after_id, limit=limit, max_bytes=max_bytes))

    assert page("") == ["a", "b", "c", "d", "e"]
    assert page("b", limit=2) == ["c", "d"]
    assert page("bb", max_bytes=25) == ["c", "d"]
    assert page("", max_bytes=1) == ["a"]
    assert page("e") == []


def test_changes_are_by_revision_each_resource_once() -> None:
    heads = Heads()
    heads.absorb([resource("a", 1), resource("b", 2), resource("a", 3)])
    told, seen = [], 0
    while (found := heads.after(seen)) is not None:
        told.append((found.key.resource_id, found.revision))
        seen = found.revision
    assert told == [("b", 2), ("a", 3)]
    assert heads.revision == 3


def test_retired_is_kept_without_content_and_in_no_snapshot_or_page() -> None:
    heads = Heads()
    heads.absorb([resource("a", 1), resource("b", 2), resource("a", 3, retired=True)])
    assert ids(heads.snapshot()) == ["b"]
    assert ids(heads.page(DEFINITION, after_id="", limit=9, max_bytes=99)) == ["b"]
    gone = heads.get(Key(DEFINITION, "a"))
    assert gone is not None
    assert (gone.state, gone.content) == (ResourceState.RETIRED, b"")
    assert heads.after(2) is gone
    assert heads.count == 1
    heads.absorb([resource("a", 4)])
    assert ids(heads.snapshot()) == ["b", "a"]
    assert heads.count == 2


def test_view_stays_as_it_is_while_the_heads_go_on() -> None:
    heads = Heads()
    heads.absorb([resource("a", 1), resource("t", 2, kind=ResourceKind.EVENT_TYPE)])
    view = heads.view()
    assert heads.view() is view
    heads.absorb([resource("a", 3, retired=True), resource("b", 4)])
    assert (view.revision, view.count) == (2, 2)
    assert ids(view.in_use(DEFINITION)) == ["a"]
    assert view.get(Key(DEFINITION, "b")) is None
    assert view.newest[ResourceKind.EVENT_TYPE] == 2
    now = heads.view()
    assert (now.revision, now.count, ids(now.in_use(DEFINITION))) == (4, 2, ["b"])
    assert (now.newest[DEFINITION], now.newest[ResourceKind.PRODUCER]) == (4, 0)


def test_order_in_which_changes_are_learnt_makes_no_difference() -> None:
    generator = random.Random(7)
    changes = [
        resource(generator.choice("abcdef"), revision, retired=generator.random() < 0.3)
        for revision in range(1, 60)
    ]
    straight = Heads()
    straight.absorb(changes)
    for _ in range(20):
        mixed = Heads()
        again = changes + changes[:20]
        generator.shuffle(again)
        mixed.absorb(again)
        assert mixed.view() == straight.view()
        assert mixed.snapshot() == straight.snapshot()
        assert [mixed.after(revision) for revision in range(60)] == [
            straight.after(revision) for revision in range(60)
        ]
