"""Applying sets of documents: versions, plans, and all of it or nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from contracts import canonical
from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain.planning import Action, Prune
from registry.domain.resources import Key
from registry.domain.validation import Source
from registry.errors import (
    EtagMismatchError,
    InvalidDocumentsError,
    InvalidRequestError,
    LimitReachedError,
    NamespaceNotServedError,
    PlanMismatchError,
    ResourceInUseError,
    ResourceNotFoundError,
)
from registry.service.outcomes import ApplyOutcome
from runtime.postgres import Postgres

DEFINITION = ResourceKind.ACTIVITY_DEFINITION
EVENT_TYPE = ResourceKind.EVENT_TYPE
PRODUCER = ResourceKind.PRODUCER
PAID = "billing.payment.received"


def actions(outcome: ApplyOutcome) -> list[str]:
    return [f"{row.resource.key.resource_id} {row.action}" for row in outcome.results]


async def test_first_apply_stores_version_one_with_who_and_why(
    registry: Any, document: Callable[..., bytes]
) -> None:
    outcome = await registry.apply(document(), actor="local/ada", reason="  start  ")
    (row,) = outcome.results
    resource = row.resource
    assert (row.document, row.action, outcome.revision) == ("1.json", Action.CREATE, 1)
    assert (resource.version, resource.versions, resource.revision) == (1, 1, 1)
    assert resource.latest == resource.applied
    assert (resource.applied.actor, resource.applied.reason) == ("local/ada", "start")
    assert resource.applied.change is ChangeKind.APPLIED
    assert resource.state is ResourceState.ACTIVE
    assert resource.content_sha256 == canonical.digest(resource.content)
    assert await registry.service.get("dev", DEFINITION, "billing.overdue") == resource


async def test_all_kinds_are_applied_together_those_that_others_name_first(
    registry: Any, document: Callable[..., bytes], event_type: Any, producer: Any
) -> None:
    outcome = await registry.apply(document(listens=PAID), producer(), event_type())
    assert [row.document for row in outcome.results] == ["1.json", "2.json", "3.json"]
    assert [row.resource.revision for row in outcome.results] == [3, 2, 1]
    assert outcome.revision == 3


async def test_change_makes_a_new_version_and_keeps_the_old_one(
    registry: Any, document: Callable[..., bytes]
) -> None:
    first = (await registry.apply(document())).results[0].resource
    (row,) = (await registry.apply(document(description="new"))).results
    second = row.resource
    assert (row.action, second.version, second.revision) == (Action.UPDATE, 2, 2)
    assert second.etag != first.etag
    assert second.applied.at > first.applied.at
    assert [difference.path for difference in row.differences] == ["metadata.description"]
    assert await registry.service.get("dev", DEFINITION, "billing.overdue") == second
    stored = await registry.service.get("dev", DEFINITION, "billing.overdue", version=1)
    assert (stored.content, stored.applied, stored.latest) == (
        first.content,
        first.applied,
        second.latest,
    )


async def test_content_that_is_current_changes_nothing_however_it_is_spelled(
    registry: Any, document: Callable[..., bytes]
) -> None:
    first = (await registry.apply(document(every="1h"))).results[0].resource
    again = await registry.apply(document(every="60m"), reason="other words")
    assert [row.action for row in again.results] == [Action.UNCHANGED]
    assert again.results[0].resource == first
    assert again.results[0].differences == ()
    assert again.revision == 1


async def test_earlier_content_is_a_new_version(
    registry: Any, document: Callable[..., bytes]
) -> None:
    first = (await registry.apply(document())).results[0].resource
    await registry.apply(document(description="new"))
    back = (await registry.apply(document())).results[0].resource
    assert (back.version, back.content) == (3, first.content)


async def test_set_is_stored_as_a_whole_or_not_at_all(
    registry: Any, document: Callable[..., bytes]
) -> None:
    with pytest.raises(InvalidDocumentsError) as refusal:
        await registry.apply(document("good"), document("bad").replace(b"owner", b"ownr"))
    assert {problem.document for problem in refusal.value.problems} == {"2.json"}
    assert (await registry.service.list("dev", DEFINITION)).resources == []
    assert await registry.store.revision("dev") == 0


async def test_etag_of_one_document_holds_the_whole_set_back(
    registry: Any, document: Callable[..., bytes]
) -> None:
    first = (await registry.apply(document("a"))).results[0].resource
    await registry.apply(document("a", description="meanwhile"))
    with pytest.raises(EtagMismatchError, match="version 2 is current, applied by ada"):
        await registry.apply(
            document("b"), Source("a.yaml", document("a", description="mine"), first.etag)
        )
    with pytest.raises(EtagMismatchError, match="does not exist"):
        await registry.apply(Source("c.yaml", document("c"), first.etag))
    assert await registry.store.revision("dev") == 2


async def test_etag_that_is_current_is_taken(registry: Any, document: Callable[..., bytes]) -> None:
    first = (await registry.apply(document())).results[0].resource
    outcome = await registry.apply(Source("", document(description="x"), first.etag))
    assert actions(outcome) == ["billing.overdue update"]


async def test_plan_says_what_would_be_and_stores_nothing(
    registry: Any, document: Callable[..., bytes]
) -> None:
    outcome = await registry.apply(document(every="1h"), validate_only=True)
    (row,) = outcome.results
    assert (row.action, row.resource.version, row.resource.revision) == (Action.CREATE, 1, 0)
    (schedule,) = row.schedules
    assert (schedule.trigger, schedule.before, len(schedule.after)) == ("often", (), 5)
    assert outcome.revision == 0
    with pytest.raises(ResourceNotFoundError):
        await registry.service.get("dev", DEFINITION, "billing.overdue")
    done = await registry.apply(document(every="1h"), plan_sha256=outcome.plan_sha256)
    assert done.plan_sha256 == outcome.plan_sha256
    again = await registry.apply(document(every="15m"), validate_only=True)
    assert again.results[0].resource.version == 2
    assert [(s.trigger, len(s.before), len(s.after)) for s in again.results[0].schedules] == [
        ("often", 5, 5)
    ]
    with pytest.raises(EtagMismatchError):
        await registry.apply(Source("", document(), "stale"), validate_only=True)


async def test_plan_of_what_is_wrong_returns_every_problem(
    registry: Any, document: Callable[..., bytes]
) -> None:
    outcome = await registry.apply(
        document("a", listens="nobody.knows"), b"kind: [", validate_only=True
    )
    assert outcome.results == ()
    assert outcome.plan_sha256 == ""
    assert {problem.document for problem in outcome.problems} == {"1.json", "2.json"}
    assert any(problem.path == "spec.triggers[0].event.type" for problem in outcome.problems)


async def test_what_a_document_says_wrongly_hides_nothing_that_is_registered(
    registry: Any, document: Callable[..., bytes], event_type: Any
) -> None:
    await registry.apply(event_type())
    misspelt = document(listens=PAID).replace(b"owner", b"ownr")
    outcome = await registry.apply(misspelt, validate_only=True)
    assert {problem.path for problem in outcome.problems} <= {"metadata.ownr", "metadata.owner"}
    assert outcome.problems


async def test_plan_that_is_no_longer_what_would_be_done_is_refused(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document("a"))
    documents = [document("a", description="mine"), document("b")]
    planned = await registry.apply(*documents, validate_only=True)
    await registry.apply(document("b", description="theirs"))
    with pytest.raises(PlanMismatchError):
        await registry.apply(*documents, plan_sha256=planned.plan_sha256)
    planned = await registry.apply(*documents, validate_only=True)
    assert actions(planned) == ["a update", "b update"]
    done = await registry.apply(*reversed(documents), plan_sha256=planned.plan_sha256)
    assert actions(done) == ["b update", "a update"]


async def test_pruning_retires_what_is_not_in_the_set(
    registry: Any, document: Callable[..., bytes], event_type: Any, producer: Any
) -> None:
    await registry.apply(document("a"), document("b", listens=PAID), event_type(), producer())
    await registry.apply(document("a", namespace="stage"))
    planned = await registry.apply(
        document("a"), namespace="dev", prune=Prune(), validate_only=True
    )
    pruned = ["a unchanged", "b prune", f"{PAID} prune", "billing-service prune"]
    assert actions(planned) == pruned
    outcome = await registry.apply(document("a"), namespace="dev", prune=Prune())
    assert actions(outcome) == pruned
    gone = outcome.results[1]
    assert (gone.document, gone.resource.state) == ("", ResourceState.RETIRED)
    assert [d.kind for d in gone.differences] == ["removed"]
    # Who names others goes before them.
    assert [row.resource.revision for row in outcome.results] == [3, 5, 7, 6]
    assert [r.key for r in (await registry.service.list("dev", DEFINITION)).resources] == [
        Key(DEFINITION, "a")
    ]
    assert len((await registry.service.list("stage", DEFINITION)).resources) == 1
    again = await registry.apply(document("a"), namespace="dev", prune=Prune())
    assert actions(again) == ["a unchanged"]


async def test_pruning_for_an_owner_leaves_what_others_own(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document("a"), document("b"), document("c", owner="crm"))
    outcome = await registry.apply(document("a"), namespace="dev", prune=Prune("billing"))
    assert actions(outcome) == ["a unchanged", "b prune"]


async def test_event_type_that_is_listened_to_is_not_pruned(
    registry: Any, document: Callable[..., bytes], event_type: Any
) -> None:
    await registry.apply(
        event_type(owner="billing"), document("listener", owner="crm", listens=PAID)
    )
    await registry.service.disable("dev", "listener", actor="ada", reason="for now")
    for validate_only in (True, False):
        with pytest.raises(ResourceInUseError) as refusal:
            await registry.apply(
                document("other"),
                namespace="dev",
                prune=Prune("billing"),
                validate_only=validate_only,
            )
        assert refusal.value.users == ("listener",)
    # A listener of the set itself is told where it names the event type.
    with pytest.raises(InvalidDocumentsError) as invalid:
        await registry.apply(
            document("listener", owner="crm", listens=PAID), namespace="dev", prune=Prune()
        )
    assert [problem.path for problem in invalid.value.problems] == ["spec.triggers[0].event.type"]


async def test_retired_resource_is_restored_by_applying_it(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document(every="1h"))
    await registry.service.retire(
        "dev", DEFINITION, "billing.overdue", actor="ada", reason="no use"
    )
    (row,) = (await registry.apply(document(every="1h"))).results
    assert (row.action, row.resource.version, row.resource.revision) == (Action.RESTORE, 2, 3)
    assert row.resource.state is ResourceState.ACTIVE
    assert [schedule.before for schedule in row.schedules] == [()]


async def test_disabled_definition_stays_disabled_when_it_is_applied(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document())
    await registry.service.disable("dev", "billing.overdue", actor="ada", reason="stop")
    resource = (await registry.apply(document(description="x"))).results[0].resource
    assert (resource.version, resource.state) == (2, ResourceState.DISABLED)


async def test_definition_is_checked_against_event_types_of_its_set_and_of_the_registry(
    registry: Any, document: Callable[..., bytes], event_type: Any
) -> None:
    listener = document(listens=PAID, when="event.payload.amonut > 1.0")
    with pytest.raises(InvalidDocumentsError, match=PAID):
        await registry.apply(listener)
    with pytest.raises(InvalidDocumentsError, match="did you mean"):
        await registry.apply(listener, event_type())
    await registry.apply(event_type())
    with pytest.raises(InvalidDocumentsError, match="did you mean"):
        await registry.apply(listener)
    await registry.apply(document(listens=PAID, when="event.payload.amount > 1.0"))


async def test_event_type_that_would_break_stored_definitions_is_refused(
    registry: Any, document: Callable[..., bytes], event_type: Any
) -> None:
    listener = document(listens=PAID, when="event.payload.amount > 1.0")
    await registry.apply(listener, event_type(compatibility="none"))
    other = {2: {"type": "object", "properties": {"sum": {"type": "number"}}}}
    with pytest.raises(InvalidDocumentsError) as refusal:
        await registry.apply(event_type(compatibility="none", schemas=other))
    assert refusal.value.problems[0].document == "ActivityDefinition billing.overdue"
    # Together with a definition that follows, it is fine.
    outcome = await registry.apply(
        event_type(compatibility="none", schemas=other),
        document(listens=PAID, when="event.payload.sum > 1.0"),
    )
    assert actions(outcome) == [f"{PAID} update", "billing.overdue update"]


async def test_schema_that_was_ever_applied_never_changes(registry: Any, event_type: Any) -> None:
    await registry.apply(event_type(schemas={1: {"type": "object"}}))
    await registry.apply(event_type(schemas={1: {"type": "object"}, 2: {"type": "object"}}))
    await registry.apply(event_type(schemas={1: {"type": "object"}}))
    await registry.service.retire("dev", EVENT_TYPE, PAID, actor="ada", reason="why")
    changed = {1: {"type": "object"}, 2: {"type": "object", "required": ["amount"]}}
    with pytest.raises(InvalidDocumentsError, match="never changes"):
        await registry.apply(event_type(schemas=changed))
    await registry.apply(event_type(schemas={1: {"type": "object"}, 2: {"type": "object"}}))


async def test_incompatible_schema_is_refused(registry: Any, event_type: Any) -> None:
    schema = {"type": "object", "properties": {"amount": {"type": "number"}}}
    await registry.apply(event_type(schemas={1: schema}))
    needed = {1: schema, 2: {**schema, "required": ["amount"]}}
    with pytest.raises(InvalidDocumentsError, match="amount"):
        await registry.apply(event_type(schemas=needed))


async def test_namespace_holds_as_many_resources_in_use_as_it_may(
    replica: Callable[..., Any], document: Callable[..., bytes]
) -> None:
    registry = replica(max_resources=2)
    await registry.apply(document("a"), document("b"))
    for validate_only in (True, False):
        with pytest.raises(LimitReachedError, match="would have 3 resources in use"):
            await registry.apply(document("c"), validate_only=validate_only)
    await registry.apply(document("a", description="new"))
    await registry.apply(document("a"), document("c"), namespace="dev", prune=Prune())
    await registry.service.retire("dev", DEFINITION, "a", actor="ada", reason="why")
    await registry.apply(document("b"))
    with pytest.raises(LimitReachedError):
        await registry.apply(document("a"))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": " \n "}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"reason": "a\x00b"}, "reason"),
        ({"request_id": "a b"}, "request_id"),
        ({"request_id": "x" * 101}, "request_id"),
        ({"request_id": "x\n"}, "request_id"),
        ({"prune": Prune()}, "namespace"),
    ],
)
async def test_unusable_requests_are_refused(
    registry: Any, document: Callable[..., bytes], options: Any, field: str
) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        await registry.apply(document(), **options)
    assert refusal.value.field == field


async def test_reason_of_five_hundred_characters_is_stored(
    registry: Any, document: Callable[..., bytes]
) -> None:
    resource = (await registry.apply(document(), reason="ü" * 500)).results[0].resource
    assert resource.applied.reason == "ü" * 500


async def test_nothing_to_apply_is_refused(registry: Any) -> None:
    with pytest.raises(InvalidRequestError, match="at least one"):
        await registry.apply(namespace="dev", prune=Prune())


async def test_name_that_cannot_be_printed_is_refused(
    registry: Any, document: Callable[..., bytes]
) -> None:
    with pytest.raises(InvalidRequestError, match="name"):
        await registry.apply(Source("a\x00b", document()), request_id="r-1")


async def test_namespaces_that_are_not_served_are_refused(
    registry: Any, document: Callable[..., bytes]
) -> None:
    with pytest.raises(NamespaceNotServedError, match="served: dev, stage"):
        await registry.apply(document(), namespace="prod")
    with pytest.raises(InvalidDocumentsError, match="not served here"):
        await registry.apply(document(namespace="prod"))
    with pytest.raises(InvalidDocumentsError, match="share a namespace"):
        await registry.apply(document(namespace="stage"), document(namespace="dev"))


async def test_revisions_of_namespaces_are_their_own(
    registry: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document())
    other = (await registry.apply(document(namespace="stage"))).results[0].resource
    assert (other.namespace, other.version, other.revision) == ("stage", 1, 1)


async def test_set_of_hundreds_is_one_transaction(
    registry: Any, document: Callable[..., bytes], postgres: Postgres
) -> None:
    outcome = await registry.apply(*(document(f"d{number:03}") for number in range(200)))
    assert outcome.revision == 200
    async with postgres.transaction("dev") as transaction:
        written_by = await transaction.fetchval(
            "SELECT count(DISTINCT xmin::text) FROM resource_changes"
        )
        chains = await transaction.fetchval(
            "SELECT count(DISTINCT convert_from(body, 'UTF8')::jsonb ->> 'correlation_id')"
            " FROM events"
        )
    assert (written_by, chains) == (1, 1)
