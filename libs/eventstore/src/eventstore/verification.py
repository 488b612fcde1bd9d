"""Verifies the event store against its checkpoints, step by step, each in bounded memory.

First every checkpoint with the events it covers, then the events after the last one, then the heads
of all streams. What a step finds are facts about rows: it changes nothing. Everything is computed
here, from plain rows: no function of the database is believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

from eventstore import checkpoints, sealing
from eventstore.checkpoints import LEAF_BYTES, Checkpoint, Kind, Row
from eventstore.events import GENESIS, link
from runtime import sqlfiles
from runtime.postgres import Postgres, Transaction

_PAGE = 100  # events that are read at once: the largest are 256 KiB each
_STREAMS = 500  # heads that are read at once
_TOLD = 10  # events of one range that are told one by one
_SQL = sqlfiles.load("eventstore", "audit")


class FindingKind(StrEnum):
    """What is wrong."""

    EVENT_ALTERED = "event_altered"
    EVENTS_MISSING = "events_missing"
    CHAIN_BROKEN = "chain_broken"
    STREAM_CUT = "stream_cut"
    HEAD_WRONG = "head_wrong"
    CHECKPOINT_ALTERED = "checkpoint_altered"
    CHECKPOINT_MISSING = "checkpoint_missing"


class Phase(StrEnum):
    """What a step looks at."""

    SEALED = "sealed"
    UNSEALED = "unsealed"
    HEADS = "heads"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written, in a sentence, with the ids that are known."""

    kind: FindingKind
    detail: str
    checkpoint: int = 0
    position: int = 0
    namespace: str = ""
    stream: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next step begins."""

    phase: Phase = Phase.SEALED
    checkpoint: int = 0
    """The last one that was looked at."""
    position: int = 0
    up_to: int = 0
    """The last position that was taken when the events after the checkpoints were come to."""
    namespace: str = ""
    stream: str = ""


@dataclass(slots=True)
class Step:
    """What a step looked at and found; without `cursor` it was the last one."""

    cursor: Cursor | None
    findings: list[Finding] = field(default_factory=list)
    checkpoints: int = 0
    events: int = 0
    unsealed: int = 0
    streams: int = 0
    dropped: list[Checkpoint] = field(default_factory=list)


class Verifier:
    """Verifies the event store in `database`, of all its namespaces."""

    def __init__(self, database: Postgres) -> None:
        self._database = database

    async def step(self, cursor: Cursor) -> Step:
        """Look at the next checkpoint range, or the next page of events or streams."""
        async with self._database.across() as transaction:
            match cursor.phase:
                case Phase.SEALED:
                    return await _next_checkpoints(transaction, cursor)
                case Phase.UNSEALED:
                    return await _unsealed(transaction, cursor)
                case Phase.HEADS:
                    return await _heads(transaction, cursor)


async def _next_checkpoints(transaction: Transaction, cursor: Cursor) -> Step:
    row = await transaction.fetchrow(_SQL["next"], cursor.checkpoint)
    sealed_to = await transaction.fetchval(_SQL["sealed_by"], cursor.checkpoint) or 0
    if row is None:
        up_to = int(await transaction.fetchval(_SQL["assigned"]))
        return Step(Cursor(Phase.UNSEALED, position=sealed_to, up_to=up_to))
    first = Checkpoint.of(row)
    before = await transaction.fetchrow(_SQL["checkpoint"], cursor.checkpoint)
    previous = None if before is None else Checkpoint.of(before)
    step = Step(Cursor(checkpoint=first.number))
    if first.number != cursor.checkpoint + 1:
        missing = f"{cursor.checkpoint + 1} to {first.number - 1}"
        step.findings.append(
            Finding(
                FindingKind.CHECKPOINT_MISSING,
                f"the checkpoints {missing} are gone",
                checkpoint=cursor.checkpoint + 1,
            )
        )
        previous = None
    elif first.kind is Kind.SEALED and first.first_position != sealed_to + 1:
        step.findings.append(_altered(first, "it does not begin where the one before it ends"))
    if first.kind is Kind.DROPPED:
        step.checkpoints = 1
        step.dropped.append(first)
        step.findings += _chained(first, previous)
        return step
    rows = await transaction.fetch(
        _SQL["of_range"], first.number, first.first_position, first.last_position
    )
    for row in rows:
        checkpoint = Checkpoint.of(row)
        step.findings += _chained(checkpoint, previous)
        if checkpoints.digest(row["leaves"]) != checkpoint.digest:
            step.findings.append(_altered(checkpoint, "its leaves are not those of its digest"))
        previous = checkpoint
    step.checkpoints = len(rows)
    step.cursor = Cursor(checkpoint=rows[-1]["number"])
    await _sealed_events(transaction, first, rows, step)
    return step


def _chained(checkpoint: Checkpoint, previous: Checkpoint | None) -> list[Finding]:
    """Hold a checkpoint to its own hash, and to the one before it unless that is gone."""
    found = []
    if checkpoint.hashed().hash != checkpoint.hash:
        found.append(_altered(checkpoint, "its content is not that of its hash"))
    if checkpoint.number == 1:
        follows = checkpoint.previous_hash == GENESIS
    else:
        follows = previous is None or checkpoint.previous_hash == previous.hash
    if not follows:
        found.append(_altered(checkpoint, "it does not follow from the one before it"))
    return found


async def _sealed_events(
    transaction: Transaction, first: Checkpoint, rows: Sequence[Row], step: Step
) -> None:
    """Hold the events of a range to the leaves of its checkpoints."""
    sealed = {row["month"]: _leaves(row["leaves"]) for row in rows}
    missing = {month: set(leaves) for month, leaves in sealed.items()}
    altered: list[Row] = []
    position = first.first_position - 1
    while page := await transaction.fetch(_SQL["events"], position, first.last_position, _PAGE):
        for event in page:
            leaf = checkpoints.leaf(event)
            month = checkpoints.month_of(event["recorded_at"])
            if leaf in missing.get(month, ()):
                missing[month].remove(leaf)
            else:
                altered.append(event)
        await _check_streams(transaction, page, step)
        position = page[-1]["position"]
        step.events += len(page)
    told = [
        Finding(
            FindingKind.EVENT_ALTERED,
            "it is not as it was sealed, or was not there then",
            checkpoint=first.number,
            **_place(event),
        )
        for event in altered[:_TOLD]
    ]
    if len(altered) > _TOLD:
        detail = f"{len(altered) - _TOLD} more events of this range are not as they were sealed"
        told.append(
            Finding(
                FindingKind.EVENT_ALTERED,
                detail,
                checkpoint=first.number,
                position=altered[_TOLD]["position"],
            )
        )
    # After the events: what was dropped meanwhile has said so.
    dropped = await sealing.dropped(transaction)
    lost = sum(len(leaves) for month, leaves in missing.items() if month not in dropped)
    # An event that was altered is one that is not there as it was.
    lost -= min(lost, len(altered))
    if lost:
        positions = f"{first.first_position} to {first.last_position}"
        told.append(
            Finding(
                FindingKind.EVENTS_MISSING,
                f"{lost} of the events that were sealed at the positions {positions} are gone",
                checkpoint=first.number,
                position=first.first_position,
            )
        )
    step.findings += told


async def _unsealed(transaction: Transaction, cursor: Cursor) -> Step:
    """Look at events after the last checkpoint: their streams' chains are all that is known."""
    page = await transaction.fetch(_SQL["events"], cursor.position, cursor.up_to, _PAGE)
    if not page:
        return Step(Cursor(Phase.HEADS))
    step = Step(
        Cursor(Phase.UNSEALED, position=page[-1]["position"], up_to=cursor.up_to),
        events=len(page),
        unsealed=len(page),
    )
    await _check_streams(transaction, page, step)
    return step


