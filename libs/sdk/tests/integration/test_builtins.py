"""The built-in handlers against a real HTTP server, a real Kafka and a router behind real gRPC."""

import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import http_api
import pytest
from http_api import Api

import sdk
from backbone.router.v1 import router_pb2, router_pb2_grpc
from contracts import envelope
from contracts.catalogue import HttpConnector
from contracts.envelope import MAX_EVENT_BYTES, MAX_HOPS
from contracts.triggers import Chain
from devstack.infrastructure import ensure_topics
from runtime import connectorsecrets, grpcclient
from runtime.httpconnectors import HostUnavailableError, HttpConnectors
from runtime.kafka import KafkaDeliveryError
from sdk import builtins, testing
from sdk.builtins.calling import NotNowError
from sdk.builtins.starting import RouterAwayError

NOTE = {"connector": "crm", "method": "POST", "path": "/customers/{id}/notes"}
GIVEN = {**NOTE, "parameters": {"id": "c/1", "loud": True}, "body": {"text": "Ä"}}
TARGET = "/v2/customers/c%2F1/notes?loud=true"
TASK = uuid.UUID("11111111-1111-5111-8111-111111111111")

MakeCall = Callable[..., sdk.Handler[Any]]


# --- http_call -----------------------------------------------------------------------------------


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with http_api.api() as served:
        yield served


@pytest.fixture
async def make_call(api: Api, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeCall]:
    """Make the handler for a connector `crm` to the test's server."""
    monkeypatch.setenv("CRM_TOKEN", "s3cret")
    made: list[HttpConnectors] = []

    def make(*, resolve: Callable[[], Sequence[str]] | None = None, **fields: Any) -> Any:
        connector = HttpConnector.model_validate(
            {
                "url": f"http://127.0.0.1:{api.port}/v2",
                "networks": ["127.0.0.0/8"],
                "timeout": "1s",
                "tokenEnv": "CRM_TOKEN",
                "calls": {
                    "POST /customers/{id}/notes": {
                        "parameters": [
                            {"name": "id", "type": "text"},
                            {"name": "loud", "type": "boolean"},
                        ],
                        "maxBytes": 2000,
                        "redact": ["author.email"],
                    }
                },
                **fields,
            }
        )

        async def stub(_host: str, _port: int) -> Sequence[str]:
            assert resolve is not None
            return resolve()

        names = {} if resolve is None else {"resolve": stub}
        http = HttpConnectors(
            {"crm": connector}, token=connectorsecrets.token, agent="test", **names
        )
        made.append(http)
        return builtins.http_call(http)

    yield make
    for one in made:
        await one.close()


async def test_call_has_the_tasks_id_as_its_idempotency_key_in_each_attempt(
    api: Api, make_call: MakeCall
) -> None:
    api.answers[TARGET] = http_api.answer(b'{"id": 7}', status="201 Created")
    call = make_call()
    for attempt in (1, 2):
        output = await testing.invoke(call, GIVEN, task_id=TASK, attempt=attempt)
        assert output == {"status": 201, "body": {"id": 7}}
    assert api.targets == [TARGET, TARGET]
    assert api.methods == ["POST", "POST"]
    assert api.bodies == ['{"text":"Ä"}'.encode()] * 2
    assert [sent["idempotency-key"] for sent in api.headers] == [str(TASK)] * 2
    assert api.headers[0]["authorization"] == "Bearer s3cret"
    assert api.headers[0]["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (http_api.answer(b"", status="204 No Content"), None),
        (http_api.answer(b"<p>thanks</p>", content_type="text/html"), None),
        (
            http_api.as_json({"author": {"email": "ann@example.com", "name": "Ann"}}),
            {"author": {"email": {"$redacted": None}, "name": "Ann"}},
        ),
    ],
)
async def test_what_is_answered_is_kept_as_far_as_it_may(
    api: Api, make_call: MakeCall, answer: Any, body: Any
) -> None:
    api.answers[TARGET] = answer
    assert (await testing.invoke(make_call(), GIVEN))["body"] == body


@pytest.mark.parametrize(
    "status",
    ["401 No", "408 Request Timeout", "409 Conflict", "429 Too Many", "500 Fault", "503 Away"],
)
async def test_a_status_that_says_not_now_is_left_to_the_retry(
    api: Api, make_call: MakeCall, status: str
) -> None:
    api.answers[TARGET] = http_api.answer(b"x" * 5000, status=status)
    with pytest.raises(NotNowError, match=status[:3]):
        await testing.invoke(make_call(), GIVEN)


