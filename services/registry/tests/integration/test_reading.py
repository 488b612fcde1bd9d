"""Looking at resources: as they are, as they were, what happened to them and what differs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain.planning import Prune
from registry.errors import (
    InvalidRequestError,
    NamespaceNotServedError,
    ResourceNotFoundError,
)

DEFINITION = ResourceKind.ACTIVITY_DEFINITION
EVENT_TYPE = ResourceKind.EVENT_TYPE
WHO = {"actor": "bob", "reason": "because"}
MICROSECOND = timedelta(microseconds=1)


async def pages(registry: Any, **options: Any) -> list[list[str]]:
    shown: list[list[str]] = []
    token = ""
    while True:
        page = await registry.service.list("dev", DEFINITION, page_token=token, **options)
        shown.append([f"{r.key.resource_id}@{r.version}" for r in page.resources])
        if not (token := page.next_token):
            return shown


async def test_unknown_resources_versions_and_namespaces_are_not_found(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document())
    for resource_id, version in [("nobody", 0), ("billing.overdue", 2), ("\x00", 0), ("", 1)]:
        with pytest.raises(ResourceNotFoundError):
            await registry.service.get("dev", DEFINITION, resource_id, version=version)
    with pytest.raises(ResourceNotFoundError):
        await registry.service.get("dev", EVENT_TYPE, "billing.overdue")
    with pytest.raises(NamespaceNotServedError, match="served: dev, stage"):
        await registry.service.get("prod", DEFINITION, "billing.overdue")
    for version in (-1, 2**63):
        with pytest.raises(InvalidRequestError):
            await registry.service.get("dev", DEFINITION, "billing.overdue", version=version)
    with pytest.raises(InvalidRequestError, match="as_of"):
        await registry.service.get(
            "dev", DEFINITION, "billing.overdue", version=1, as_of=datetime.now(UTC)
        )


@pytest.mark.parametrize("filters", [{}, {"owner": "billing"}, {"show_retired": True}])
async def test_list_pages_through_resources_by_id(
    registry: Any, document: Callable[..., bytes], filters: Any
) -> None:
    # '-' and '.' sort as bytes, wherever the page is read.
    ids = ["d", "d-1", "d.1", "d0", "d1", "da", "db"]
    await registry.apply(*(document(definition_id) for definition_id in reversed(ids)))
    await registry.apply(document("d0", description="new"))
    await registry.apply(document("elsewhere", namespace="stage"))
    assert await pages(registry, page_size=3, **filters) == [
        ["d@1", "d-1@1", "d.1@1"],
        ["d0@2", "d1@1", "da@1"],
        ["db@1"],
    ]


async def test_list_leaves_out_the_retired_unless_asked_and_what_others_own(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document("a"), document("b", owner="crm"), document("c"))
    await registry.apply(document("b", owner="ops"))
    await registry.service.retire("dev", DEFINITION, "c", **WHO)
    assert await pages(registry) == [["a@1", "b@2"]]
    assert await pages(registry, show_retired=True) == [["a@1", "b@2", "c@1"]]
    assert await pages(registry, owner="ops") == [["b@2"]]
    assert await pages(registry, owner="crm") == [[]]
    assert await pages(registry, owner="billing", show_retired=True) == [["a@1", "c@1"]]
    with pytest.raises(InvalidRequestError, match="owner"):
        await pages(registry, owner="\x00")


@pytest.mark.parametrize("filters", [{}, {"show_retired": True}])
async def test_list_ends_a_page_before_its_message_grows_too_large(
    registry: Any,
    document: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    filters: Any,
) -> None:
    await registry.apply(*(document(f"d{number}") for number in range(5)))
    size = len((await registry.service.get("dev", DEFINITION, "d0")).content)
    monkeypatch.setattr("registry.service.reading.MAX_PAGE_BYTES", 2 * size)
    assert await pages(registry, **filters) == [["d0@1", "d1@1"], ["d2@1", "d3@1"], ["d4@1"]]
    monkeypatch.setattr("registry.service.reading.MAX_PAGE_BYTES", 1)
    assert len(await pages(registry, **filters)) == 5


@pytest.mark.parametrize("token", ["%%%", "AA", "ZDE=x", "é"])
async def test_tokens_from_elsewhere_are_refused(registry: Any, token: str) -> None:
    with pytest.raises(InvalidRequestError, match="page_token"):
        await registry.service.list("dev", DEFINITION, page_token=token)
    with pytest.raises(InvalidRequestError, match="page_token"):
        await registry.service.history("dev", None, "", page_token=token)


async def test_past_is_shown_as_it_was(registry: Any, document: Callable[..., bytes]) -> None:
    first = (await registry.apply(document("a"), document("b"))).results[0].resource
    second = (await registry.apply(document("a", description="x", owner="crm"))).results[0].resource
    off = (await registry.service.disable("dev", "a", **WHO)).resource
    back = (await registry.service.activate("dev", DEFINITION, "a", version=1, **WHO)).resource
    gone = (await registry.service.retire("dev", DEFINITION, "a", **WHO)).resource
    history = [first, second, off, back, gone]
    for resource, following in zip(history, [*history[1:], None], strict=True):
        last = following.latest.at - MICROSECOND if following else datetime.now(UTC)
        for moment in (resource.latest.at, last):
            then = await registry.service.get("dev", DEFINITION, "a", as_of=moment)
            assert (then.version, then.content, then.latest, then.etag) == (
                resource.version,
                resource.content,
                resource.latest,
                resource.etag,
            )
            shown = await pages(registry, as_of=moment)
            expected = ["b@1"] if resource is gone else [f"a@{resource.version}", "b@1"]
            assert shown == [expected]
    at = second.latest.at
    assert await pages(registry, as_of=at, owner="crm") == [["a@2"]]
    assert await pages(registry, as_of=at, page_size=1) == [["a@2"], ["b@1"]]
    assert await pages(registry, as_of=gone.latest.at, show_retired=True) == [["a@1", "b@1"]]
    before = first.latest.at - MICROSECOND
    assert await pages(registry, as_of=before) == [[]]
    with pytest.raises(ResourceNotFoundError, match=" as of 20"):
        await registry.service.get("dev", DEFINITION, "a", as_of=before)
    with pytest.raises(ResourceNotFoundError):
        await registry.service.get("dev", DEFINITION, "nobody", as_of=at)


async def test_history_tells_everything_newest_first(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document("a"), document("b"), actor="ada", reason="one")
    await registry.apply(document("a", description="x"), reason="two")
    await registry.service.disable("dev", "a", **WHO)
    await registry.service.enable("dev", "a", **WHO)
    await registry.service.activate("dev", DEFINITION, "a", version=1, **WHO)
    await registry.apply(document("b"), namespace="dev", prune=Prune(), reason="last")
    page = await registry.service.history("dev", DEFINITION, "a")
    assert [(c.change, c.version, c.state, c.actor, c.reason) for c in page.changes] == [
        (ChangeKind.RETIRED, 1, ResourceState.RETIRED, "ada", "last"),
        (ChangeKind.ACTIVATED, 1, ResourceState.ACTIVE, "bob", "because"),
        (ChangeKind.ENABLED, 2, ResourceState.ACTIVE, "bob", "because"),
        (ChangeKind.DISABLED, 2, ResourceState.DISABLED, "bob", "because"),
        (ChangeKind.APPLIED, 2, ResourceState.ACTIVE, "ada", "two"),
        (ChangeKind.APPLIED, 1, ResourceState.ACTIVE, "ada", "one"),
    ]
    shown, token, count = [], "", 0
    while count == 0 or token:
        page = await registry.service.history("dev", None, "", page_size=3, page_token=token)
        shown += [change.revision for change in page.changes]
        token = page.next_token
        count += 1
    assert (shown, count) == ([7, 6, 5, 4, 3, 2, 1], 3)


async def test_history_is_of_one_resource_or_of_all(
    registry: Any, document: Callable[..., bytes]
) -> None:
    assert (await registry.service.history("dev", None, "")).changes == []
    await registry.apply(document("a"))
    with pytest.raises(ResourceNotFoundError):
        await registry.service.history("dev", EVENT_TYPE, "a")
    for kind, resource_id in ((None, "a"), (DEFINITION, "")):
        with pytest.raises(InvalidRequestError, match="go together"):
            await registry.service.history("dev", kind, resource_id)
    with pytest.raises(InvalidRequestError, match="negative"):
        await registry.service.history("dev", None, "", page_size=-1)


async def test_diff_speaks_of_two_versions(registry: Any, document: Callable[..., bytes]) -> None:
    await registry.apply(document(every="1h"))
    await registry.apply(document(every="15m"))
    await registry.apply(document(every="15m", description="x"))
    latest = await registry.service.diff("dev", DEFINITION, "billing.overdue")
    assert (latest.from_version, latest.to_version) == (2, 3)
    assert [d.path for d in latest.differences] == ["metadata.description"]
    whole = await registry.service.diff("dev", DEFINITION, "billing.overdue", from_version=1)
    assert len(whole.differences) == 2
    back = await registry.service.diff(
        "dev", DEFINITION, "billing.overdue", from_version=3, to_version=1
    )
    assert (back.from_version, back.to_version, len(back.differences)) == (3, 1, 2)
    new = await registry.service.diff("dev", DEFINITION, "billing.overdue", to_version=1)
    assert (new.from_version, [d.kind for d in new.differences]) == (0, ["added"])
    await registry.service.retire("dev", DEFINITION, "billing.overdue", **WHO)
    assert await registry.service.diff("dev", DEFINITION, "billing.overdue") == latest
    with pytest.raises(ResourceNotFoundError):
        await registry.service.diff("dev", DEFINITION, "billing.overdue", from_version=4)


async def test_content_reads_back_byte_for_byte(
    registry: Any, replica: Callable[..., Any], event_type: Any
) -> None:
    schema = {"default": None, "enum": [1.5, 1e300, -0.0, 2**53 + 1, "\u2028", "ü"], "const": {}}
    applied = (await registry.apply(event_type(schemas={1: schema}))).results[0].resource
    # Another replica has read it from the tables.
    stored = await replica().service.get("dev", EVENT_TYPE, "billing.payment.received")
    assert stored == applied
    again = await replica().apply(event_type(schemas={1: schema}))
    assert again.revision == 1
