"""A seeded workload: events, some of them sent twice, and malformed records.

The oracle stands beside each record: what must come of it, computed here and not by Backbone.
"""

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime

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


@dataclass(frozen=True)
class Planned:
    """A record to send, and what must come of it."""

    key: bytes | None
    value: bytes | None
    event_id: str | None
    expect_tasks: tuple[str, ...] = ()
    expect_reason: str | None = None
    duplicate: bool = False


def plan(
    seed: int, source: str, *, events: int = EVENTS, duplicates: int = DUPLICATES
) -> list[Planned]:
    """Return the records of one scenario in the order of sending; `source` makes them its own."""
    chance = random.Random(seed)
    originals = [_event(chance, source, number) for number in range(events)]
    records: list[Planned] = list(originals)
    for original in chance.sample(originals, duplicates):
        at = chance.randrange(records.index(original) + 1, len(records) + 1)
        records.insert(at, Planned(**{**original.__dict__, "duplicate": True}))
    for value, reason in MALFORMED_RECORDS:
        records.insert(
            chance.randrange(len(records) + 1),
            Planned(key=None, value=value, event_id=None, expect_reason=reason),
        )
    return records


def _event(chance: random.Random, source: str, number: int) -> Planned:
    lines = [f"line-{n}" for n in range(chance.choice([0, 1, 1, 2, 3]))]
    amount = chance.choice([5, 500, 5000])
    event_id = f"order-{number}"
    document = {
        "event_id": event_id,
        "type": "e2e.order.placed",
        "source": source,
        "occurred_at": datetime.now(UTC).isoformat(),
        "subject": f"order/{number}",
        "payload": {"amount": amount, "currency": "EUR", "lines": lines},
    }
    tasks = [f"pack/{line}" for line in lines] + (["approve/"] if amount > 1000 else [])
    return Planned(
        key=event_id.encode(),
        value=json.dumps(document).encode(),
        event_id=event_id,
        expect_tasks=tuple(tasks),
    )
