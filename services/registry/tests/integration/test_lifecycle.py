"""What happens to resources besides being applied, and who stands in the way of it."""

from collections.abc import Callable
from typing import Any

import pytest

from contracts.resources import ChangeKind, HeldEvents, ResourceKind, ResourceState
from registry.errors import (
    EtagMismatchError,
    InvalidDocumentsError,
    InvalidRequestError,
    NamespaceNotServedError,
    RequestIdReusedError,
    ResourceInUseError,
    ResourceNotFoundError,
    StateError,
)

DEFINITION = ResourceKind.ACTIVITY_DEFINITION
EVENT_TYPE = ResourceKind.EVENT_TYPE
PAID = "billing.payment.received"
WHO = {"actor": "bob", "reason": "because"}


async def test_earlier_version_is_activated_and_the_next_one_counts_on(
    registry: Any, replica: Callable[..., Any], document: Callable[..., bytes]
) -> None:
    first = (await registry.apply(document())).results[0].resource
    await registry.apply(document(description="new"))
    back = await registry.service.activate("dev", DEFINITION, "billing.overdue", version=1, **WHO)
    resource = back.resource
    assert back.changed
    assert (resource.version, resource.versions, resource.revision) == (1, 2, 3)
    assert (resource.content, resource.applied) == (first.content, first.applied)
    assert (resource.latest.change, resource.latest.version) == (ChangeKind.ACTIVATED, 1)
    assert (resource.latest.actor, resource.latest.reason) == ("bob", "because")
    assert await registry.service.get("dev", DEFINITION, "billing.overdue") == resource
    # Through a replica that has read it from the tables.
    third = (await replica().apply(document(description="newer"))).results[0].resource
    assert (third.version, third.versions) == (3, 3)


async def test_version_that_is_current_needs_no_activation(
    registry: Any, document: Callable[..., bytes]
) -> None:
    applied = (await registry.apply(document())).results[0].resource
    again = await registry.service.activate("dev", DEFINITION, "billing.overdue", version=1, **WHO)
    assert (again.changed, again.resource) == (False, applied)


async def test_version_that_is_no_longer_valid_is_not_activated(
    registry: Any, document: Callable[..., bytes], event_type: Any
) -> None:
    await registry.apply(document(listens=PAID), event_type())
    await registry.apply(document())
    await registry.service.retire("dev", EVENT_TYPE, PAID, **WHO)
    with pytest.raises(InvalidDocumentsError) as refusal:
        await registry.service.activate("dev", DEFINITION, "billing.overdue", version=1, **WHO)
    (problem,) = refusal.value.problems
    assert problem.document == "ActivityDefinition billing.overdue"
    assert problem.path == "spec.triggers[0].event.type"


async def test_event_type_is_not_activated_at_a_version_its_listeners_cannot_read(
    registry: Any, document: Callable[..., bytes], event_type: Any
) -> None:
    one = {1: {"type": "object", "properties": {"amount": {"type": "number"}}}}
    two = {**one, 2: {"type": "object", "properties": {"amount": {"type": "number"}, "tax": {}}}}
    await registry.apply(event_type(schemas=one, compatibility="none"))
    await registry.apply(event_type(schemas=two, compatibility="none"))
    await registry.apply(document(listens=PAID, when="event.payload.tax == 1.0"))
    with pytest.raises(InvalidDocumentsError, match="tax"):
        await registry.service.activate("dev", EVENT_TYPE, PAID, version=1, **WHO)


async def test_disabling_and_enabling_say_who_and_why_and_are_idempotent(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document())
    off = await registry.service.disable("dev", "billing.overdue", **WHO)
    assert (off.changed, off.resource.state, off.resource.revision) == (
        True,
        ResourceState.DISABLED,
        2,
    )
    assert off.resource.latest.reason == "because"
    again = await registry.service.disable("dev", "billing.overdue", **WHO)
    assert (again.changed, again.resource) == (False, off.resource)
    on = await registry.service.enable("dev", "billing.overdue", **WHO)
    assert (on.changed, on.resource.state, on.resource.version) == (True, ResourceState.ACTIVE, 1)
    assert not (await registry.service.enable("dev", "billing.overdue", **WHO)).changed


