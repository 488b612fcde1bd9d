import json
from pathlib import Path
from typing import Any

import pytest

from cli import starts
from cli.errors import UsageError

EVENT = {
    "event_id": "e-1",
    "type": "billing.payment.received",
    "source": "test",
    "occurred_at": "2026-03-02T12:00:00Z",
    "payload": {"amount": 5},
}


def test_trigger_prints_the_run_alone(backbone: Any, stack: Path, services: Any) -> None:
    result = backbone("trigger", "a.b", "--input", '{"x": 1}', "--request-id", "r-1")
    assert result.stdout == "a.b:manual:r-1\n"
    (request,) = services.router.requests
    assert (json.loads(request.input), request.namespace) == ({"x": 1}, "dev")


def test_trigger_again_says_that_the_run_was_there(backbone: Any, stack: Path) -> None:
    backbone("trigger", "a.b", "--request-id", "r-1")
    result = backbone("trigger", "a.b", "--request-id", "r-1", "-o", "json")
    assert json.loads(result.stdout)["started"] is False


def test_trigger_refuses_an_input_that_is_not_json(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone("trigger", "a.b", "--input", "{")
    assert result.exit_code == 2
    assert services.router.requests == []


def test_complete_envelope_is_published_byte_for_byte() -> None:
    raw = json.dumps(EVENT, indent=2).encode()
    ((envelope, content),) = starts.envelopes(raw, fill=False)
    assert envelope.event_id == "e-1"
    assert content == raw


def test_json_lines_are_one_event_each() -> None:
    lines = [json.dumps(EVENT | {"event_id": f"e-{n}"}).encode() for n in range(3)]
    found = starts.envelopes(b"\n".join(lines) + b"\n\n", fill=False)
    assert [envelope.event_id for envelope, _ in found] == ["e-0", "e-1", "e-2"]
    assert [content for _, content in found] == lines


def test_absent_fields_are_an_error_without_fill() -> None:
    raw = json.dumps({k: v for k, v in EVENT.items() if k != "event_id"}).encode()
    with pytest.raises(UsageError, match=r"event_id.*--fill"):
        starts.envelopes(raw, fill=False)


def test_fill_makes_only_what_is_absent() -> None:
    raw = json.dumps({k: v for k, v in EVENT.items() if k != "event_id"}).encode()
    ((envelope, _),) = starts.envelopes(raw, fill=True)
    assert len(envelope.event_id) == 36
    assert envelope.document()["occurred_at"] == "2026-03-02T12:00:00Z"


@pytest.mark.parametrize("raw", [b"", b"  \n", b"{\n", b"[1]", b"\xff"])
def test_what_is_no_event_is_refused(raw: bytes) -> None:
    with pytest.raises(UsageError):
        starts.envelopes(raw, fill=True)


def test_one_bad_line_names_its_number() -> None:
    raw = json.dumps(EVENT).encode() + b"\n{}\n"
    with pytest.raises(UsageError, match="line 2"):
        starts.envelopes(raw, fill=False)
