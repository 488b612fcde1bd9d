"""The cache of definitions against a registry over real gRPC."""

import json

import pytest

from backbone.registry.v1 import registry_pb2
from contracts.rejections import EventRejectedError, Reason
from router.adapters.registry_resources import RegistryResources
from router.errors import (
    DefinitionUnknownError,
    DefinitionUnusableError,
    RouterError,
    TransientError,
)
from runtime import grpcclient


@pytest.fixture
async def definitions(registry):
    channel = grpcclient.channel(registry.address, actor="router")
    subject = RegistryResources(channel, namespaces=["dev"])
    await subject.start()
    yield subject
    await subject.stop()
    await channel.close(None)


@pytest.fixture
def apply(registry, make):
    def apply(definition_id, event_type="paid"):
        registry.apply("dev", definition_id, make.definition(definition_id, {"type": event_type}))

    return apply


ACTIVE = registry_pb2.RESOURCE_STATE_ACTIVE
DISABLED = registry_pb2.RESOURCE_STATE_DISABLED
RETIRED = registry_pb2.RESOURCE_STATE_RETIRED


def version_of(definitions, definition_id):
    active = definitions.index("dev").get(definition_id)
    return active.version if active is not None else 0


async def test_the_first_snapshot_is_whole_when_it_is_told_complete(registry, apply, eventually):
    for number in range(20):
        apply(f"d{number}")
    channel = grpcclient.channel(registry.address, actor="router")
    told = []
    subject = RegistryResources(
        channel, namespaces=["dev"], on_snapshot=lambda: told.append(len(subject.index("dev")))
    )
    with pytest.raises(RouterError, match="no definitions of 'dev' yet"):
        await subject.ready()
    await subject.start()
    await subject.complete("dev")
    assert len(subject.index("dev")) == 20
    await subject.ready()
    apply("one-more")
    await eventually(lambda: len(subject.index("dev")) == 21)
    assert told == [20]  # Of snapshots, not of each change.
    await subject.stop()
    await channel.close(None)


async def test_a_change_arrives_without_being_asked_for(definitions, apply, eventually):
    await definitions.complete("dev")
    apply("a")
    await eventually(lambda: version_of(definitions, "a") == 1)
    apply("a")
    await eventually(lambda: version_of(definitions, "a") == 2)


@pytest.mark.parametrize("resumable", [True, False])
async def test_definitions_stay_known_while_the_registry_is_away_and_catch_up_afterwards(
    definitions, registry, apply, eventually, resumable
):
    registry.resumable = resumable
    apply("a")
    apply("gone")
    await eventually(lambda: version_of(definitions, "gone") == 1)
    await registry.stop()
    assert version_of(definitions, "a") == 1
    apply("a")
    if not resumable:
        del registry.resources["gone"]
    await registry.start()
    await eventually(lambda: version_of(definitions, "a") == 2)
    assert registry.asked_after[-1] == 2
    await eventually(lambda: version_of(definitions, "gone") == (1 if resumable else 0))


async def test_a_definition_that_cannot_be_read_keeps_its_earlier_version_and_is_named(
    definitions, registry, apply, eventually
):
    apply("a")
    await eventually(lambda: version_of(definitions, "a") == 1)
    registry.apply("dev", "a", b'{"kind": "FromTheFuture"}')
    apply("b")
    await eventually(lambda: version_of(definitions, "b") == 1)
    assert version_of(definitions, "a") == 1
    with pytest.raises(RouterError, match="cannot read: a"):
        await definitions.ready()
    with pytest.raises(DefinitionUnusableError):
        await definitions.latest("dev", "a")
    apply("a")
    await eventually(lambda: version_of(definitions, "a") == 3)
    await definitions.ready()


async def test_a_definition_is_disabled_and_enabled_where_it_stands(
    definitions, registry, apply, eventually
):
    apply("a")
    await eventually(lambda: version_of(definitions, "a") == 1)
    registry.turn("a", DISABLED)
    await eventually(lambda: definitions.index("dev").get("a").disabled)
    assert (await definitions.latest("dev", "a")).disabled
    apply("a")
    await eventually(lambda: version_of(definitions, "a") == 2)
    assert definitions.index("dev").get("a").disabled
    registry.turn("a", ACTIVE)
    await eventually(lambda: not definitions.index("dev").get("a").disabled)


