"""A seeded workload: events, some of them sent twice, visits, and malformed records.

The oracle stands beside each record: what must come of it, computed here and not by Backbone.
"""

import json
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from history import Visit

EVENTS = 150
DUPLICATES = 50

MALFORMED_RECORDS: tuple[tuple[bytes | None, str], ...] = (
    (None, "empty"),
    (b"", "empty"),
    (b"{not json", "malformed_json"),
    (b"\xff\xfe\x00", "not_utf8"),
    (b'{"event_id": "x", "event_id": "y"}', "duplicate_key"),
    (b'{"event_id": "x", "payload": NaN}', "invalid_number"),
    (b'{"event_id": "x"}', "invalid_envelope"),
    (
        b'{"event_id": "n", "type": "t", "source": "s", "occurred_at": "2026-01-01T00:00:00", '
        b'"payload": {}}',
        "naive_time",
    ),
    (b"[" * 5000, "too_deep"),
    (b'"' + b"x" * (256 * 1024) + b'"', "oversize"),
)
MALFORMED = len(MALFORMED_RECORDS)
EARLY_VERSION = 2
"""The schema version of early events."""
BESIDE = 10
"""Of so many events there is one more whose condition is false, and one that nobody wants."""


@dataclass(frozen=True)
class Planned:
    """A record to send, and what must come of it."""

    key: bytes | None
    value: bytes | None
    event_id: str | None
    expect_tasks: tuple[str, ...] = ()
    expect_reason: str | None = None
    expect_decision: str = "started"
    duplicate: bool = False
    early: bool = False
    visit: Visit | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def starts(self) -> bool:
        """Whether it is an event that starts a run."""
        return self.expect_reason is None and self.expect_decision == "started"


def plan(
    seed: int,
    source: str,
    *,
    events: int = EVENTS,
    duplicates: int = DUPLICATES,
    cloudevents: bool = False,
    early: int = 0,
) -> list[Planned]:
    """Return the records of one scenario in the order of sending; `source` makes them its own.

    With `cloudevents` a third of the events are written as CloudEvents, in structured mode. `early`
    events, every third of them twice, are among the first third of the records.
    """
    chance = random.Random(seed)
    originals = [_event(chance, source, number) for number in range(events)]
    if cloudevents:
        originals = [_cloudevent(p) if n % 3 == 0 else p for n, p in enumerate(originals)]
    records: list[Planned] = list(originals)
    for number in range(beside(events)):
        for planned in (_filtered(source, number), _unwanted(source, number)):
            records.insert(chance.randrange(len(records) + 1), planned)
    for original in chance.sample(originals, duplicates):
        at = chance.randrange(records.index(original) + 1, len(records) + 1)
        records.insert(at, replace(original, duplicate=True))
    for value, reason in MALFORMED_RECORDS:
        records.insert(
            chance.randrange(len(records) + 1),
            Planned(key=None, value=value, event_id=None, expect_reason=reason),
        )
    for number in range(early):
        at = chance.randrange(len(records) // 3)
        records.insert(at, planned := early_event(source, number))
        if number % 3 == 0:
            at = chance.randrange(at + 1, len(records) // 3 + 2)
            records.insert(at, replace(planned, duplicate=True))
    return records


def with_visits(
    records: list[Planned], seed: int, source: str, *, visitors: int, each: int
) -> list[Planned]:
    """Return the records with visits among them, a third of which are told twice.

    Those of one visitor have one key, keep their order, and come several at a time, the last visit
    at the end. Visitors differ in how many visits they leave after.
    """
    chance = random.Random(f"visits {seed}")
    records = list(records)
    for stay in range(3, 3 + visitors):
        told = [_visit(source, stay, number) for number in range(1, each + 1)]
        for original in chance.sample(told[:-1], each // 3):
            at = chance.randrange(told.index(original) + 1, len(told))
            told.insert(at, replace(original, duplicate=True))
        crowds = chance.sample(range(len(records) + 1), each // 2)
        # Whenever a fault comes, somebody comes after it.
        places = [*sorted(chance.choices(crowds, k=len(told) - 1)), len(records)]
        for at, planned in reversed(list(zip(places, told, strict=True))):
            records.insert(at, planned)
    return records


def _visit(source: str, stay: int, number: int) -> Planned:
    visit = Visit(f"{source}-v{stay}", number, leaves=number % stay == 0)
    word = "goodbye" if visit.leaves else "hello"
    told = _order(
        source,
        f"visit-{stay}-{number}",
        "chaos.visit",
        visitor=visit.visitor,
        number=number,
        word=word,
    )
    return Planned(
        **{**told, "key": visit.visitor.encode()}, expect_decision="signalled", visit=visit
    )


def early_type(source: str) -> str:
    """Return the type of the early events of a scenario."""
    return f"chaos.early.{source}"


def early_event(source: str, number: int) -> Planned:
    """Return an event of a schema version that is not registered yet."""
    order = _order(source, f"early-{number}", early_type(source), number=number)
    document = json.loads(order["value"]) | {"schema_version": EARLY_VERSION}
    return Planned(
        **{**order, "value": json.dumps(document).encode()},
        expect_reason="unknown_schema_version",
        early=True,
    )


def beside(events: int) -> int:
    """Return how many events of each kind that starts nothing there are beside so many."""
    return events // BESIDE


def _event(chance: random.Random, source: str, number: int) -> Planned:
    lines = [f"line-{n}" for n in range(chance.choice([0, 1, 1, 2, 3]))]
    amount = chance.choice([5, 500, 5000])
    tasks = [f"pack/{line}" for line in lines] + (["approve/"] if amount > 1000 else [])
    return Planned(
        **_order(source, f"order-{number}", amount=amount, currency="EUR", lines=lines),
        expect_tasks=tuple(tasks),
    )


def _filtered(source: str, number: int) -> Planned:
    order = _order(source, f"abroad-{number}", amount=5, currency="USD", lines=[])
    return Planned(**order, expect_decision="filtered")


def _unwanted(source: str, number: int) -> Planned:
    order = _order(source, f"nothing-{number}", amount=0, currency="EUR", lines=[])
    return Planned(**order, expect_decision="unrouted")


def _order(
    source: str, event_id: str, event_type: str = "e2e.order.placed", **payload: Any
) -> dict[str, Any]:
    document = {
        "event_id": event_id,
        "type": event_type,
        "source": source,
        "occurred_at": datetime.now(UTC).isoformat(),
        "subject": f"order/{event_id}",
        "payload": payload,
    }
    return {
        "key": event_id.encode(),
        "value": json.dumps(document).encode(),
        "event_id": event_id,
    }


def _cloudevent(planned: Planned) -> Planned:
    """Return the same event in the JSON format of CloudEvents 1.0."""
    document = json.loads(planned.value or b"")
    value = {
        "specversion": "1.0",
        "id": document["event_id"],
        "source": document["source"],
        "type": document["type"],
        "time": document["occurred_at"],
        "subject": document["subject"],
        "datacontenttype": "application/json",
        "data": document["payload"],
    }
    return replace(
        planned,
        value=json.dumps(value).encode(),
        headers=(("content-type", b"application/cloudevents+json"),),
    )
