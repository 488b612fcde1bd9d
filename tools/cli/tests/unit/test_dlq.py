import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from backbone.router.v1 import router_pb2 as pb
from backbone.router.v1 import router_pb2_grpc
from contracts.names import Metadata
from runtime import rpcerrors

BECAUSE = ("--reason", "mended")


REVEAL = ("--reveal", "--reason", "a test")


class FakeRouter(router_pb2_grpc.RouterServiceServicer):
    """Has three open dead letters, two a page; routes those with an even offset."""

    def __init__(self) -> None:
        self.letters = {offset: self._letter(offset) for offset in (4, 5, 6)}
        self.value = b'{"a": "\x1b[2J"}'
        self.filters: list[pb.DeadLetterFilter] = []
        self.orders: list[Any] = []
        self.actors: list[Any] = []
        self.away = False
        self.revealed: list[tuple[str, bool]] = []
        self.unopened = False

    @staticmethod
    def _letter(offset: int) -> pb.DeadLetter:
        letter = pb.DeadLetter(
            place=pb.Place(topic="dev.backbone.dead-letters", partition=0, offset=offset),
            origin=pb.Place(topic="dev.events", partition=2, offset=9),
            reason="expression_error",
            detail="no field \x1b[31mcolour",
            attempts=1,
            source="shop",
            event_id=f"e-{offset}",
            type="paid",
            size=14,
            state="open",
        )
        letter.parked_at.FromJsonString("2026-11-29T12:00:00Z")
        return letter

    def _page(self, request: Any, size: int) -> tuple[list[pb.DeadLetter], str]:
        self.filters.append(request.filter)
        named = {place.offset for place in request.filter.places}
        left = [
            letter
            for offset, letter in sorted(self.letters.items())
            if offset >= int(request.page_token or 0)
            and (not named or offset in named)
            and request.filter.state in ("", letter.state)
        ]
        page = left[: min(size, 2)]
        return page, str(page[-1].place.offset + 1) if len(left) > len(page) else ""

    def ListDeadLetters(self, request: Any, context: Any) -> Any:
        if self.away:
            error = rpcerrors.UnavailableError("Kafka cannot be read")
            details = rpcerrors.status_details(error)
            context.set_trailing_metadata(((rpcerrors.DETAILS_KEY, details),))
            context.abort(error.code, error.message)
        found, token = self._page(request, request.page_size)
        return pb.ListDeadLettersResponse(dead_letters=found, next_page_token=token)

    def GetDeadLetter(self, request: Any, context: Any) -> Any:
        if request.place.offset not in self.letters:
            error = rpcerrors.NotFoundError("not in the topic of dead letters (any more): 0:7")
            context.abort(error.code, error.message)
        letter = self.letters[request.place.offset]
        if not request.reveal:
            return pb.GetDeadLetterResponse(dead_letter=letter)
        self.revealed.append((request.reason, bool(request.request_id)))
        if self.unopened:
            letter.detail = "it is encrypted with the data key 'x'"
            return pb.GetDeadLetterResponse(dead_letter=letter)
        return pb.GetDeadLetterResponse(
            dead_letter=letter,
            revealed=True,
            key_null=True,
            value=self.value,
            headers=[
                pb.RecordHeader(name="a", value=b"1"),
                pb.RecordHeader(name="a", value=b"\xff"),
                pb.RecordHeader(name="b", null=True),
            ],
        )

    def RedriveDeadLetters(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        found, token = self._page(request, request.limit)
        redriven = []
        for letter in found:
            even = letter.place.offset % 2 == 0
            if even and not request.dry_run:
                letter.state = "redriven"
            redriven.append(
                pb.Redriven(dead_letter=letter, outcome="started" if even else "refused")
            )
        return pb.RedriveDeadLettersResponse(redriven=redriven, next_page_token=token)

    def DiscardDeadLetters(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        found, token = self._page(request, request.limit)
        for letter in found:
            if not request.dry_run:
                letter.state = "discarded"
        return pb.DiscardDeadLettersResponse(discarded=found, next_page_token=token)

    def _note(self, request: Any, context: Any) -> None:
        self.orders.append(request)
        self.actors.append(dict(context.invocation_metadata())[Metadata.ACTOR])


@pytest.fixture
def router(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRouter]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    found = FakeRouter()
    router_pb2_grpc.add_RouterServiceServicer_to_server(found, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("BACKBONE_ROUTER_ADDRESS", f"127.0.0.1:{port}")
    yield found
    server.stop(None).wait()


def lines(result: Any) -> list[Any]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_list_turns_pages_and_shows_the_open_ones(backbone: Any, router: FakeRouter) -> None:
    found = lines(backbone("dlq", "list", "-o", "json"))
    assert [one["place"] for one in found] == ["0:4", "0:5", "0:6"]
    assert found[0]["origin"] == "dev.events 2:9"
    assert router.filters[0].state == "open"
    shown = backbone("dlq", "list", "--limit", "1")
    assert "0:4" in shown.stdout
    assert "0:5" not in shown.stdout
    assert "\x1b" not in shown.stdout


def test_list_filters_by_all_that_is_given(backbone: Any, router: FakeRouter) -> None:
    options = (
        *("--code", "empty", "--origin-topic", "dev.x", "--type", "paid", "--source", "shop"),
        *("--event", "e", "--state", "discarded"),
        *("--from", "2026-11-01T00:00:00Z", "--to", "2026-11-02T00:00:00+01:00"),
    )
    result = backbone("dlq", "list", *options)
    assert result.exit_code == 0
    assert "no such discarded dead letter" in result.stderr
    wanted = router.filters[0]
    assert (wanted.reason, wanted.origin_topic, wanted.type, wanted.source, wanted.event_id) == (
        *("empty", "dev.x", "paid", "shop", "e"),
    )
    assert wanted.parked_from.ToJsonString() == "2026-11-01T00:00:00Z"
    assert wanted.parked_to.ToJsonString() == "2026-11-01T23:00:00Z"
    assert backbone("dlq", "list", "--state", "any").exit_code == 0
    assert router.filters[-1].state == ""


def test_what_is_in_it_is_shown_only_to_who_says_why(backbone: Any, router: FakeRouter) -> None:
    shown = backbone("dlq", "show", "0:4")
    assert "expression_error" in shown.stdout
    assert "a: 1" not in shown.stdout
    assert "--reveal --reason" in shown.stderr
    found = json.loads(backbone("dlq", "show", "0:4", "-o", "json").stdout)
    assert not {"key", "headers", "value"} & found.keys()
    refused = backbone("dlq", "show", "0:4", "--reveal")
    assert refused.exit_code == 2
    assert "--reason is missing" in refused.stderr
    assert router.revealed == []
    assert backbone("dlq", "show", "0:4", *REVEAL).exit_code == 0
    assert router.revealed == [("a test", True)]


def test_what_cannot_be_opened_is_told(backbone: Any, router: FakeRouter) -> None:
    router.unopened = True
    result = backbone("dlq", "show", "0:4", *REVEAL)
    assert result.exit_code == 1
    assert "encrypted with the data key 'x'" in result.stderr


def test_show_prints_headers_and_a_safe_value(
    backbone: Any, router: FakeRouter, tmp_path: Path
) -> None:
    shown = backbone("dlq", "show", "0:4", *REVEAL).stdout
    assert "a: 1" in shown
    assert "a: 0xff" in shown
    assert "b: null" in shown
    assert "\x1b" not in shown
    raw = tmp_path / "value"
    assert backbone("dlq", "show", "0:4", "--raw", str(raw), "--reason", "a test").exit_code == 0
    assert raw.read_bytes() == router.value


def test_show_bounds_what_is_large_and_shows_bytes_in_hexadecimal(
    backbone: Any, router: FakeRouter
) -> None:
    router.value = b"\xff" * 1000
    shown = backbone("dlq", "show", "0:4", *REVEAL).stdout
    assert "ffffffff ffffffff" in shown
    assert "and 744 bytes" in shown
    router.value = b"x" * 5000
    assert "and 1000 characters" in backbone("dlq", "show", "0:4", *REVEAL).stdout


def test_show_as_json_has_every_byte(backbone: Any, router: FakeRouter) -> None:
    router.value = b"\xff"
    found = json.loads(backbone("dlq", "show", "0:4", *REVEAL, "-o", "json").stdout)
    assert (found["key"], found["value_base64"]) == (None, "/w==")
    assert found["headers"] == [
        {"name": "a", "value": "1"},
        {"name": "a", "value_base64": "/w=="},
        {"name": "b", "value": None},
    ]


def test_redrive_of_named_ones_tells_what_became_of_each(backbone: Any, router: FakeRouter) -> None:
    result = backbone("dlq", "redrive", "0:4", "0:5", *BECAUSE, "--request-id", "r-1")
    assert result.exit_code == 0
    assert "started" in result.stdout
    assert "1 were refused again and stayed open" in result.stderr
    (order,) = router.orders
    assert (order.request_id, order.reason, order.dry_run) == ("r-1", "mended", False)
    assert [(p.partition, p.offset) for p in order.filter.places] == [(0, 4), (0, 5)]
    assert order.filter.state == ""
    assert router.actors[0]


def test_redrive_by_a_filter_turns_pages_with_one_request_id(
    backbone: Any, router: FakeRouter
) -> None:
    found = lines(backbone("dlq", "redrive", "--type", "paid", *BECAUSE, "-o", "json"))
    assert [one["outcome"] for one in found] == ["started", "refused", "started"]
    assert len({order.request_id for order in router.orders}) == 1
    assert {order.filter.state for order in router.orders} == {"open"}
    assert {one["request_id"] for one in found} == {router.orders[0].request_id}


def test_a_dry_run_needs_no_reason_and_says_what_would_be(
    backbone: Any, router: FakeRouter
) -> None:
    result = backbone("dlq", "redrive", "--all", "--dry-run")
    assert result.exit_code == 0
    assert "WOULD BE" in result.stdout
    assert all(order.dry_run for order in router.orders)
    assert {letter.state for letter in router.letters.values()} == {"open"}


def test_discard_gives_up_and_says_when_more_are_left(backbone: Any, router: FakeRouter) -> None:
    result = backbone("dlq", "discard", "--all", "--limit", "2", *BECAUSE)
    assert result.exit_code == 0
    assert "there may be more" in result.stderr
    assert [letter.state for letter in router.letters.values()] == [
        "discarded",
        "discarded",
        "open",
    ]


@pytest.mark.parametrize("command", ["redrive", "discard"])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "which ones?"),
        (("--all",), "--reason is missing"),
        (("--all", "--code", "x", *BECAUSE), "--all is for all of them"),
        (("0-4", *BECAUSE), "PARTITION:OFFSET"),
        (("--from", "today", *BECAUSE), "--from is a time"),
    ],
)
def test_what_is_not_clear_is_refused(
    *, backbone: Any, router: FakeRouter, command: str, arguments: tuple[str, ...], told: str
) -> None:
    result = backbone("dlq", command, *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert router.orders == []


@pytest.mark.parametrize(
    ("command", "typed", "calls"),
    [("redrive", "y", 4), ("redrive", "n", 2), ("discard", "y", 4), ("discard", "n", 2)],
)
def test_a_person_is_asked_before_many_are_changed(
    *,
    backbone: Any,
    router: FakeRouter,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    typed: str,
    calls: int,
) -> None:
    monkeypatch.setattr("cli.dlq.interactive", lambda: True)
    result = backbone("dlq", command, "--all", *BECAUSE, stdin=f"{typed}\n")
    assert "3 dead letters?" in result.stderr
    assert result.exit_code == (0 if typed == "y" else 2)
    assert len(router.orders) == calls
    assert [order.dry_run for order in router.orders[:2]] == [True, True]
    assert not any(order.dry_run for order in router.orders[2:])
    # Not when they are named, nor when it is said beforehand.
    before = len(router.orders)
    assert backbone("dlq", command, "0:4", *BECAUSE).exit_code == 0
    assert backbone("dlq", command, "--all", "--yes", *BECAUSE).exit_code == 0
    assert not any(order.dry_run for order in router.orders[before:])


def test_errors_are_sentences(backbone: Any, router: FakeRouter) -> None:
    result = backbone("dlq", "show", "0:7")
    assert result.exit_code == 1
    assert "not in the topic of dead letters (any more): 0:7" in result.stderr
    router.away = True
    result = backbone("dlq", "list")
    assert result.exit_code == 1
    assert "Kafka cannot be read" in result.stderr
