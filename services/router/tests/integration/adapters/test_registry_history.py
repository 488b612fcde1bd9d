"""What the registry says of a time, over real gRPC; the registry itself is in tests/e2e."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest

from backbone.registry.v1 import registry_pb2 as pb
from backbone.registry.v1 import registry_pb2_grpc
from router.adapters import registry_history
from router.adapters.registry_history import RegistryHistory
from router.errors import DefinitionAbsentError, TransientError
from runtime import grpcclient

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Registry(registry_pb2_grpc.RegistryServiceServicer):
    """Changes, one a minute backwards from now, of definitions and an event type in turn."""

    def __init__(self):
        self.changes = 0
        self.resource = None
        self.asked = []

    async def GetResource(self, request, context):
        self.asked.append(request)
        if self.resource is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "none")
        return pb.GetResourceResponse(resource=self.resource)

    async def ListChanges(self, request, context):
        first = int(request.page_token or 0)
        end = min(first + request.page_size, self.changes)
        changes = []
        for number in range(first, end):
            kind = pb.RESOURCE_KIND_ACTIVITY_DEFINITION if number % 2 else pb.RESOURCE_KIND_PRODUCER
            change = pb.Change(kind=kind, resource_id=f"d.n{number}")
            change.at.FromDatetime(NOW - timedelta(minutes=number))
            changes.append(change)
        token = str(end) if end < self.changes else ""
        return pb.ListChangesResponse(changes=changes, next_page_token=token)


@pytest.fixture
def told():
    return Registry()


@pytest.fixture
async def history(told):
    server = grpc.aio.server()
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(told, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpcclient.channel(f"127.0.0.1:{port}", actor="router")
    yield RegistryHistory(channel)
    await channel.close()
    await server.stop(0)


async def test_a_definition_is_asked_for_as_of_the_time_with_its_state(history, told, make):
    told.resource = pb.Resource(
        version=3, content=make.definition("d.one", {"type": "paid"}),
        state=pb.RESOURCE_STATE_DISABLED,
    )  # fmt: skip
    active = await history.at("dev", "d.one", NOW)
    assert (active.version, active.disabled, len(active.triggers)) == (3, True, 1)
    assert told.asked[0].as_of.ToDatetime(UTC) == NOW


async def test_what_was_not_there_and_what_was_retired_are_told_apart(history, told):
    with pytest.raises(DefinitionAbsentError, match="did not exist at 2026-11-29") as raised:
        await history.at("dev", "d.one", NOW)
    assert not raised.value.retired
    told.resource = pb.Resource(state=pb.RESOURCE_STATE_RETIRED)
    with pytest.raises(DefinitionAbsentError, match="was retired at 2026-11-29") as raised:
        await history.at("dev", "d.one", NOW)
    assert raised.value.retired


async def test_only_definitions_that_changed_after_the_time_are_named(history, told):
    told.changes = 2500
    since = NOW - timedelta(minutes=5)
    assert await history.changed_since("dev", since) == {"d.n1", "d.n3"}
    further = await history.changed_since("dev", NOW - timedelta(days=30))
    assert len(further) == 1250


async def test_of_too_many_changes_nothing_is_said(history, told, monkeypatch):
    monkeypatch.setattr(registry_history, "MAX_PAGES", 1)
    told.changes = 1001
    assert await history.changed_since("dev", NOW - timedelta(days=30)) is None
    told.changes = 1000
    assert len(await history.changed_since("dev", NOW - timedelta(days=30))) == 500


async def test_a_registry_that_is_away_is_a_passing_failure():
    channel = grpcclient.channel("127.0.0.1:1", actor="router")
    history = RegistryHistory(channel)
    with pytest.raises(TransientError):
        await history.at("dev", "d.one", NOW)
    with pytest.raises(TransientError):
        await history.changed_since("dev", NOW)
    await channel.close()