@pytest.mark.parametrize("away", [False, True])
async def test_a_retired_definition_leaves_the_index_and_comes_back_when_it_is_applied(
    definitions, registry, apply, eventually, away
):
    apply("a")
    await eventually(lambda: version_of(definitions, "a") == 1)
    if away:
        await registry.stop()
    registry.turn("a", RETIRED)
    if away:
        await registry.start()
    await eventually(lambda: definitions.index("dev").get("a") is None)
    with pytest.raises(DefinitionUnknownError, match="'a' is retired"):
        await definitions.latest("dev", "a")
    registry.turn("a", ACTIVE)
    await eventually(lambda: version_of(definitions, "a") == 1)


async def test_disabling_a_definition_that_cannot_be_read_stops_its_earlier_version(
    definitions, registry, apply, eventually
):
    apply("a")
    await eventually(lambda: version_of(definitions, "a") == 1)
    registry.apply("dev", "a", b'{"kind": "FromTheFuture"}')
    registry.turn("a", DISABLED)
    await eventually(lambda: definitions.index("dev").get("a").disabled)
    assert version_of(definitions, "a") == 1
    await definitions.ready()
    registry.turn("a", ACTIVE)
    await eventually(lambda: not definitions.index("dev").get("a").disabled)
    with pytest.raises(RouterError, match="cannot read: a"):
        await definitions.ready()


async def test_latest_asks_the_registry_and_falls_back_on_what_is_known(
    definitions, registry, apply, eventually
):
    apply("billing.overdue")
    await eventually(lambda: version_of(definitions, "billing.overdue") == 1)
    assert (await definitions.latest("dev", "billing.overdue")).version == 1
    with pytest.raises(DefinitionUnknownError, match=r"did you mean 'billing\.overdue'"):
        await definitions.latest("dev", "billing.overdeu")
    await registry.stop()
    assert (await definitions.latest("dev", "billing.overdue")).version == 1
    with pytest.raises(TransientError, match="registry"):
        await definitions.latest("dev", "other")


def head(kind, name):
    metadata = {"id": name, "namespace": "dev", "owner": "tests"}
    return {"apiVersion": "backbone/v1", "kind": kind, "metadata": metadata}


@pytest.fixture
def put(registry):
    def put(kind, name, spec):
        number = registry_pb2.ResourceKind.Value(f"RESOURCE_KIND_{kind}")
        words = {"PRODUCER": "Producer", "EVENT_TYPE": "EventType"}
        document = None if spec is None else head(words[kind], name) | {"spec": spec}
        registry.apply("dev", name, json.dumps(document).encode(), number)

    return put


def reason(check, *args, **kwargs):
    try:
        check(*args, **kwargs)
    except EventRejectedError as exc:
        return exc.reason
    return None


async def test_producers_and_event_types_come_by_the_same_stream(
    definitions, registry, put, apply, eventually
):
    def emits(source):
        policy = definitions.policy("dev")
        if not policy.has_producers:
            return None
        return reason(policy.check_producer, source=source, event_type="paid", signer=None)

    def fits(payload):
        return reason(definitions.policy("dev").check_payload, "paid", 1, payload)

    await definitions.complete("dev")
    assert (emits("anybody"), fits([])) == (None, None)
    put("PRODUCER", "shop", {"sources": ["shop"], "types": ["*"]})
    put("EVENT_TYPE", "paid", {"schemas": [{"version": 1, "schema": {"type": "object"}}]})
    await eventually(lambda: fits([]) is Reason.SCHEMA_VIOLATION)
    assert emits("anybody") is Reason.PRODUCER_NOT_ALLOWED
    assert emits("shop") is None
    # One that cannot be read stays as it was, and is named.
    put("PRODUCER", "shop", None)
    put("EVENT_TYPE", "paid", None)
    apply("a")
    await eventually(lambda: version_of(definitions, "a") == 1)
    assert (emits("anybody"), fits([])) == (Reason.PRODUCER_NOT_ALLOWED, Reason.SCHEMA_VIOLATION)
    with pytest.raises(RouterError, match="cannot read: event type paid, producer shop"):
        await definitions.ready()
    registry.turn("shop", RETIRED)
    registry.turn("paid", RETIRED)
    await eventually(lambda: (emits("anybody"), fits([])) == (None, None))
    await definitions.ready()


async def test_the_revision_is_that_of_the_newest_change_in_use(
    definitions, registry, apply, eventually
):
    apply("a")
    apply("b")
    await definitions.complete("dev")
    await eventually(lambda: definitions.revision("dev") == registry.revision)
