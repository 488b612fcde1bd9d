"""`contract`: what teams and Backbone promise one another on Kafka, and whether they keep to it."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli import contract_asyncapi, contract_consumers, contract_examples, kafka
from cli.clients import Clients
from cli.contract_consumers import Result
from cli.contract_examples import Example
from cli.contract_producers import Problem, ProducerContract, Registered, Sample
from cli.errors import FAILED, CliError, UsageError
from cli.kinds import Kind
from cli.session import NamespaceOption, OutputOption, Session, read
from contracts import kinds
from contracts.eventtypes import EventType
from contracts.names import Topic
from contracts.producers import Producer
from contracts.resources import ResourceKind

app = typer.Typer(help="What is promised on Kafka, and who keeps to it.", rich_markup_mode=None)
verify = typer.Typer(help="Check a service of your own.", rich_markup_mode=None)

_MAX_SAMPLES_BYTES = 256 * 1024 * 1024

TopicArgument = Annotated[
    str, typer.Argument(metavar="TOPIC", help=f"One of {', '.join(t.value for t in Topic)}.")
]


@app.callback()
def group() -> None:
    """What is promised on Kafka, and who keeps to it."""


@verify.callback()
def verify_group() -> None:
    """Check a service of your own."""


app.add_typer(verify, name="verify")


@app.command()
def asyncapi(context: typer.Context, *, output: OutputOption = None) -> None:
    """Print the AsyncAPI document of every topic: YAML, or JSON with -o json."""
    session = Session(context, namespace=None, output=output, yaml=True)
    document = contract_asyncapi.document()
    if session.output.json:
        session.output.document(document)
    else:
        typer.echo(contract_asyncapi.render(document), nl=False)


@app.command()
def examples(
    context: typer.Context,
    topic: TopicArgument,
    *,
    directory: Annotated[
        Path | None,
        typer.Option("--directory", "-d", metavar="DIR", help="Write a file for each instead."),
    ] = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Print the records that a consumer of a topic has to accept, one JSON line each."""
    session = Session(context, namespace=namespace, output=output)
    found = contract_examples.of_topic(_topic(topic), namespace=session.namespace)
    if directory is None:
        for example in found:
            session.output.line(example.document())
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for example in found:
            text = json.dumps(example.document(), indent=2, ensure_ascii=False) + "\n"
            (directory / f"{_slug(example)}.json").write_text(text, encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"{directory} cannot be written: {exc.strerror}") from exc
    session.output.note(f"{len(found)} examples are in {directory}")


