"""`trigger` and `publish`: the two ways to make something run from a shell."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import kafka
from cli.errors import UsageError
from cli.session import NamespaceOption, OutputOption, Session, json_option, read
from cli.settings import Settings
from contracts import envelope, identifiers, strictjson
from contracts.envelope import Envelope
from contracts.rejections import EventRejectedError
from runtime import telemetry
from signing import keyfiles
from signing.errors import KeyUnusableError

_SERVICE = "cli"


def trigger(
    context: typer.Context,
    definition_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    input_: Annotated[
        str | None,
        typer.Option("--input", metavar="JSON", help="What expressions see as trigger.input."),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; the audit keeps it.")
    ] = "started by hand",
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", help="The same again is the same run; default: a new one."),
    ] = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Start a run of a definition's active version by hand."""
    session = Session(context, namespace=namespace, output=output)
    content = b"" if input_ is None else json_option("--input", input_)
    request = request_id or str(uuid.uuid4())
    answer = session.ask(
        lambda clients: clients.trigger(
            definition_id, input_json=content, request_id=request, reason=reason
        )
    )
    out = session.output
    if out.json:
        out.document(
            {
                "run_id": answer.run_id,
                "definition_id": definition_id,
                "definition_version": answer.definition_version,
                "started": answer.started,
                "request_id": request,
            }
        )
    else:
        out.text(answer.run_id)
        if not answer.started:
            out.note("this request id had started the run already")


def publish(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help="The full name: dev.events.")],
    file: Annotated[
        str,
        typer.Option("-f", "--file", metavar="FILE|-", help="One envelope, or one a line."),
    ],
    *,
    fill: Annotated[
        bool,
        typer.Option("--fill", help="Make an event_id and an occurred_at where they are absent."),
    ] = False,
    signing_key: Annotated[
        Path | None,
        typer.Option(
            "--signing-key", metavar="FILE", help="Sign them with this key (`backbone keys new`)."
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Publish events to Kafka; nothing is sent unless all of them are valid envelopes."""
    session = Session(context, namespace=None, output=output)
    servers = kafka.bootstrap(session.settings)
    events = envelopes(read(file), fill=fill)
    try:
        key = None if signing_key is None else keyfiles.read_private(signing_key)
    except KeyUnusableError as exc:
        raise UsageError(str(exc)) from exc
    with _traced(session.settings):
        published = asyncio.run(kafka.publish(servers, topic, events, signing_key=key))
    session.output.rows(
        [asdict(one) for one in published],
        [
            ("TOPIC", "topic"),
            ("PARTITION", "partition"),
            ("OFFSET", "offset"),
            ("SOURCE", "source"),
            ("EVENT", "event_id"),
        ],
        none="nothing was published",
    )


@contextlib.contextmanager
def _traced(settings: Settings) -> Iterator[None]:
    """Export the spans of what the body does, where there is a collector."""
    if settings.otlp_endpoint is None:
        yield
        return
    provider = telemetry.Telemetry(
        service=_SERVICE,
        otlp_endpoint=settings.otlp_endpoint,
        sample_ratio=settings.trace_sample_ratio,
    )
    try:
        yield
    finally:
        provider.shutdown()


def envelopes(raw: bytes, *, fill: bool) -> list[tuple[Envelope, bytes]]:
    """Read one envelope, or one a line; each comes with the bytes to publish.

    What is complete is published byte for byte as it was given. `fill` gives events that lack them
    an `event_id` (random) and an `occurred_at` (now).

    Raises:
        UsageError: one of them is not a valid envelope, or there is none.
    """
    pieces = _pieces(raw)
    if not pieces:
        raise UsageError("there is no event in the input")
    found = []
    for number, piece in pieces:
        where = f"line {number}: " if len(pieces) > 1 else ""
        try:
            content = _filled(piece) if fill else piece
            found.append((envelope.parse(content), content))
        except EventRejectedError as exc:
            hint = "" if fill or not _fillable(exc) else " (--fill makes what is absent)"
            raise UsageError(f"{where}not an envelope: {exc.detail}{hint}") from exc
    return found


def _pieces(raw: bytes) -> list[tuple[int, bytes]]:
    """Cut the input: whole when it is one JSON document, by lines otherwise."""
    try:
        json.loads(raw)
    except ValueError:
        lines = [(number, line.strip()) for number, line in enumerate(raw.splitlines(), 1)]
        filled = [(number, line) for number, line in lines if line]
        # A broken document of several lines is told of as a whole, not by its first line.
        if len(filled) > 1 and all(line.startswith(b"{") for _, line in filled):
            return filled
    stripped = raw.strip()
    return [(1, stripped)] if stripped else []


def _filled(piece: bytes) -> bytes:
    document: Any = strictjson.parse(piece)
    if not isinstance(document, dict):
        return piece
    made = {
        "event_id": str(uuid.uuid4()),
        "occurred_at": identifiers.instant(datetime.now(UTC)),
    }
    absent = {name: value for name, value in made.items() if name not in document}
    if not absent:
        return piece
    return json.dumps(document | absent, ensure_ascii=False, separators=(",", ":")).encode()


def _fillable(exc: EventRejectedError) -> bool:
    return "event_id: Field required" in exc.detail or "occurred_at: Field required" in exc.detail
