import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from orchestrator_worker.domain import values

BERLIN = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**63, str(2**63)),
        (1.5, 1.5),
        (Decimal("12.00"), 12),
        (Decimal("0.1"), 0.1),
        (Decimal("1E+3"), 1000),
        (Decimal("0.12345678901234567890123"), "0.12345678901234567890123"),
        (Decimal(2**70), str(2**70)),
        (datetime(2026, 1, 31, 12, 0, tzinfo=UTC), "2026-01-31T12:00:00Z"),
        (datetime(2026, 7, 1, 2, 0, tzinfo=BERLIN), "2026-07-01T00:00:00Z"),
        (date(2026, 1, 31), "2026-01-31"),
        (time(8, 30), "08:30:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([Decimal(1), None], [1, None]),
        ({"a": {"b": Decimal("2.5")}}, {"a": {"b": 2.5}}),
    ],
)
def test_database_values_become_json(value: Any, expected: Any) -> None:
    converted = values.to_json(value)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"\x00", "bytes"),
        (memoryview(b"x"), "memoryview"),
        (math.nan, "not a JSON number"),
        (Decimal("NaN"), "not a JSON number"),
        (Decimal("Infinity"), "not a JSON number"),
        (datetime(2026, 1, 1), "AT TIME ZONE"),  # noqa: DTZ001 - what is refused
        (timedelta(days=1), "cast it in the statement"),
    ],
)
def test_values_without_a_form_in_json_are_refused(value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        values.to_json(value)
