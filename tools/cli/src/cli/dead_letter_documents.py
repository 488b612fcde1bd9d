"""Dead letters as stable JSON documents, from the router's messages."""

import base64
from typing import Any

from backbone.ledger.v1 import routing_pb2
from backbone.router.v1 import router_pb2 as pb
from cli import documents


def dead_letter(message: pb.DeadLetter) -> dict[str, Any]:
    """Return a dead letter without the sender's record."""
    origin = message.origin
    return {
        "place": f"{message.place.partition}:{message.place.offset}",
        "code": message.reason,
        "detail": message.detail,
        "attempts": message.attempts,
        "parked_at": documents.moment(message, "parked_at"),
        "origin": f"{origin.topic} {origin.partition}:{origin.offset}" if origin.topic else None,
        "origin_timestamp": documents.moment(message, "origin_timestamp"),
        "source": message.source,
        "event_id": message.event_id,
        "type": message.type,
        "size": message.size,
        "state": message.state,
        "resolved_by": message.resolved_by or None,
        "resolved_at": documents.moment(message, "resolved_at"),
        "resolution": message.resolution or None,
    }


def dead_letter_in_full(message: pb.GetDeadLetterResponse) -> dict[str, Any]:
    """Return a dead letter; revealed, with the sender's record, base64 where it is no text."""
    if not message.revealed:
        return dead_letter(message.dead_letter)
    return {
        **dead_letter(message.dead_letter),
        **_content("key", message.key, null=message.key_null),
        "headers": [
            {"name": header.name, **_content("value", header.value, null=header.null)}
            for header in message.headers
        ],
        "headers_unreadable": message.headers_unreadable,
        **_content("value", message.value, null=message.value_null),
        "value_cut_from": message.value_cut_from or None,
    }


def opening(message: routing_pb2.DeadLetterOpening) -> dict[str, Any]:
    """Return who was shown what is in a dead letter, and why."""
    return {
        "place": f"{message.place.partition}:{message.place.offset}",
        "opened_at": documents.moment(message, "opened_at"),
        "actor": message.actor,
        "reason": message.reason,
        "request_id": message.request_id,
    }


def redriven(message: pb.Redriven, *, request_id: str) -> dict[str, Any]:
    """Return what became of a dead letter."""
    return {
        **dead_letter(message.dead_letter),
        "outcome": message.outcome,
        "outcome_detail": message.detail,
        "request_id": request_id,
    }


def shown(content: bytes, *, null: bool) -> str:
    """Return bytes for a person: as text where they are some, in hexadecimal otherwise."""
    if null:
        return "null"
    try:
        return content.decode() or "(empty)"
    except UnicodeDecodeError:
        return f"0x{content.hex()}"


def _content(name: str, content: bytes, *, null: bool) -> dict[str, str | None]:
    if null:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}
