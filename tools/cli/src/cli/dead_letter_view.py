"""A dead letter for a person: headers and value come from strangers, and may be anything."""

import contextlib
import json
from typing import Any

from backbone.router.v1 import router_pb2 as pb
from cli import dead_letter_documents as documents
from cli.output import Output

SHOWN_TEXT = 4000
"""Characters of a value that are shown."""
SHOWN_BYTES = 256
"""Bytes of a value that is no text."""


def show(out: Output, found: pb.GetDeadLetterResponse) -> None:
    """Print a dead letter in full: bounded, and nothing in it reaches the terminal as it is."""
    document: dict[str, Any] = documents.dead_letter(found.dead_letter)
    if found.revealed:
        document["key"] = documents.shown(found.key, null=found.key_null)
    out.fields(
        document,
        [
            ("place", "place"),
            ("state", "state"),
            ("code", "code"),
            ("why", "detail"),
            ("attempts", "attempts"),
            ("parked", "parked_at"),
            ("from", "origin"),
            ("at", "origin_timestamp"),
            ("type", "type"),
            ("source", "source"),
            ("event", "event_id"),
            ("resolved by", "resolved_by"),
            ("resolved", "resolved_at"),
            ("because", "resolution"),
            ("key", "key"),
        ],
    )
    if not found.revealed:
        out.note("--reveal --reason TEXT shows what the sender sent, and records that you saw it")
        return
    out.heading("headers")
    if found.headers_unreadable:
        out.text("they could not be read")
    for header in found.headers:
        out.text(f"{header.name}: {documents.shown(header.value, null=header.null)}")
    out.heading(f"value, {len(found.value)} bytes")
    if found.value_cut_from:
        out.text(f"cut: it had {found.value_cut_from} bytes")
    out.text(_value(found))


def _value(found: pb.GetDeadLetterResponse) -> str:
    if found.value_null:
        return "null"
    try:
        text = found.value.decode()
    except UnicodeDecodeError:
        rest = len(found.value) - SHOWN_BYTES
        told = found.value[:SHOWN_BYTES].hex(" ", 4)
        return told + (f" … and {rest} bytes (--raw FILE has all)" if rest > 0 else "")
    with contextlib.suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    rest = len(text) - SHOWN_TEXT
    return text[:SHOWN_TEXT] + (
        f" … and {rest} characters (--raw FILE has all)" if rest > 0 else ""
    )
