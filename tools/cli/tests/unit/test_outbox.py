import json
import signal
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from backbone.outbox.v1 import outbox_pb2 as pb
from backbone.outbox.v1 import outbox_pb2_grpc
from contracts.names import Metadata
from runtime import rpcerrors

RANGE = ("--from", "2026-11-01T00:00:00Z", "--to", "2026-11-02T00:00:00+01:00")
BECAUSE = ("--reason", "index lost")


class FakeOutbox(outbox_pb2_grpc.OutboxServiceServicer):
    """Has 25 events to republish, 10 a call, and 3 that are parked, 2 a page."""

    def __init__(self) -> None:
        self.republished: list[pb.RepublishEventsRequest] = []
        self.throttles = 0
        self.on_throttle = lambda: None
        self.parked = {
            n: pb.ParkedEvent(position=n, stream="run:a", reason="big") for n in (4, 5, 6)
        }
        self.requests: dict[str, tuple[str, int]] = {}
        self.actors: list[Any] = []
        self.reasons: list[str] = []

    def GetOutbox(self, request: Any, context: Any) -> Any:
        response = pb.GetOutboxResponse(
            pending=100_000, copies=3, more=True, parked=len(self.parked), waiting_streams=1
        )
        response.oldest_queued_at.FromJsonString("2026-11-01T12:00:00Z")
        return response

    def RepublishEvents(self, request: Any, context: Any) -> Any:
        self.republished.append(request)
        if request.dry_run:
            done = min(int(request.page_token or 0) + 10, 25)
            return pb.RepublishEventsResponse(
                republished=done - int(request.page_token or 0),
                pending=1,
                complete=done == 25,
                next_page_token="" if done == 25 else str(done),
            )
        if self.throttles:
            self.throttles -= 1
            self.on_throttle()
            return pb.RepublishEventsResponse(republished=10, throttled=True)
        asked = [one for one in self.republished if one.request_id == request.request_id]
        done = min(10 * len(asked), 25)
        return pb.RepublishEventsResponse(republished=done, pending=2, complete=done == 25)

    def ListParkedEvents(self, request: Any, context: Any) -> Any:
        left = [n for n in sorted(self.parked) if n > int(request.page_token or 0)]
        page = left[: min(2, request.page_size)]
        return pb.ListParkedEventsResponse(
            events=[self.parked[n] for n in page],
            next_page_token=str(page[-1]) if len(left) > len(page) else "",
        )

    def RetryParkedEvent(self, request: Any, context: Any) -> Any:
        return pb.RetryParkedEventResponse(changed=self._settle("retry", request, context))

    def DiscardParkedEvent(self, request: Any, context: Any) -> Any:
        return pb.DiscardParkedEventResponse(changed=self._settle("discard", request, context))

    def _settle(self, kind: str, request: Any, context: Any) -> bool:
        self.actors.append(dict(context.invocation_metadata())[Metadata.ACTOR])
        self.reasons.append(request.reason)
        if self.requests.get(request.request_id) == (kind, request.position):
            return False
        if self.parked.pop(request.position, None) is None:
            error = rpcerrors.NotFoundError(f"no event is parked at position {request.position}")
            context.abort(error.code, error.message)
        self.requests[request.request_id] = (kind, request.position)
        return True


