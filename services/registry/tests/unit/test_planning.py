"""Plans: what would be done, in which order, and by which name."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain import planning, resources, validation
from registry.domain.planning import Action, Plan, Prune
from registry.domain.resources import Key, Resource
from registry.domain.validation import Parsed, Source
from registry.errors import EtagMismatchError

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WHO: Any = {"at": NOON, "actor": "ada", "reason": "why"}


def parse(*contents: bytes, etag: str = "") -> tuple[Parsed, ...]:
    sources = [Source(f"{number}", content, etag) for number, content in enumerate(contents)]
    reading = validation.read(sources, namespaces=["dev"])
    assert reading.problems == ()
    return reading.parsed


def stored(content: bytes, *, revision: int = 1, before: Resource | None = None) -> Resource:
    (parsed,) = parse(content)
    return resources.applied(
        before, namespace="dev", key=parsed.key, content=parsed.content, revision=revision, **WHO
    )


def altered(resource: Resource, change: ChangeKind, state: ResourceState) -> Resource:
    return resources.altered(resource, change, state=state, revision=resource.revision + 1, **WHO)


def plan(*contents: bytes, current: list[Resource], prune: Prune | None = None) -> Plan:
    parsed = parse(*contents)
    scope = planning.prune_scope(prune, current, keep={item.key for item in parsed})
    return planning.plan(
        parsed, {item.key: item for item in current}, namespace="dev", pruned=scope
    )


def test_each_document_is_one_step_by_what_is_there(document: Callable[..., bytes]) -> None:
    current = [
        stored(document("same")),
        stored(document("changed")),
        altered(stored(document("gone")), ChangeKind.RETIRED, ResourceState.RETIRED),
    ]
    made = plan(
        document("same"),
        document("changed", description="x"),
        document("gone"),
        document("new"),
        current=current,
    )
    assert [step.action for step in made.steps] == [
        Action.UNCHANGED,
        Action.UPDATE,
        Action.RESTORE,
        Action.CREATE,
    ]
    assert made.growth == 2
    assert [step.in_use and step.in_use.key.resource_id for step in made.steps] == [
        "same",
        "changed",
        None,
        None,
    ]


def test_changes_come_in_an_order_in_which_each_finds_what_it_names(
    document: Callable[..., bytes], event_type: Any, producer: Any
) -> None:
    made = plan(
        document("d"),
        producer("p"),
        event_type("t"),
        document("same"),
        current=[
            stored(document("same")),
            stored(event_type("old")),
            stored(document("old-listener")),
            stored(producer("old-producer")),
        ],
        prune=Prune(),
    )
    assert [(step.key.resource_id, step.action) for step in made.changes] == [
        ("t", Action.CREATE),
        ("p", Action.CREATE),
        ("d", Action.CREATE),
        ("old-listener", Action.PRUNE),
        ("old-producer", Action.PRUNE),
        ("old", Action.PRUNE),
    ]
    assert made.growth == 0


def test_pruning_keeps_what_is_in_the_set_and_what_others_own(
    document: Callable[..., bytes],
) -> None:
    current = [stored(document("a")), stored(document("b", owner="crm")), stored(document("c"))]
    keep = {Key(ResourceKind.ACTIVITY_DEFINITION, "a")}

    def scope(prune: Prune | None) -> list[str]:
        found = planning.prune_scope(prune, current, keep=keep)
        return [resource.key.resource_id for resource in found]

    assert scope(None) == []
    assert scope(Prune()) == ["b", "c"]
    assert scope(Prune("crm")) == ["b"]


def test_name_of_a_plan_says_what_is_done_to_what(document: Callable[..., bytes]) -> None:
    a, b = document("a"), document("b")
    current = [stored(a)]
    made = plan(a, b, current=current)
    assert plan(b, a, current=current).sha256 == made.sha256
    disabled = altered(current[0], ChangeKind.DISABLED, ResourceState.DISABLED)
    others = [
        plan(a, current=current),
        plan(a, document("b", description="x"), current=current),
        plan(a, b, current=[]),
        plan(a, b, current=[stored(a, revision=5)]),
        plan(a, b, current=[disabled]),
        plan(a, b, current=[*current, stored(document("c"), revision=3)], prune=Prune()),
    ]
    assert made.sha256 not in {other.sha256 for other in others}
    assert len({other.sha256 for other in others}) == len(others)


def test_etag_that_is_not_the_current_one_is_refused(document: Callable[..., bytes]) -> None:
    first = stored(document("a"))
    now = altered(first, ChangeKind.DISABLED, ResourceState.DISABLED)
    parsed = parse(document("a", description="x"), etag=first.etag)
    assert planning.plan(parsed, {first.key: first}, namespace="dev").steps
    with pytest.raises(EtagMismatchError, match="version 1 is current, disabled by ada"):
        planning.plan(parsed, {first.key: now}, namespace="dev")
    with pytest.raises(EtagMismatchError, match="it does not exist"):
        planning.plan(parsed, {}, namespace="dev")


def test_step_shows_what_would_be(document: Callable[..., bytes]) -> None:
    first = stored(document("a"))
    disabled = altered(first, ChangeKind.DISABLED, ResourceState.DISABLED)
    made = plan(
        document("a", description="x"),
        document("new"),
        current=[disabled, stored(document("old"))],
        prune=Prune(),
    )
    would_be = [step.would_be("dev", **WHO) for step in made.steps]
    assert [(r.version, r.versions, r.state, r.revision) for r in would_be] == [
        (2, 2, ResourceState.DISABLED, 0),
        (1, 1, ResourceState.ACTIVE, 0),
        (1, 1, ResourceState.RETIRED, 0),
    ]


def test_version_after_an_activation_counts_on(document: Callable[..., bytes]) -> None:
    first = stored(document("a"))
    second = stored(document("a", description="x"), revision=2, before=first)
    back = resources.altered(
        resources.replace(first, versions=second.versions),
        ChangeKind.ACTIVATED,
        state=ResourceState.ACTIVE,
        revision=3,
        **WHO,
    )
    assert (back.version, back.latest.version, back.versions) == (1, 1, 2)
    third = stored(document("a", description="y"), revision=4, before=back)
    assert (third.version, third.versions) == (3, 3)