@pytest.mark.parametrize(
    ("told", "after"), [("17", timedelta(seconds=17)), ("999999", timedelta(hours=1))]
)
async def test_the_next_attempt_waits_as_long_as_the_host_asks_within_reason(
    api: Api, make_call: MakeCall, told: str, after: timedelta
) -> None:
    api.answers[TARGET] = http_api.answer(b"", status="429 Too Many", retry_after=told)
    with pytest.raises(sdk.RetryLaterError) as caught:
        await testing.invoke(make_call(), GIVEN)
    assert caught.value.after == after


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http_api.answer(b"", status="302 Found", location="http://127.0.0.1/"), "redirect"),
        (http_api.answer(b"{}", status="400 Bad Request"), "400"),
        (http_api.answer(b"{}", status="404 Not Found"), "404"),
        (http_api.answer(b"{}", status="422 Unprocessable"), "422"),
        (http_api.answer(b"{"), "not usable JSON"),
        (http_api.answer(b'{"a": 1, "a": 2}'), "not usable JSON"),
        (http_api.answer(b'"' + b"x" * 2000 + b'"'), "more than the 2000 bytes"),
        (http_api.answer(b"{}", content_encoding="gzip"), "encoded"),
        (
            http_api.endlessly(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", b"[" * 500
            ),
            "more than the 2000 bytes",
        ),
    ],
)
async def test_what_trying_again_cannot_mend_fails_for_good(
    api: Api, make_call: MakeCall, answer: Any, says: str
) -> None:
    api.answers[TARGET] = answer
    with pytest.raises(sdk.PermanentError, match=says):
        await testing.invoke(make_call(), GIVEN)
    assert len(api.targets) == 1, "a redirect would be a second one"


