"""What checkpoints hash to: for ever, so that old ones can be verified by any release."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from eventstore import checkpoints
from eventstore.checkpoints import Checkpoint, Kind
from eventstore.events import GENESIS

AT = datetime(2026, 11, 1, 12, 0, 0, 5, tzinfo=UTC)
ROW: dict[str, Any] = {
    "position": 7,
    "recorded_at": AT,
    "namespace": "dev",
    "stream": "run:a",
    "version": 1,
    "event_id": UUID(int=1),
    "type": "backbone.RunDecided",
    "topic": "dev.backbone.run-events",
    "key": "a",
    "headers": '[["a", "b"]]',
    "body": b"{}",
    "signature": None,
    "signing_key_id": None,
    "previous_hash": GENESIS,
    "hash": bytes([1]) * 32,
    "blob_ref": None,
}
OTHER: dict[str, Any] = {
    "position": 8,
    "recorded_at": AT.replace(microsecond=6),
    "version": 2,
    "event_id": UUID(int=2),
    "body": b"{ }",
    "signature": b"",
    "previous_hash": bytes([2]) * 32,
    "hash": bytes([2]) * 32,
}

LEAF = "d82b0847f8fbb60fab3b0103e40890a3ab732c1942bec7e28815c78e7196f6ae"
SEALED = "80f444031825f69d9c5151e2e57176211b4e2d77fa9617536594164fb7fb0222"
DROPPED = "773011ba508a98f4b193fbd2ec406f110c1d52a53e36084c89ed061cfcbfe9b4"


def test_hashes_never_change() -> None:
    assert checkpoints.leaf(ROW).hex() == LEAF
    (sealed,) = checkpoints.seal(
        None, first_position=1, last_position=9, leaves={date(2026, 11, 1): [bytes(32)]}, at=AT
    )
    assert sealed.hash.hex() == SEALED
    dropped = checkpoints.drop(sealed, month=date(2026, 11, 1), events=1, at=AT)
    assert dropped.hash.hex() == DROPPED


@pytest.mark.parametrize("column", ROW)
def test_every_column_of_an_event_counts(column: str) -> None:
    other = {**ROW, column: OTHER.get(column, f"{ROW[column] or ''}x")}
    assert checkpoints.leaf(other) != checkpoints.leaf(ROW)


def test_where_a_column_ends_counts() -> None:
    shifted = {**ROW, "topic": f"{ROW['topic']}a", "key": ""}
    assert checkpoints.leaf(shifted) != checkpoints.leaf(ROW)


@pytest.mark.parametrize(
    "change",
    [
        {"number": 2},
        {"kind": Kind.DROPPED},
        {"first_position": 2},
        {"last_position": 8},
        {"month": date(2026, 12, 1)},
        {"events": 2},
        {"digest": bytes(32)},
        {"sealed_at": AT.replace(microsecond=6)},
        {"previous_hash": bytes([1]) * 32},
    ],
)
def test_every_field_of_a_checkpoint_counts(change: dict[str, Any]) -> None:
    (sealed,) = checkpoints.seal(
        None, first_position=1, last_position=9, leaves={date(2026, 11, 1): [bytes(32)]}, at=AT
    )
    assert replace(sealed, **change).hashed().hash != sealed.hash


def test_a_range_has_a_checkpoint_for_each_month_in_order() -> None:
    newest = Checkpoint(3, Kind.SEALED, 1, 4, date(2026, 9, 1), 4, bytes(32), AT, GENESIS).hashed()
    first, second = checkpoints.seal(
        newest,
        first_position=5,
        last_position=9,
        leaves={date(2026, 11, 1): [bytes(32)], date(2026, 10, 1): [bytes(32)] * 2},
        at=AT,
    )
    assert [(one.number, one.month.month, one.events) for one in (first, second)] == [
        (4, 10, 2),
        (5, 11, 1),
    ]
    assert (first.previous_hash, second.previous_hash) == (newest.hash, first.hash)


def test_months_are_those_of_utc() -> None:
    late = datetime.fromisoformat("2026-11-01T00:30:00+02:00")
    assert checkpoints.month_of(late) == date(2026, 10, 1)
