"""Events as the ledger appends them, 1,024 bytes each, one at a time or hundreds of thousands.

A sample is rendered as the product does it; PostgreSQL multiplies it, giving each copy identifiers
of its own.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import asyncpg

from contracts import identifiers, names
from contracts.events import TaskCompleted, TaskCreated
from contracts.identifiers import RunId
from eventstore import events, store
from eventstore.events import GENESIS, Cause, Fact, Rendered

BODY_BYTES = 1024
SAMPLE = 2_000
_VERSIONS = 4  # events of one run
_DEFINITION = "order-fulfilment"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_WORDS = (
    *("invoice", "order", "priority", "Hamburg", "express", "pallet", "customer", "net"),
    *("gross", "2026-11-23", "EUR", "warehouse", "reserved", "line", "return", "partial"),
)

_TABLE = """
CREATE SCHEMA IF NOT EXISTS bench;
CREATE TABLE bench.sample (
    number integer NOT NULL,
    version bigint NOT NULL,
    namespace text NOT NULL,
    stream text NOT NULL,
    mark text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    headers text NOT NULL,
    body text NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL
)
"""
# The events of 500 runs come mixed, those of one run in their order.
COPY = """
SELECT s.namespace, replace(s.stream, s.mark, own.mark) AS stream, s.version, own.event_id, s.type,
    s.topic, replace(s.key, s.mark, own.mark) AS key,
    replace(replace(s.headers, s.event_id, own.event_id::text), s.mark, own.mark) AS headers,
    convert_to(
        replace(replace(s.body, s.event_id, own.event_id::text), s.mark, own.mark), 'UTF8'
    ) AS body,
    s.previous_hash, s.hash
FROM bench.sample AS s
CROSS JOIN LATERAL (
    SELECT md5($1::text || s.event_id)::uuid AS event_id,
        substr(md5($1::text || s.mark), 1, 26) AS mark
) AS own
ORDER BY s.version, s.number
"""
"""The rows of one copy of the sample, whose number is $1."""


@dataclass(frozen=True)
class Run:
    """A run whose events are written: its id, and the part of that which is its own."""

    id: RunId
    mark: str

    @classmethod
    def numbered(cls, namespace: str, number: int) -> "Run":
        """Return run `number`."""
        key = identifiers.event_trigger_key("shop", f"{namespace}-{number}")
        return cls(identifiers.run_id(_DEFINITION, key), key.removeprefix("event:"))


def topic(namespace: str) -> str:
    """Return the topic of the events."""
    return names.topic(namespace, names.Topic.TASK_EVENTS)


def cause(number: int) -> Cause:
    """Return what led to the events of run `number`."""
    return Cause(f"checkout-{number:09}", f"cart-{number:09}", traceparent=TRACEPARENT)


def fact(namespace: str, run: Run, version: int) -> Fact:
    """Return what happened at `version` of the run's stream; its envelope is 1,024 bytes long."""
    return _fact(namespace, run, version, _filler(_filling(namespace, version)))


def render(namespace: str, number: int, version: int, previous_hash: bytes = GENESIS) -> Rendered:
    """Return the event at `version` of run `number`, as the event store renders it."""
    run = Run.numbered(namespace, number)
    return _render(fact(namespace, run, version), namespace, number, version, previous_hash)


def sample(namespace: str) -> Iterator[tuple[int, Rendered]]:
    """Yield the events of 500 runs, with the numbers of these."""
    for number in range(SAMPLE // _VERSIONS):
        previous = GENESIS
        for version in range(1, _VERSIONS + 1):
            rendered = render(namespace, number, version, previous)
            previous = rendered.hash
            yield number, rendered


async def load(dsn: str, namespace: str, insert: str, rows: int) -> None:
    """Run `insert`, which ends in a copy of the sample, until `rows` are there.

    Each copy is a transaction. Nothing of the load is left for later: neither statistics nor
    vacuum nor dirty pages.

    Raises:
        ValueError: `rows` is no multiple of the sample's.
    """
    if rows % SAMPLE:
        raise ValueError(f"the rows come in copies of {SAMPLE}")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_TABLE)
        await connection.copy_records_to_table(
            "sample",
            schema_name="bench",
            records=[_record(namespace, number, event) for number, event in sample(namespace)],
        )
        for copy in range(rows // SAMPLE):
            await connection.execute(insert, str(copy))
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _record(namespace: str, number: int, event: Rendered) -> tuple[object, ...]:
    run = Run.numbered(namespace, number)
    return (
        number,
        event.version,
        namespace,
        store.run_stream(run.id),
        run.mark,
        event.envelope.event_id,
        event.type.value,
        event.topic,
        event.key,
        json.dumps(event.headers),
        event.body.decode(),
        event.previous_hash,
        event.hash,
    )


def _fact(namespace: str, run: Run, version: int, filler: str) -> Fact:
    rule = f"rule-{version % 2}"
    shared = {
        "task_id": identifiers.task_id(namespace, run.id, rule, "1"),
        "run_id": run.id,
        "definition_id": _DEFINITION,
        "rule": rule,
        "key": "1",
        "type": "reserve-stock",
    }
    details = {"order": {"number": 4711, "currency": "EUR", "note": filler}}
    if version <= _VERSIONS // 2:
        created = TaskCreated.model_validate(
            shared
            | {
                "definition_version": 3,
                "input": details,
                "handler": "stock.reserve",
                "task_queue": "stock-tq",
            }
        )
        return Fact(created, key=run.id)
    return Fact(TaskCompleted.model_validate(shared | {"output": details}), key=run.id)


def _render(
    happened: Fact, namespace: str, number: int, version: int, previous_hash: bytes
) -> Rendered:
    run = Run.numbered(namespace, number)
    return events.render(
        happened,
        source=names.source("ledger"),
        namespace=namespace,
        stream=store.run_stream(run.id),
        version=version,
        previous_hash=previous_hash,
        occurred_at=datetime.now(UTC),
        cause=cause(number),
    )


@cache
def _filling(namespace: str, version: int) -> int:
    """Return how much text an event needs to be 1,024 bytes long."""
    bare = _fact(namespace, Run.numbered(namespace, 0), version, "")
    return BODY_BYTES - len(_render(bare, namespace, 0, version, GENESIS).body)


@cache
def _filler(length: int) -> str:
    chance = random.Random(length)  # noqa: S311 - what a text says does not matter
    text = " ".join(chance.choice(_WORDS) for _ in range(length))
    return text[:length]
