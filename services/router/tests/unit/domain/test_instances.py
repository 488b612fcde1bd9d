"""Which instance an event is told to."""

import pytest

from contracts import identifiers
from router.domain import instances
from router.errors import TransientError
from rules import expressions
from rules.correlations import Correlation

EVENT = {"type": "paid", "payload": {"invoice": "i-1"}}


def test_an_instance_is_found_by_the_hash_of_its_key_under_the_secret() -> None:
    key = expressions.compile("event.payload.invoice", variables=frozenset({"event"}))

    def address(secret: bytes | None) -> instances.Address:
        return instances.Directory(secret).address(
            Correlation({"t0": key}),
            definition_id="d",
            task_queue="d-tq",
            names=["t0"],
            document=EVENT,
        )

    hashed = identifiers.key_hash(b"a secret", "d", "i-1")
    assert address(b"a secret") == instances.Address("d", hashed, "d-tq")
    assert address(b"a secret").workflow_id == f"d:instance:{hashed}"
    assert address(b"another").key_hash != hashed
    with pytest.raises(TransientError, match="BACKBONE_INSTANCE_KEY_SECRET"):
        address(None)