async def _check_streams(transaction: Transaction, page: Sequence[Row], step: Step) -> None:
    """Hold each event to its own hash, to the event before it, and to the head of its stream."""
    known = {(row["namespace"], row["stream"], row["version"]): row["hash"] for row in page}
    elsewhere = []
    streams: dict[tuple[str, str], Row] = {}
    for event in page:
        namespace, stream, version = event["namespace"], event["stream"], event["version"]
        streams[namespace, stream] = event
        if link(event["previous_hash"], event["body"]) != event["hash"]:
            step.findings.append(_broken(event, "its bytes are not those of its hash"))
        if version == 1:
            if event["previous_hash"] != GENESIS:
                step.findings.append(_broken(event, "it does not begin its stream"))
        elif known.get((namespace, stream, version - 1)) != event["previous_hash"]:
            elsewhere.append(event)
    await _check_predecessors(transaction, elsewhere, step)
    keys = list(streams)
    heads = await transaction.fetch(
        _SQL["heads_of"], [key[0] for key in keys], [key[1] for key in keys]
    )
    for event, head in zip(streams.values(), heads, strict=True):
        if head["version"] is None:
            step.findings.append(_head_wrong(event, "its stream has no head"))
        elif head["version"] < event["version"] or (
            head["version"] == event["version"] and head["hash"] != event["hash"]
        ):
            step.findings.append(_head_wrong(event, "the head of its stream says something else"))