@pytest.fixture
def outboxes(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, FakeOutbox]]:
    """A ledger and a registry with an outbox each."""
    servers = []
    found = {}
    for service in ("ledger", "registry"):
        found[service] = FakeOutbox()
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
        outbox_pb2_grpc.add_OutboxServiceServicer_to_server(found[service], server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        monkeypatch.setenv(f"BACKBONE_{service.upper()}_ADDRESS", f"127.0.0.1:{port}")
    yield found
    for server in servers:
        server.stop(None).wait()


def lines(result: Any) -> list[Any]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_status_shows_every_outbox_or_one(backbone: Any, outboxes: Any) -> None:
    both = lines(backbone("outbox", "status", "-o", "json"))
    assert [(one["service"], one["pending"], one["more"]) for one in both] == [
        ("ledger", 100_000, True),
        ("registry", 100_000, True),
    ]
    shown = backbone("outbox", "status", "--service", "ledger").stdout
    assert "100000+" in shown
    assert "registry" not in shown


def test_republish_asks_until_it_is_complete_with_one_request_id(
    backbone: Any, outboxes: Any
) -> None:
    outboxes["ledger"].throttles = 1
    found = lines(
        backbone(
            *("outbox", "republish", *RANGE, *BECAUSE, "--stream", "run:a", "-o", "json"),
            *("--type", "backbone.TaskCreated", "--type", "backbone.TaskFailed"),
        )
    )
    assert [(one["service"], one["republished"], one["pending"]) for one in found] == [
        ("ledger", 25, 2),
        ("registry", 25, 2),
    ]
    asked = outboxes["ledger"].republished + outboxes["registry"].republished
    assert {one.request_id for one in asked} == {found[0]["request_id"]}
    first = asked[0]
    assert first.recorded_from.ToJsonString() == "2026-11-01T00:00:00Z"
    assert first.recorded_to.ToJsonString() == "2026-11-01T23:00:00Z"
    assert (first.stream, first.reason, first.dry_run) == ("run:a", "index lost", False)
    assert list(first.types) == ["backbone.TaskCreated", "backbone.TaskFailed"]


def test_republish_says_that_it_waits_for_the_relay(backbone: Any, outboxes: Any) -> None:
    outboxes["ledger"].throttles = 2
    result = backbone("outbox", "republish", *RANGE, *BECAUSE, "--service", "ledger")
    assert result.exit_code == 0
    assert result.stderr.count("waiting for the relay") == 1


def test_interrupted_republication_says_how_to_go_on(backbone: Any, outboxes: Any) -> None:
    outboxes["ledger"].throttles = 10_000
    main = threading.main_thread().ident
    assert main is not None
    outboxes["ledger"].on_throttle = lambda: signal.pthread_kill(main, signal.SIGINT)
    result = backbone(
        *("outbox", "republish", *RANGE, *BECAUSE, "--service", "ledger"),
        *("--request-id", "r-1"),
    )
    assert result.exit_code == 130
    assert "--request-id r-1 goes on" in result.stderr


def test_dry_run_adds_up_and_needs_no_reason(backbone: Any, outboxes: Any) -> None:
    (found,) = lines(
        backbone(
            *("outbox", "republish", *RANGE, "--dry-run", "--service", "registry"), "-o", "json"
        )
    )
    assert (found["republished"], found["pending"]) == (25, 3)
    assert (found["dry_run"], found["request_id"]) == (True, None)
    assert all(one.dry_run for one in outboxes["registry"].republished)
    assert outboxes["ledger"].republished == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (RANGE, "--reason is missing"),
        (("--from", "yesterday", "--to", "today", *BECAUSE), "--from is a time"),
        (("--from", RANGE[3], "--to", RANGE[1], *BECAUSE), "--to has to be later"),
    ],
)
def test_republish_refuses_what_makes_no_sense(
    backbone: Any, outboxes: Any, words: tuple[str, ...], told: str
) -> None:
    result = backbone("outbox", "republish", *words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert outboxes["ledger"].republished == []


def test_parked_turns_pages_and_keeps_the_limit(backbone: Any, outboxes: Any) -> None:
    words = ("outbox", "parked", "--service", "ledger", "-o", "json")
    assert [one["position"] for one in lines(backbone(*words))] == [4, 5, 6]
    assert [one["position"] for one in lines(backbone(*words, "--limit", "1"))] == [4]


def test_parked_shows_whose_and_why(backbone: Any, outboxes: Any) -> None:
    outboxes["registry"].parked.clear()
    shown = backbone("outbox", "parked").stdout
    assert shown.count("ledger") == 3
    assert "big" in shown
    outboxes["ledger"].parked.clear()
    assert "nothing is parked" in backbone("outbox", "parked").stderr


@pytest.mark.parametrize(("word", "state"), [("retry", "pending"), ("discard", "discarded")])
def test_parked_event_is_settled_once_with_actor_and_reason(
    backbone: Any, outboxes: Any, monkeypatch: pytest.MonkeyPatch, word: str, state: str
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    words = ("outbox", word, "5", "--service", "ledger", "--reason", "asked", "--request-id", "r")
    result = backbone(*words, "-o", "json")
    told = json.loads(result.stdout)
    assert (told["position"], told["state"], told["changed"]) == (5, state, True)
    again = backbone(*words)
    assert again.stdout == f"ledger 5: {state}\n"
    assert again.stderr == "this request did so before\n"
    assert sorted(outboxes["ledger"].parked) == [4, 6]
    assert set(outboxes["ledger"].actors) == {"ada"}
    assert set(outboxes["ledger"].reasons) == {"asked"}
    other = backbone("outbox", word, "5", "--service", "ledger", "--reason", "asked")
    assert other.exit_code == 1
    assert other.stderr == "backbone: no event is parked at position 5\n"


@pytest.mark.parametrize("word", ["retry", "discard"])
def test_whose_event_and_why_have_to_be_said(backbone: Any, outboxes: Any, word: str) -> None:
    for words in (("--reason", "why"), ("--service", "ledger")):
        assert backbone("outbox", word, "5", *words).exit_code == 2
    assert len(outboxes["ledger"].parked) == 3