async def test_a_host_that_is_silent_or_away_is_left_to_the_retry(
    api: Api, make_call: MakeCall
) -> None:
    api.answers[TARGET] = http_api.endlessly(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", pause=0.2)
    with pytest.raises(HostUnavailableError, match="within 1 s"):
        await testing.invoke(make_call(), GIVEN)
    with pytest.raises(HostUnavailableError, match="does not answer"):
        await testing.invoke(make_call(url="http://127.0.0.1:1"), GIVEN)


async def test_no_name_leads_into_a_network_that_the_catalogue_does_not_allow(
    api: Api, make_call: MakeCall
) -> None:
    call = make_call(url=f"http://crm.test:{api.port}", resolve=lambda: ["10.0.0.1"])
    with pytest.raises(sdk.PermanentError, match=r"10\.0\.0\.1"):
        await testing.invoke(call, GIVEN)
    assert api.connections == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({**GIVEN, "connector": "erp"}, "no HTTP connector 'erp'"),
        ({**GIVEN, "method": "DELETE"}, "lists no call 'DELETE"),
        ({**GIVEN, "path": "/customers/c-1/notes"}, "lists no call"),
        ({**GIVEN, "path": "http://169.254.169.254/"}, "lists no call"),
        ({**GIVEN, "parameters": {"id": "c"}}, "takes the parameters id, loud"),
        ({**GIVEN, "parameters": {"id": "..", "loud": True}}, "part of the path"),
        ({**GIVEN, "parameters": {"id": 7, "loud": True}}, "expected text"),
        ({**GIVEN, "body": "x" * (256 * 1024)}, "the body has"),
        ({**GIVEN, "url": "http://evil"}, "url"),
        ({**GIVEN, "method": "CONNECT"}, "method"),
    ],
)
async def test_what_the_catalogue_does_not_list_is_not_asked_for(
    api: Api, make_call: MakeCall, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(sdk.PermanentError, match=says):
        await testing.invoke(make_call(), given)
    assert api.connections == 0


# --- publish_event -------------------------------------------------------------------------------

PAID = {"topic": "events", "type": "billing.reminded", "payload": {"n": 1}, "subject": "i-7"}
CHAIN = Chain(correlation_id="order-1", causation_id="e-1", hops=2)


@pytest.fixture
async def publisher(kafka_bootstrap_servers: str) -> AsyncIterator[sdk.EventPublisher]:
    async with sdk.EventPublisher(kafka_bootstrap_servers) as opened:
        yield opened


@pytest.fixture
def namespace(kafka_bootstrap_servers: str, unique_name: str) -> str:
    """A namespace with the topic `events`."""
    ensure_topics(kafka_bootstrap_servers, {f"{unique_name}.events": 1})
    return unique_name


async def test_a_second_attempt_publishes_the_same_bytes_and_the_chain_goes_on(
    publisher: sdk.EventPublisher, namespace: str, consume: Any
) -> None:
    handler = builtins.publish_event(publisher, topics=["events"])
    due = datetime(2026, 1, 1, tzinfo=UTC)
    for attempt in (1, 2):
        context = sdk.TaskContext(
            task_id=TASK,
            run_id="billing.dunning:manual:1",
            definition_id="billing.dunning",
            namespace=namespace,
            attempt=attempt,
            first_due=due,
            chain=CHAIN,
        )
        output = await handler.run(PAID, context)
    assert output["source"] == "tasks/billing.dunning"
    assert output["topic"] == f"{namespace}.events"

    first, second = await consume(f"{namespace}.events", 2)
    assert first.value() == second.value()
    assert first.key() == b"i-7"
    event = envelope.parse(first.value())
    assert event.event_id == output["event_id"]
    assert (event.correlation_id, event.causation_id, event.hops) == ("order-1", "e-1", 3)
    assert (event.namespace, event.occurred_at) == (namespace, due)


@pytest.mark.parametrize(
    ("given", "chain", "says"),
    [
        ({**PAID, "topic": "backbone.task-events"}, CHAIN, "lists no topic"),
        ({**PAID, "type": "backbone.TaskCompleted"}, CHAIN, "Backbone's own"),
        ({**PAID, "payload": None}, CHAIN, "null is not a payload"),
        ({**PAID, "type": "a\nb"}, CHAIN, "type"),
        ({**PAID, "payload": "x" * MAX_EVENT_BYTES}, CHAIN, "bytes, more than"),
        (PAID, CHAIN.model_copy(update={"hops": MAX_HOPS}), "start one another"),
    ],
)
async def test_what_backbone_would_not_take_in_is_not_published(
    publisher: sdk.EventPublisher,
    given: dict[str, Any],
    chain: Chain,
    says: str,
) -> None:
    handler = builtins.publish_event(publisher, topics=["events"])
    with pytest.raises(sdk.PermanentError, match=says):
        await testing.invoke(handler, given, chain=chain)


async def test_a_topic_that_is_not_there_yet_is_left_to_the_retry(
    publisher: sdk.EventPublisher, unique_name: str
) -> None:
    handler = builtins.publish_event(publisher, topics=["events"])
    with pytest.raises(KafkaDeliveryError):
        await testing.invoke(handler, PAID, namespace=unique_name)


# --- start_definition ----------------------------------------------------------------------------


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """Starts what it is asked to, or answers as a test says."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.code: grpc.StatusCode | None = None

    async def TriggerDefinition(self, request: Any, context: Any) -> Any:
        if self.code is not None:
            await context.abort(self.code, "told by the test")
        self.asked.append(request)
        return router_pb2.TriggerDefinitionResponse(
            run_id=f"{request.definition_id}:manual:{request.request_id}",
            definition_version=3,
            started=len(self.asked) == 1,
        )


@pytest.fixture
async def router() -> RouterServicer:
    return RouterServicer()  # type: ignore[abstract]  # the rest is not called


@pytest.fixture
async def start(router: RouterServicer) -> AsyncIterator[sdk.Handler[Any]]:
    server = grpc.aio.server()
    router_pb2_grpc.add_RouterServiceServicer_to_server(router, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpcclient.channel(f"127.0.0.1:{port}", actor="test")
    yield builtins.start_definition(channel)
    await channel.close()
    await server.stop(None)


async def test_a_second_attempt_finds_the_run_of_the_first_and_the_chain_goes_on(
    router: RouterServicer, start: sdk.Handler[Any]
) -> None:
    given = {"definition_id": "billing.next", "input": {"a": [1]}}
    outputs = [
        await testing.invoke(start, given, task_id=TASK, attempt=attempt, chain=CHAIN)
        for attempt in (1, 2)
    ]
    assert outputs == [{"run_id": f"billing.next:manual:{TASK}", "definition_version": 3}] * 2
    first, second = router.asked
    assert first == second
    assert json.loads(first.input) == {"a": [1]}
    assert (first.chain.correlation_id, first.chain.causation_id) == ("order-1", "e-1")
    assert first.chain.hops == 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.NOT_FOUND, sdk.PermanentError),
        (grpc.StatusCode.FAILED_PRECONDITION, sdk.PermanentError),
        (grpc.StatusCode.INVALID_ARGUMENT, sdk.PermanentError),
        (grpc.StatusCode.PERMISSION_DENIED, sdk.PermanentError),
        (grpc.StatusCode.UNAVAILABLE, RouterAwayError),
        (grpc.StatusCode.INTERNAL, RouterAwayError),
    ],
)
async def test_what_the_router_refuses_is_final_and_what_it_cannot_now_is_not(
    router: RouterServicer,
    start: sdk.Handler[Any],
    code: grpc.StatusCode,
    error: type[Exception],
) -> None:
    router.code = code
    with pytest.raises(error, match=f"{code.name}: told by the test"):
        await testing.invoke(start, {"definition_id": "billing.next"})


async def test_no_other_input_is_taken(start: sdk.Handler[Any]) -> None:
    with pytest.raises(sdk.InvalidInputError, match="definition_id"):
        await testing.invoke(start, {"definition_id": "Not An Id"})
