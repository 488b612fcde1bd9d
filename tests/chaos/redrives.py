"""Judges what came of early events, which are refused until they are redriven: I14.

Shares no code with Backbone. An early event is of a schema version that is registered later. What
is decided of it by then is a dead letter, which somebody redrives; what is decided later starts.
"""

from collections import Counter, defaultdict

import identity
from history import Intents, Observation, Record, digest

REASON = "unknown_schema_version"
TASKS = ("pack/",)

Place = tuple[int, int]


def expected_runs(intents: Intents, seen: Observation) -> dict[str, tuple[str, ...]]:
    """Return the tasks of the run of each early event that Kafka has."""
    if intents.early is None:
        return {}
    had = {digest(record.value) for record in seen.inputs}
    return {
        identity.event_run(intents.early, sent.source, sent.event_id or ""): TASKS
        for sent in intents.sent
        if sent.early and sent.digest in had
    }


def violations(intents: Intents, seen: Observation) -> list[str]:
    """Return where redriven dead letters are not resolved once, with one effect of their event."""
    if intents.early is None:
        return []
    early = {sent.digest: sent.event_id or "" for sent in intents.sent if sent.early}
    return [*_resolved_once(early, seen), *_one_effect(intents.early, early, seen)]


def _resolved_once(early: dict[str, str], seen: Observation) -> list[str]:
    resolved: dict[Place, list[str]] = defaultdict(list)
    for one in seen.resolutions:
        resolved[one.partition, one.offset].append(one.state)
    wrong = []
    for letter in seen.dead_letters:
        found = resolved.pop((letter.partition, letter.offset), [])
        if digest(letter.value) in early and found != ["redriven"]:
            wrong.append(f"I14: the dead letter of {_origin(letter)} is {found or 'open'}")
        if digest(letter.value) not in early and found:
            wrong.append(f"I14: the dead letter of {_origin(letter)} is {found}, by nobody's wish")
    return wrong + [
        f"I14: {place} is {found}, and no dead letter" for place, found in resolved.items()
    ]


def _one_effect(definition_id: str, early: dict[str, str], seen: Observation) -> list[str]:
    parked = {_origin(letter) for letter in seen.dead_letters}
    decisions = [one for one in seen.decisions if one.definition_id == definition_id]
    decided = {(one.partition, one.offset) for one in decisions}
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    for one in decisions:
        outcomes[one.event_id][one.outcome] += 1
    had = {
        (record.partition, record.offset): early[digest(record.value)]
        for record in seen.inputs
        if digest(record.value) in early
    }
    wrong = [
        f"I14: {(one.partition, one.offset)} was redriven, and is no dead letter"
        for one in decisions
        if one.cause and (one.partition, one.offset) not in parked
    ]
    wrong += [f"I14: of the early event at {place} the ledger says nothing"
              for place in had.keys() - decided]  # fmt: skip
    wrong += [
        f"I14: of the early event {event_id} the ledger says {dict(outcomes[event_id])}"
        for event_id in {*had.values()}
        if outcomes[event_id]["started"] != 1 or set(outcomes[event_id]) > {"started", "duplicate"}
    ]
    return wrong


def _origin(letter: Record) -> Place:
    headers = letter.headers
    return int(headers["backbone-origin-partition"]), int(headers["backbone-origin-offset"])
