"""Judges what was published against the tables of events: I4 (its outer half), I5, I6, I7."""

from collections import defaultdict
from collections.abc import Iterable

import identity
from history import Observation, Record, Row

# Tells a copy that was asked for, and is no part of what the copies have in common.
REPUBLISHED = "backbone-republished"


def violations(seen: Observation) -> list[str]:
    """Return what is wrong with what was published."""
    return [
        *_rows_and_records(seen),
        *_copies(seen),
        *_identifiers(seen.rows_here()),
        *_deduplicated(seen),
        *_order(seen),
    ]


def duplicates(records: Iterable[Record]) -> int:
    """Return how many records are further copies of an event."""
    ids = [record.headers.get("backbone-event-id") for record in records]
    return len(ids) - len(set(ids))


def _rows_and_records(seen: Observation) -> list[str]:
    published = {(r.topic, r.headers.get("backbone-event-id")) for r in seen.events}
    known = {(row.topic, row.event_id) for row in seen.rows}
    wrong = [
        f"I4: version {row.version} of {row.stream} is not on {row.topic}"
        for row in seen.rows_here()
        if (row.topic, row.event_id) not in published
    ]
    return wrong + [
        f"I4: {topic} holds the event {event_id}, which no table holds"
        for topic, event_id in published - known
    ]


def _copies(seen: Observation) -> list[str]:
    rows = {row.event_id: row for row in seen.rows}
    wrong = []
    for record in seen.events:
        row = rows.get(record.headers.get("backbone-event-id", ""))
        if row is None:
            continue
        place = f"the copy of {row.stream} version {row.version} at offset {record.offset}"
        if record.value != row.body:
            wrong.append(f"I5: {place} has other bytes than the table")
        if record.key != row.key.encode():
            wrong.append(f"I5: {place} has another key")
        headers = {name: v for name, v in record.headers.items() if name != REPUBLISHED}
        if headers != row.headers:
            wrong.append(f"I5: {place} has other headers")
    return wrong


def _identifiers(rows: Iterable[Row]) -> list[str]:
    return [
        f"I5: version {row.version} of {row.stream} has the id {row.event_id}"
        for row in rows
        if row.event_id != identity.event(row.service, row.stream, row.version)
    ]


def _deduplicated(seen: Observation) -> list[str]:
    """What is left once a consumer drops every event id it has seen is each version once."""
    consumed: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in seen.events:
        place = (record.headers["backbone-stream"], record.headers["backbone-stream-version"])
        consumed[place].add(record.document()["event_id"])
    return [
        f"I6: a consumer that drops what it has seen gets version {version} of {stream} "
        f"{len(ids)} times"
        for (stream, version), ids in consumed.items()
        if len(ids) > 1
    ]


def _order(seen: Observation) -> list[str]:
    versions: dict[str, set[int]] = defaultdict(set)
    due: dict[tuple[str, str], list[int]] = defaultdict(list)
    earlier = set()
    for row in seen.rows:
        versions[row.stream].add(row.version)
        due[row.topic, row.stream].append(row.version)
        if row.earlier:
            earlier.add((row.stream, row.version))
    wrong = [
        f"I7: {stream} has the versions {sorted(found)}"
        for stream, found in versions.items()
        if found != set(range(1, len(found) + 1))
    ]
    came: dict[tuple[str, str], list[int]] = defaultdict(list)
    partitions: dict[tuple[str, str], set[int]] = defaultdict(set)
    for record in seen.events:
        stream = record.headers["backbone-stream"]
        version = int(record.headers["backbone-stream-version"])
        partitions[record.topic, stream].add(record.partition)
        already = came[record.topic, stream]
        if version not in already and (stream, version) not in earlier:
            already.append(version)
    for (topic, stream), found in came.items():
        expected = [v for v in sorted(due[topic, stream]) if (stream, v) not in earlier]
        if found != expected:
            wrong.append(f"I7: on {topic} the versions of {stream} came as {found}, not {expected}")
        if len(partitions[topic, stream]) > 1:
            wrong.append(f"I7: {stream} is on several partitions of {topic}")
    return wrong
