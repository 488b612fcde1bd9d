"""The attacks of the table that come over a network, on real servers; and those on gRPC itself."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any

import grpc
import http_api
import pytest
from attacks import ATTACKS, Attack

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts.catalogue import HttpConnector
from contracts.roles import Role
from router.adapters.http_events import HttpEvents
from router.domain.authentication import Authentication
from router.domain.ingress import Ingress
from router.domain.policy import Policy
from router.ports import Outgoing
from router.service.receiving import EventDoor, Inlet
from runtime import authorisation
from runtime.grpcserver import MAX_MESSAGE_BYTES, GrpcServer, Service
from runtime.httpconnectors import HttpConnectors
from runtime.httpserver import Health, HttpServer
from runtime.identity import LocalAuthenticator
from sdk import testing
from sdk.builtins.calling import http_call

LEDGER = "backbone.ledger.v1.LedgerService"


def _given(entry: str) -> Any:
    found = [attack for attack in ATTACKS if attack.given == entry]
    return pytest.mark.parametrize("attack", found, ids=lambda attack: attack.name)


def _meets(attack: Attack, outcome: str) -> None:
    assert re.match(attack.outcome, outcome, re.DOTALL), outcome[:2_000]


class Kept:
    """A publisher that keeps what it is given, and an observer of nothing."""

    def __init__(self) -> None:
        self.events: list[Outgoing] = []

    async def publish(self, events: Sequence[Outgoing]) -> None:
        """Keep events."""
        self.events += events

    def received(self, outcome: str, count: int) -> None:
        """Count nothing."""


@pytest.fixture
async def door(unused_port: Callable[[], int]) -> AsyncIterator[tuple[int, Kept]]:
    """The HTTP door of the namespace `dev`, and what it let in."""
    kept, port = Kept(), unused_port()
    ingress = Ingress("dev", Authentication(clock=lambda: 0, is_open=True))
    inlet = Inlet("dev.events", lambda record: ingress.admit(record, Policy()).document)
    events = HttpEvents(
        EventDoor({"dev": inlet}, publisher=kept, observer=kept),  # type: ignore[arg-type]
        known=lambda: True,
        observer=kept,  # type: ignore[arg-type]
        in_flight=8,
        body_timeout=timedelta(seconds=5),
    )
    server = HttpServer(listen=f"127.0.0.1:{port}", health=Health(), routes=[events.route])
    await server.start()
    yield port, kept
    await server.stop()


@_given("post")
async def test_a_request_to_the_door_gets_its_refusal(
    attack: Attack, door: tuple[int, Kept]
) -> None:
    port, kept = door
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(attack.payload())
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head)
        body = await (reader.readexactly(int(length[1])) if length else reader.read())
    writer.close()
    status = head.split()[1]
    told = json.loads(body) if b"{" in body[:1] else {}
    if status == "202":
        _meets(attack, "taken: 202")
        return
    kind = told.get("type", "").rpartition(":")[2]
    _meets(attack, f"refused: {status} {kind} {told.get('reason', '')}")
    assert kept.events == []


@_given("answer")
async def test_an_answer_of_a_connector_gets_its_refusal(attack: Attack) -> None:
    async with http_api.api() as api:
        connector = HttpConnector.model_validate(
            {
                "url": f"http://127.0.0.1:{api.port}",
                "networks": ["127.0.0.0/8"],
                "calls": {"GET /": {}},
            }
        )
        connectors = HttpConnectors(
            {"crm": connector}, token=lambda _name, _connector: None, agent="test"
        )
        api.answers["/"] = http_api.cut(attack.payload())
        asked = {"connector": "crm", "method": "GET", "path": "/", "parameters": {}}
        try:
            outcome = f"taken: {await testing.invoke(http_call(connectors), asked)}"
        except Exception as exc:  # noqa: BLE001 - whatever a handler raises fails its task
            outcome = f"refused: {exc}"
        await connectors.close()
    _meets(attack, outcome)


# --- gRPC ----------------------------------------------------------------------------------------


class Reached(ledger_pb2_grpc.LedgerServiceServicer):
    """Notes what reaches it."""

    def __init__(self) -> None:
        self.requests: list[int] = []

    async def GetRun(self, request: Any, context: Any) -> Any:
        """Note how large a request is."""
        self.requests.append(request.ByteSize())
        return ledger_pb2.GetRunResponse()


async def test_a_connection_that_says_nothing_is_let_go() -> None:
    server = GrpcServer(
        listen="127.0.0.1:0",
        services=[],
        authenticator=LocalAuthenticator(frozenset(), frozenset()),
        handshake=timedelta(milliseconds=300),
    )
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(20):
        while await reader.read(1024):  # Its settings, before it hangs up.
            pass
    writer.close()
    await server.stop()


@pytest.fixture
async def called() -> AsyncIterator[tuple[Reached, Any]]:
    """A server, and a client that keeps to no limit of its own."""
    reached = Reached()  # type: ignore[abstract]
    methods = ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"].methods
    server = GrpcServer(
        listen="127.0.0.1:0",
        services=[
            Service(
                name=LEDGER,
                add=ledger_pb2_grpc.add_LedgerServiceServicer_to_server,
                servicer=reached,
                policy=authorisation.policy(
                    LEDGER, {method.name: {Role.VIEWER} for method in methods}
                ),
            )
        ],
        authenticator=LocalAuthenticator(frozenset(Role), frozenset()),
    )
    await server.start()
    channel = grpc.aio.insecure_channel(
        f"127.0.0.1:{server.port}",
        options=[("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 1 << 20)],
    )
    yield reached, ledger_pb2_grpc.LedgerServiceStub(channel)
    await channel.close()
    await server.stop()


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_message_is_as_large_as_it_is_when_it_is_unpacked(
    called: tuple[Reached, Any], compression: grpc.Compression | None
) -> None:
    reached, stub = called
    for size in (MAX_MESSAGE_BYTES, 8 * MAX_MESSAGE_BYTES):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetRun(ledger_pb2.GetRunRequest(run_id="a" * size), compression=compression)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reached.requests == []


async def test_metadata_beyond_its_size_is_refused(called: tuple[Reached, Any]) -> None:
    reached, stub = called
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetRun(
            ledger_pb2.GetRunRequest(run_id="a"), metadata=(("x-many", "a" * 100_000),)
        )
    assert refused.value.code() in {
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    }
    assert reached.requests == []
