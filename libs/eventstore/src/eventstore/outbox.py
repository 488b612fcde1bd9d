"""What operators do with an outbox: republish, look at what is parked, retry it or give it up.

Every request has an id, an actor and a reason, and is recorded with what it changes in one
transaction: the same id again is the same request.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from contracts import identifiers
from eventstore.errors import NotParkedError, RequestIdReusedError
from runtime import sqlfiles
from runtime.postgres import Transaction

BATCH = 10_000
"""How many positions one transaction of a republication looks at."""

MOST_COPIES = 50_000
"""No more copies are made while so many are not published: new events would come after them."""

MOST_COUNTED = 100_000
"""Pending rows are counted up to here."""

_SQL = sqlfiles.load("eventstore", "outbox")
_PUT_BACK = {
    name: f"WITH event AS (\n{_SQL[name]}\n), {_SQL['put_back']}"
    for name in ("events_in_range", "events_of_stream")
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what names it, who asked, and why."""

    request_id: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Events recorded in [`recorded_from`, `recorded_to`): of one stream, of some types, or all."""

    recorded_from: datetime
    recorded_to: datetime
    stream: str | None = None
    types: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as JSON, to tell two requests apart."""
        return {
            "recorded_from": identifiers.instant(self.recorded_from),
            "recorded_to": identifiers.instant(self.recorded_to),
            "stream": self.stream,
            "types": sorted(set(self.types)),
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of the events looked at so far; `complete` when nothing is left to look at.

    `republished` were published before and are pending once more; those that are `pending` for the
    first time, `parked` or `discarded` are left alone.
    """

    recorded_to: datetime
    covered: int
    last: int
    republished: int = 0
    pending: int = 0
    parked: int = 0
    discarded: int = 0
    throttled: bool = False
    """Nothing was done for now, since too many copies are not published yet."""

    @property
    def complete(self) -> bool:
        """Whether every event of the selection was looked at."""
        return self.covered >= self.last


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that the broker refused for good; `size` is that of its body in bytes."""

    position: int
    recorded_at: datetime
    stream: str
    version: int
    republish_id: str | None
    parked_at: datetime
    reason: str
    waits: bool
    event_id: str
    type: str
    topic: str
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How full an outbox is for one namespace.

    `pending`, the `copies` among them and `oldest_queued_at` are those of the first 100,000 rows of
    the whole outbox: `counted_all` says whether there are more. `waiting` streams stand behind one
    of their `parked` events.
    """

    pending: int
    copies: int
    oldest_queued_at: datetime | None
    counted_all: bool
    parked: int
    waiting: int
    discarded: int


async def plan(
    transaction: Transaction,
    selection: Selection,
    *,
    after: Progress | None = None,
    limit: int = BATCH,
) -> Progress:
    """Count what a republication would do, `limit` positions further than `after`."""
    if after is None:
        after = await _bounds(transaction, selection)
    return await _look(transaction, selection, after, republish_id=None, limit=limit)


async def republish(
    transaction: Transaction,
    selection: Selection,
    *,
    asked: Asked,
    limit: int = BATCH,
    most_copies: int = MOST_COPIES,
) -> Progress:
    """Put the next published events of a selection back into the outbox, marked with the request.

    Looks at `limit` positions, so that no transaction is long, from where the request's last
    transaction ended. What is recorded after the first one is not part of it. While `most_copies`
    of whatever request wait in the outbox, it makes none.

    Raises:
        RequestIdReusedError: the id names another request.
    """
    await transaction.execute(_SQL["hold_retention"])
    key = (transaction.namespace, asked.request_id)
    if await _begin(transaction, "republish", selection.document(), asked):
        progress = await _bounds(transaction, selection)
        await transaction.execute(
            _SQL["begin_republication"],
            *key,
            progress.recorded_to,
            progress.covered,
            progress.last,
        )
    else:
        row = await transaction.fetchrow(_SQL["republication"], *key)
        progress = Progress(**dict(row or {}))
        if progress.complete:
            return progress
    if await transaction.fetchval(_SQL["copies_waiting"], most_copies) >= most_copies:
        return replace(progress, throttled=True)
    republished_before = progress.republished
    progress = await _look(
        transaction, selection, progress, republish_id=asked.request_id, limit=limit
    )
    if progress.republished > republished_before:
        await transaction.execute(_SQL["read_again"])
    await transaction.execute(
        _SQL["advance_republication"],
        *key,
        progress.covered,
        progress.republished,
        progress.pending,
        progress.parked,
        progress.discarded,
    )
    if progress.complete:
        await transaction.execute(_SQL["complete_request"], *key)
    return progress


async def parked(
    transaction: Transaction, *, after: int = 0, limit: int = 100
) -> Sequence[ParkedEvent]:
    """Return at most `limit` parked events whose position is greater than `after`, in order."""
    rows = await transaction.fetch(_SQL["parked"], transaction.namespace, after, limit)
    return [ParkedEvent(**{**row, "event_id": str(row["event_id"])}) for row in rows]


async def retry(transaction: Transaction, position: int, *, asked: Asked) -> bool:
    """Put a parked event back into the outbox; return False when this request did so before.

    Raises:
        NotParkedError: there is no parked event at this position.
        RequestIdReusedError: the id names another request.
    """
    return await _settle(transaction, "retry", position, asked)


async def discard(transaction: Transaction, position: int, *, asked: Asked) -> bool:
    """Give a parked event up: its stream goes on without it. Returns and raises as `retry`.

    The event stays in its stream; `outbox_discarded` says that it was never published, and the
    request who decided so and why.
    """
    return await _settle(transaction, "discard", position, asked)


async def state(transaction: Transaction) -> OutboxState:
    """Return how full the outbox is for the transaction's namespace."""
    row = await transaction.fetchrow(_SQL["state"], transaction.namespace, MOST_COUNTED)
    if row is None:
        raise AssertionError("an aggregate is always a row")
    return OutboxState(
        pending=row["pending"],
        copies=row["copies"],
        oldest_queued_at=row["oldest_queued_at"],
        counted_all=row["looked_at"] < MOST_COUNTED,
        parked=row["parked"],
        waiting=row["waiting"],
        discarded=row["discarded"],
    )


async def _bounds(transaction: Transaction, selection: Selection) -> Progress:
    row = await transaction.fetchrow(_SQL["bounds"], selection.recorded_from, selection.recorded_to)
    return Progress(**dict(row or {}))


async def _look(
    transaction: Transaction,
    selection: Selection,
    before: Progress,
    *,
    republish_id: str | None,
    limit: int,
) -> Progress:
    of_stream = selection.stream is not None
    row = await transaction.fetchrow(
        _PUT_BACK["events_of_stream" if of_stream else "events_in_range"],
        transaction.namespace,
        before.covered,
        before.last,
        limit,
        selection.recorded_from,
        before.recorded_to,
        list(selection.types),
        republish_id,
        *([selection.stream] if of_stream else []),
    )
    if row is None:
        raise AssertionError("an aggregate is always a row")
    if not of_stream:
        covered = min(before.covered + limit, before.last)
    else:
        covered = row["last"] if row["found"] == limit else before.last
    # What another republication put back between the look and the row is not ours.
    put = row["published"] if republish_id is None else row["put"]
    return replace(
        before,
        covered=max(covered, before.covered),
        republished=before.republished + put,
        pending=before.pending + row["pending"] + row["published"] - put,
        parked=before.parked + row["parked"],
        discarded=before.discarded + row["discarded"],
    )


async def _settle(transaction: Transaction, kind: str, position: int, asked: Asked) -> bool:
    if not await _begin(transaction, kind, {"position": position}, asked):
        return False
    arguments = (transaction.namespace, position)
    if kind == "discard":
        settled = await transaction.fetchval(_SQL["discard"], *arguments, asked.request_id)
    else:
        settled = await transaction.fetchval(_SQL["retry"], *arguments)
    if settled is None:
        raise NotParkedError(position)
    await transaction.execute(_SQL["complete_request"], transaction.namespace, asked.request_id)
    await transaction.execute(_SQL["read_again"])
    return True


async def _begin(
    transaction: Transaction, kind: str, arguments: dict[str, Any], asked: Asked
) -> bool:
    """Record a request; return False when it is known already."""
    document = json.dumps(arguments)
    key = (transaction.namespace, asked.request_id, kind, document)
    if await transaction.fetchval(_SQL["begin_request"], *key, asked.actor, asked.reason):
        return True
    row = await transaction.fetchrow(_SQL["lock_request"], *key)
    if row is None or not row["same"]:
        raise RequestIdReusedError(asked.request_id)
    return False
