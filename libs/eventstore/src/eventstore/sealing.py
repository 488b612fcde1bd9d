"""Seals events: writes chained checkpoints over ranges of positions that nobody can write to.

A position is taken before its transaction commits, so that a range is sealed only once every
transaction that may have taken one of its positions has ended. That is known from the locks on the
table: a writer has its lock before it takes a position, and keeps it until its commit is visible.
"""

import asyncio
from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta

import asyncpg

from contracts.telemetry import Metric
from eventstore import checkpoints
from eventstore.checkpoints import Checkpoint
from runtime import logs, sqlfiles, telemetry
from runtime.errors import DatabaseUnavailableError
from runtime.faultpoints import faultpoint
from runtime.lifecycle import Background
from runtime.postgres import Postgres, Transaction
from runtime.signingkeys import SigningKeys
from signing.checkpoints import signed_content

MOST_EVENTS = 1_000
"""A checkpoint covers so many events at the most."""

_PAGE = 100  # events that are read at once: the largest are 256 KiB each
_WARN_AFTER_S = 300.0
_SQL = sqlfiles.load("eventstore", "audit")
_log = logs.get_logger(__name__)


class CheckpointSigner:
    """Signs the checkpoints of `service`, or leaves them unsigned where there is no key."""

    def __init__(self, service: str, keys: SigningKeys) -> None:
        self._service = service
        self._keys = keys

    def sign(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return a checkpoint with its signature."""
        key = self._keys.checkpoints
        if key is None:
            return checkpoint
        content = signed_content(self._service, checkpoint.hash)
        return replace(checkpoint, signature=key.sign(content), signing_key_id=key.key_id)


class Horizon:
    """Up to which position nothing is written any more.

    It looks at who writes, and looks again the next time whether they have ended: whoever has
    begun since takes positions beyond. Nobody is waited for, and nobody waits.
    """

    def __init__(self) -> None:
        self._settled = 0
        self._taken = 0
        self._writers: frozenset[str] = frozenset()

    @property
    def waits(self) -> bool:
        """Whether somebody was still writing when it was last looked."""
        return bool(self._writers)

    async def advance(self, transaction: Transaction) -> int:
        """Return the position up to which everything that will ever be there is visible.

        To the next statement of this transaction, and to every later one, at READ COMMITTED.
        """
        if self._writers and self._writers & await self._writing(transaction):
            return self._settled
        # In this order: who has taken a position up to this one has the lock by now. Nothing is
        # kept of a look that failed half way.
        taken = int(await transaction.fetchval(_SQL["assigned"]))
        writers = await self._writing(transaction)
        self._settled = self._taken if writers else taken
        self._taken, self._writers = taken, writers
        return self._settled

    async def _writing(self, transaction: Transaction) -> frozenset[str]:
        rows = await transaction.fetch(_SQL["writers"])
        return frozenset(row["virtualtransaction"] for row in rows)


class Sealer(Background):
    """A component of a process; every replica has one, and one at a time seals."""

    name = "sealer"

    def __init__(
        self,
        database: Postgres,
        *,
        interval: timedelta = timedelta(seconds=5),
        most: int = MOST_EVENTS,
        signer: CheckpointSigner | None = None,
    ) -> None:
        """Look every `interval`."""
        self._signer = signer
        self._database = database
        self._interval = interval.total_seconds()
        self._most = most
        self._horizon = Horizon()
        self._settled = 0
        self._moved_at = 0.0
        self._sealed = telemetry.meter(__name__).create_counter(
            Metric.AUDIT_SEALED, description="Events that a checkpoint covers."
        )

    async def _run(self) -> None:
        while True:
            try:
                await self._seal_up_to(await self._settle())
            except (DatabaseUnavailableError, asyncpg.PostgresError) as exc:
                # The evidence waits; the service does not.
                _log.warning("events_not_sealed", reason=str(exc))
            await asyncio.sleep(self._interval)

    async def _settle(self) -> int:
        async with self._database.across() as transaction:
            settled = await self._horizon.advance(transaction)
        now = asyncio.get_running_loop().time()
        if settled > self._settled or not self._moved_at:
            self._settled, self._moved_at = settled, now
        elif self._horizon.waits and now - self._moved_at > _WARN_AFTER_S:
            _log.warning("sealer_waits_for_an_open_transaction", settled=settled)
            self._moved_at = now
        return settled

    async def _seal_up_to(self, settled: int) -> None:
        async def work(transaction: Transaction) -> int | None:
            sealed = await seal(transaction, up_to=settled, most=self._most, signer=self._signer)
            faultpoint("eventstore.before_seal")
            return sealed

        # One range a transaction, so that whoever drops a month never waits for long.
        while True:
            sealed = await self._database.retrying_across(work)
            faultpoint("eventstore.after_seal")
            if not sealed:
                return
            self._sealed.add(sealed)


async def seal(
    transaction: Transaction,
    *,
    up_to: int,
    most: int = MOST_EVENTS,
    signer: CheckpointSigner | None = None,
) -> int | None:
    """Write the checkpoints of the next range, at most `most` events up to the position `up_to`.

    Which has to be settled. Returns how many events they cover; 0 when there are none, None while
    somebody else seals.
    """
    if not await transaction.fetchval(_SQL["try_hold_chain"]):
        return None
    first = int(await transaction.fetchval(_SQL["sealed_to"])) + 1
    last, count = first - 1, 0
    leaves: dict[date, list[bytes]] = defaultdict(list)
    while count < most:
        rows = await transaction.fetch(_SQL["events"], last, up_to, min(_PAGE, most - count))
        if not rows:
            break
        for row in rows:
            leaves[checkpoints.month_of(row["recorded_at"])].append(checkpoints.leaf(row))
        last = rows[-1]["position"]
        count += len(rows)
    if count:
        made = checkpoints.seal(
            await newest(transaction),
            first_position=first,
            last_position=last,
            leaves=leaves,
            at=await transaction.fetchval(_SQL["now"]),
        )
        for checkpoint in made:
            await _insert(transaction, checkpoint, b"".join(leaves[checkpoint.month]), signer)
    return count


async def hold_chain(transaction: Transaction) -> None:
    """Have nobody else add to the chain until the transaction ends.

    Comes before any lock on events, so that two cannot wait for each other.
    """
    await transaction.execute(_SQL["hold_chain"])


async def record_dropped(
    transaction: Transaction, month: date, signer: CheckpointSigner | None = None
) -> None:
    """Write the checkpoint that says that the events of a month may be gone, unless there is one.

    Needs `hold_chain`. A month without sealed events was empty, and needs none.
    """
    events = int(await transaction.fetchval(_SQL["sealed_in_month"], month))
    if not events or await transaction.fetchval(_SQL["is_dropped"], month):
        return
    last = await newest(transaction)
    if last is None:
        raise AssertionError("a month is sealed, and there is no checkpoint")
    at = await transaction.fetchval(_SQL["now"])
    made = checkpoints.drop(last, month=month, events=events, at=at)
    await _insert(transaction, made, b"", signer)


async def newest(transaction: Transaction) -> Checkpoint | None:
    """Return the last checkpoint of the chain, None while there is none."""
    row = await transaction.fetchrow(_SQL["newest"])
    return None if row is None else Checkpoint.of(row)


async def checkpoint(transaction: Transaction, number: int) -> Checkpoint | None:
    """Return a checkpoint by its number, None when there is none."""
    row = await transaction.fetchrow(_SQL["checkpoint"], number)
    return None if row is None else Checkpoint.of(row)


async def dropped(transaction: Transaction) -> frozenset[date]:
    """Return the first days of the months whose events may be gone, by retention."""
    return frozenset(row["month"] for row in await transaction.fetch(_SQL["dropped"]))


async def _insert(
    transaction: Transaction,
    checkpoint: Checkpoint,
    leaves: bytes,
    signer: CheckpointSigner | None,
) -> None:
    if signer is not None:
        checkpoint = signer.sign(checkpoint)
    await transaction.execute(
        _SQL["insert"],
        checkpoint.number,
        checkpoint.kind.value,
        checkpoint.first_position,
        checkpoint.last_position,
        checkpoint.month,
        checkpoint.events,
        leaves,
        checkpoint.digest,
        checkpoint.sealed_at,
        checkpoint.previous_hash,
        checkpoint.hash,
        checkpoint.signature,
        checkpoint.signing_key_id,
    )