async def test_enabling_what_holds_events_says_what_becomes_of_them(
    registry: Any, document: Callable[..., bytes], event_type: Callable[..., bytes]
) -> None:
    await registry.apply(event_type(), document(listens=PAID, while_disabled="hold"))
    await registry.service.disable("dev", "billing.overdue", **WHO)
    with pytest.raises(InvalidRequestError, match="start, compress, discard"):
        await registry.service.enable("dev", "billing.overdue", **WHO)
    on = await registry.service.enable(
        "dev", "billing.overdue", held=HeldEvents.COMPRESS, request_id="r-9", **WHO
    )
    assert on.resource.latest.held is HeldEvents.COMPRESS
    with pytest.raises(RequestIdReusedError):
        await registry.service.enable(
            "dev", "billing.overdue", held=HeldEvents.DISCARD, request_id="r-9", **WHO
        )
    later = await registry.apply(document(listens=PAID))
    assert later.results[0].resource.latest.held is None
    released = await registry.store.released("dev", ["billing.overdue", "other"])
    assert {one: change.held for one, change in released.items()} == {
        "billing.overdue": HeldEvents.COMPRESS
    }
    history = await registry.service.history("dev", DEFINITION, "billing.overdue")
    assert [change.held for change in history.changes] == [None, HeldEvents.COMPRESS, None, None]


async def test_retired_resource_keeps_its_content_and_takes_no_other_change(
    registry: Any, document: Callable[..., bytes]
) -> None:
    applied = (await registry.apply(document())).results[0].resource
    gone = await registry.service.retire("dev", DEFINITION, "billing.overdue", **WHO)
    assert (gone.changed, gone.resource.state) == (True, ResourceState.RETIRED)
    again = await registry.service.retire("dev", DEFINITION, "billing.overdue", **WHO)
    assert (again.changed, again.resource) == (False, gone.resource)
    assert again.resource.content == applied.content
    assert await registry.service.get("dev", DEFINITION, "billing.overdue") == gone.resource
    with pytest.raises(StateError, match="applying it brings it back"):
        await registry.service.disable("dev", "billing.overdue", **WHO)
    with pytest.raises(StateError):
        await registry.service.enable("dev", "billing.overdue", **WHO)
    with pytest.raises(StateError):
        await registry.service.activate("dev", DEFINITION, "billing.overdue", version=1, **WHO)


async def test_event_type_that_is_listened_to_is_not_retired(
    registry: Any, document: Callable[..., bytes], event_type: Any
) -> None:
    await registry.apply(event_type(), event_type("other"), document("z", listens=PAID))
    await registry.apply(document("a", listens=PAID), document("b", description=f'"{PAID}"'))
    await registry.service.disable("dev", "z", **WHO)
    with pytest.raises(ResourceInUseError) as refusal:
        await registry.service.retire("dev", EVENT_TYPE, PAID, **WHO)
    assert refusal.value.users == ("a", "z")
    await registry.service.retire("dev", EVENT_TYPE, "other", **WHO)
    for definition_id in "az":
        await registry.service.retire("dev", DEFINITION, definition_id, **WHO)
    assert (await registry.service.retire("dev", EVENT_TYPE, PAID, **WHO)).changed


async def test_etag_that_was_overtaken_is_refused(
    registry: Any, document: Callable[..., bytes]
) -> None:
    first = (await registry.apply(document())).results[0].resource
    off = (
        await registry.service.disable("dev", "billing.overdue", etag=first.etag, **WHO)
    ).resource
    with pytest.raises(EtagMismatchError, match="disabled by bob"):
        await registry.service.enable("dev", "billing.overdue", etag=first.etag, **WHO)
    with pytest.raises(EtagMismatchError):
        await registry.service.retire("dev", DEFINITION, "billing.overdue", etag=first.etag, **WHO)
    await registry.service.enable("dev", "billing.overdue", etag=off.etag, **WHO)


async def test_unknown_resources_and_unusable_requests_are_refused(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document())
    for call in (
        registry.service.activate("dev", DEFINITION, "nobody", version=1, **WHO),
        registry.service.activate("dev", DEFINITION, "billing.overdue", version=2, **WHO),
        registry.service.activate("dev", EVENT_TYPE, "billing.overdue", version=1, **WHO),
        registry.service.disable("dev", "no\x00body", **WHO),
        registry.service.retire("stage", DEFINITION, "billing.overdue", **WHO),
    ):
        with pytest.raises(ResourceNotFoundError):
            await call
    for version in (0, -1, 2**63):
        with pytest.raises(InvalidRequestError):
            await registry.service.activate(
                "dev", DEFINITION, "billing.overdue", version=version, **WHO
            )
    with pytest.raises(InvalidRequestError, match="reason"):
        await registry.service.disable("dev", "billing.overdue", actor="bob", reason=" ")
    with pytest.raises(NamespaceNotServedError):
        await registry.service.disable("prod", "billing.overdue", **WHO)