async def _check_predecessors(transaction: Transaction, events: Sequence[Row], step: Step) -> None:
    if not events:
        return
    rows = await transaction.fetch(
        _SQL["follows"],
        *([event[name] for event in events] for name in ("namespace", "stream", "version")),
        [event["previous_hash"] for event in events],
    )
    dropped = await sealing.dropped(transaction)
    for event, row in zip(events, rows, strict=True):
        if row["follows"] is False:
            step.findings.append(_broken(event, "it does not follow from the event before it"))
        elif row["follows"] is None:
            # Where its month was dropped, the checkpoint knows whether it was there.
            month = checkpoints.month_of(event["recorded_at"])
            if not any(one <= month for one in dropped):
                step.findings.append(_broken(event, "the event before it is gone"))


async def _heads(transaction: Transaction, cursor: Cursor) -> Step:
    """Hold the heads of streams to their last events: the end of a stream may have been cut off."""
    heads = await transaction.fetch(_SQL["heads"], cursor.namespace, cursor.stream, _STREAMS)
    if not heads:
        return Step(None)
    last = heads[-1]
    step = Step(
        Cursor(Phase.HEADS, namespace=last["namespace"], stream=last["stream"]), streams=len(heads)
    )
    dropped = await sealing.dropped(transaction)
    for head in heads:
        kind, detail = _head_finding(head, dropped)
        if kind is not None:
            place = {name: head[name] for name in ("namespace", "stream", "version")}
            step.findings.append(Finding(kind, detail, **place))
    return step


def _head_finding(head: Row, dropped: frozenset[date]) -> tuple[FindingKind | None, str]:
    version, last = head["version"], head["last_version"]
    if last is None:
        if dropped:
            return None, ""
        return FindingKind.STREAM_CUT, f"all of its {version} events are gone"
    if last < version:
        # Retention drops what is older than what is left.
        month = checkpoints.month_of(head["recorded_at"])
        if any(one >= month for one in dropped):
            return None, ""
        return FindingKind.STREAM_CUT, f"its events after version {last} are gone"
    if (last, head["last_hash"]) != (version, head["hash"]):
        return FindingKind.HEAD_WRONG, "its head is not that of its last event"
    return None, ""


def _leaves(leaves: bytes) -> list[bytes]:
    return [leaves[at : at + LEAF_BYTES] for at in range(0, len(leaves), LEAF_BYTES)]


def _altered(checkpoint: Checkpoint, detail: str) -> Finding:
    return Finding(FindingKind.CHECKPOINT_ALTERED, detail, checkpoint=checkpoint.number)


def _broken(event: Row, detail: str) -> Finding:
    return Finding(FindingKind.CHAIN_BROKEN, detail, **_place(event))


def _head_wrong(event: Row, detail: str) -> Finding:
    return Finding(FindingKind.HEAD_WRONG, detail, **_place(event))


def _place(event: Row) -> dict[str, Any]:
    return {name: event[name] for name in ("position", "namespace", "stream", "version")}
