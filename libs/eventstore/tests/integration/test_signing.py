"""Events and checkpoints are signed as they are written, each with a key of its own."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from contracts.producers import ProducerKey
from eventstore import sealing
from eventstore.sealing import CheckpointSigner
from eventstore.store import EventStore
from runtime.postgres import Postgres
from runtime.signingkeys import SigningKeys
from signing import signature as signatures
from signing import verification
from signing.checkpoints import CHECKPOINTS, signed_content
from signing.keys import Keyring, SigningKey
from signing.verification import ReplayWindow

AT_MS = 1_796_000_000_000
EVENTS = SigningKey.generate(signer="ledger", key_id="2026-11")
SEALS = SigningKey.generate(signer=CHECKPOINTS, key_id="2026-12")
RING = Keyring.of(
    {key.signer: [ProducerKey(id=key.key_id, public_key=key.public_key)] for key in (EVENTS, SEALS)}
)
STORE = EventStore(service="ledger", keys=SigningKeys(EVENTS, SEALS), clock=lambda: AT_MS)


async def rows(postgres: Postgres) -> list[Any]:
    async with postgres.transaction("dev") as transaction:
        return await transaction.fetch(
            "SELECT topic, key, headers::text, body, signature, signing_key_id FROM events "
            "ORDER BY position"
        )


async def test_each_event_is_signed_in_its_append_as_it_will_be_published(
    postgres: Postgres, appended: Callable[..., Awaitable[Any]]
) -> None:
    await appended(count=3, into=STORE)
    stored = await rows(postgres)
    assert len(stored) == 3
    for row in stored:
        signature = signatures.parse(row["signature"])
        assert (row["signing_key_id"], signature.issued_at_ms) == ("2026-11", AT_MS)
        verification.verify(
            signature,
            RING,
            topic=row["topic"],
            key=row["key"].encode(),
            headers=[(name, value.encode()) for name, value in json.loads(row["headers"])],
            value=row["body"],
            now_ms=AT_MS,
            window=ReplayWindow(),
        )


async def test_without_a_key_nothing_is_signed(
    postgres: Postgres, appended: Callable[..., Awaitable[Any]], sealed: Any
) -> None:
    await appended()
    [row] = await rows(postgres)
    assert (row["signature"], row["signing_key_id"]) == (None, None)
    await sealed()
    async with postgres.transaction("dev") as transaction:
        newest = await sealing.newest(transaction)
    assert newest is not None
    assert newest.signature is None


async def test_checkpoints_are_signed_with_a_key_of_their_own_and_so_is_what_is_dropped(
    postgres: Postgres, appended: Callable[..., Awaitable[Any]]
) -> None:
    events = await appended(count=2, into=STORE)
    signer = CheckpointSigner("ledger", SigningKeys(checkpoints=SEALS))
    async with postgres.transaction("dev") as transaction:
        settled = await sealing.Horizon().advance(transaction)
        assert await sealing.seal(transaction, up_to=settled, signer=signer) == 2
        await sealing.record_dropped(
            transaction, events[0].recorded_at.date().replace(day=1), signer
        )
        made = [await sealing.checkpoint(transaction, number) for number in (1, 2)]
    trusted = RING.get(CHECKPOINTS, "2026-12")
    assert trusted is not None
    for checkpoint in made:
        assert checkpoint is not None
        assert checkpoint.signing_key_id == "2026-12"
        assert checkpoint.signature is not None
        assert trusted.holds(checkpoint.signature, signed_content("ledger", checkpoint.hash))
        assert not trusted.holds(checkpoint.signature, signed_content("registry", checkpoint.hash))


async def test_a_store_signs_the_checkpoint_of_a_month_that_it_drops(
    postgres: Postgres, appended: Callable[..., Awaitable[Any]], sealed: Any
) -> None:
    await appended(into=STORE)
    await sealed()
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("UPDATE audit_checkpoints SET month = month - interval '2 years'")
        await transaction.execute("DELETE FROM outbox_pending")
        await transaction.execute(
            "UPDATE events SET recorded_at = recorded_at - interval '2 years'"
        )
        assert await STORE.clear_default(transaction, older_than=timedelta(days=60)) == 1
        newest = await sealing.newest(transaction)
    assert newest is not None
    assert (newest.kind.value, newest.signing_key_id) == ("dropped", "2026-12")
