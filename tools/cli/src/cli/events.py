"""`events tail`: what is published, as it is published."""

import base64
import itertools
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli import kafka
from cli.errors import CliError
from cli.kafka import Record
from cli.output import Output
from cli.session import NamespaceOption, OutputOption, Session
from contracts import identifiers, names
from contracts.names import Topic

app = typer.Typer(help="Follow what is published to Kafka.", rich_markup_mode=None)

OUT_TOPICS = (Topic.TASK_EVENTS, Topic.RUN_EVENTS, Topic.DEFINITION_EVENTS)


@app.callback()
def group() -> None:
    """Follow what is published to Kafka."""


@app.command()
def tail(
    context: typer.Context,
    *,
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", help="Full name, may be repeated; default: Backbone's out-topics."),
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="What stands there first.")
    ] = False,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many records.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            min=0.1,
            metavar="SECONDS",
            help="End after so long; with --count, fewer records by then are a failure.",
        ),
    ] = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Print records as they are published, until Ctrl-C; it is in no consumer group."""
    session = Session(context, namespace=namespace, output=output)
    servers = kafka.bootstrap(session.settings)
    topics = topic or [names.topic(session.namespace, one) for one in OUT_TOPICS]
    following = kafka.Tail(servers, topics, from_beginning=from_beginning)
    seen = 0
    try:
        session.output.note(f"following {', '.join(topics)}; Ctrl-C ends it")
        for record in itertools.islice(following.records(timeout_s=timeout), count):
            _show(session.output, record)
            seen += 1
    finally:
        following.close()
    if count is not None and seen < count:
        raise CliError(f"{seen} of {count} records came within {timeout:g} s")


def as_document(record: Record) -> dict[str, Any]:
    """Return a record as JSON; a value that is not JSON is null, its bytes are `value_base64`."""
    value = None
    raw = None
    try:
        value = json.loads(record.value) if record.value else None
    except ValueError:
        raw = base64.b64encode(record.value or b"").decode()
    stamp = datetime.fromtimestamp(max(record.timestamp_ms, 0) / 1000, UTC)
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": identifiers.instant(stamp),
        "key": None if record.key is None else record.key.decode(errors="replace"),
        "headers": {name: value.decode(errors="replace") for name, value in record.headers},
        "value": value,
        "value_base64": raw,
    }


def _show(out: Output, record: Record) -> None:
    document = as_document(record)
    if out.json:
        out.line(document)
        return
    value = document["value"] if isinstance(document["value"], dict) else {}
    what = value.get("type") or f"{len(record.value or b'')} bytes that are no envelope"
    about = value.get("subject") or document["key"] or ""
    reason = document["headers"].get(names.Header.REASON)
    out.text(
        f"{document['timestamp']}  {record.topic}  {what}  {about}"
        + (f"  {json.dumps(value['payload'], ensure_ascii=False)}" if "payload" in value else "")
        + (f"  refused: {reason}" if reason else "")
    )