@verify.command()
def consumer(
    context: typer.Context,
    topic: TopicArgument,
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND…", help="Your consumer of one record.")
    ],
    *,
    timeout: Annotated[
        float,
        typer.Option("--timeout", min=0.1, metavar="SECONDS", help="For each record."),
    ] = 30.0,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Give example records to a consumer, each to a process of its own.

    The value is on standard input, RECORD_TOPIC, RECORD_KEY and RECORD_HEADER_<NAME> are in the
    environment. Exit code 0 accepts; garbage may be refused by another one. Nothing may hang.
    """
    session = Session(context, namespace=namespace, output=output)
    chosen = _topic(topic)
    fed = [
        *contract_examples.of_topic(chosen, namespace=session.namespace),
        *contract_examples.garbage(chosen, namespace=session.namespace),
    ]
    outcomes = [contract_consumers.feed(one, command, timeout_s=timeout) for one in fed]
    session.output.rows(
        [asdict(outcome) for outcome in outcomes],
        [("EXAMPLE", "example"), ("RESULT", "result"), ("EXIT", "exit_code"), ("", "detail")],
        none="there are no examples",
    )
    failed = sum(outcome.result is Result.FAILED for outcome in outcomes)
    if failed:
        raise CliError(f"{failed} of {len(outcomes)} examples of {chosen} were not taken")
    session.output.note(f"all {len(outcomes)} examples of {chosen} were taken")


@verify.command()
def producer(
    context: typer.Context,
    *,
    samples: Annotated[
        str | None,
        typer.Option("--samples", metavar="FILE|-", help="Records, one a line."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", help="Read this topic instead; the full name.")
    ] = None,
    count: Annotated[
        int, typer.Option("--count", min=1, help="With --topic: so many records.")
    ] = 100,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="With --topic: what stands there first.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=0.1, metavar="SECONDS", help="With --topic: no record by then fails."
        ),
    ] = 30.0,
    offline: Annotated[
        bool, typer.Option("--offline", help="Check the envelope only, ask no registry.")
    ] = False,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Check a producer's records: the envelope, and what the registry says of them.

    With a registry: the type is registered, the payload fits its schema version, and a producer may
    emit it from its source. A topic is read without joining a group.
    """
    session = Session(context, namespace=namespace, output=output)
    if (samples is None) == (topic is None):
        raise UsageError("give either --samples FILE or --topic TOPIC")
    registered = None
    if not offline and session.settings.registry_address is not None:
        registered = session.ask(_registered)
    contract = ProducerContract(namespace=session.namespace, registered=registered)
    if topic is None:
        records: Iterable[Sample] = _lines(samples or "-")
    else:
        records = _tailed(session, topic, count, timeout, from_beginning=from_beginning)
    checked = 0
    problems: list[Problem] = []
    for record in records:
        checked += 1
        problems += contract.problems(record)
    session.output.rows(
        [asdict(problem) for problem in problems],
        [("RECORD", "record"), ("REASON", "reason"), ("", "message")],
        none="nothing is wrong",
    )
    if not checked:
        raise CliError("there was no record to check")
    if registered is None:
        session.output.note("no registry was asked: types, payloads and producers are unchecked")
    wrong = len({problem.record for problem in problems})
    if wrong:
        session.output.error(f"{wrong} of {checked} records do not keep to the contract")
        raise typer.Exit(FAILED)
    session.output.note(f"all {checked} records keep to the contract")


def _topic(text: str) -> Topic:
    """Return the topic that a short, a plain or a full name means."""
    for topic in Topic:
        if text in (topic, topic.removeprefix("backbone.")) or text.endswith(f".{topic}"):
            return topic
    known = ", ".join(topic.value for topic in Topic)
    raise UsageError(f"{text} is no topic of Backbone's; there are {known}")


def _slug(example: Example) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", example.name).strip("-")


def _lines(source: str) -> Iterator[Sample]:
    content = read(source, limit=_MAX_SAMPLES_BYTES + 1)
    if len(content) > _MAX_SAMPLES_BYTES:
        raise UsageError(f"{source} is larger than {_MAX_SAMPLES_BYTES >> 20} MiB")
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            yield Sample(f"line {number}", line.strip())


def _tailed(
    session: Session, topic: str, count: int, timeout_s: float, *, from_beginning: bool
) -> Iterator[Sample]:
    servers = kafka.bootstrap(session.settings)
    following = kafka.Tail(servers, [topic], from_beginning=from_beginning)
    seen = 0
    try:
        for record in itertools.islice(following.records(timeout_s=timeout_s), count):
            seen += 1
            place = f"{record.topic}[{record.partition}] at {record.offset}"
            yield Sample(place, record.value)
    finally:
        following.close()
    if seen < count:
        session.output.note(f"{seen} of {count} records came within {timeout_s:g} s")


async def _registered(clients: Clients) -> Registered:
    event_types = {}
    producers = []
    for kind, resource_kind in (
        (Kind.EVENT_TYPE, ResourceKind.EVENT_TYPE),
        (Kind.PRODUCER, ResourceKind.PRODUCER),
    ):
        for resource in await clients.registry.resources(kind):
            loaded = kinds.load(resource_kind, resource.content)
            if isinstance(loaded, EventType):
                event_types[loaded.metadata.id] = loaded
            elif isinstance(loaded, Producer):
                producers.append(loaded)
    return Registered(event_types=event_types, producers=producers)
