import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from contracts.catalogue import Parameter, ParameterType
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


@pytest.mark.parametrize(
    ("kind", "value", "bound"),
    [
        (ParameterType.TEXT, "a", "a"),
        (ParameterType.INTEGER, 3, 3),
        (ParameterType.NUMBER, 3, 3),
        (ParameterType.NUMBER, 3.5, 3.5),
        (ParameterType.BOOLEAN, False, False),
        (ParameterType.TIMESTAMPTZ, "2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        (ParameterType.DATE, "2026-01-31", date(2026, 1, 31)),
    ],
)
def test_parameters_are_bound_as_their_type(kind: ParameterType, value: Any, bound: Any) -> None:
    assert values.bind(Parameter(name="p", type=kind), value) == bound


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (ParameterType.TEXT, 1, "expected text, got integer"),
        (ParameterType.TEXT, "a\x00b", "NUL"),
        (ParameterType.INTEGER, True, "expected integer, got boolean"),
        (ParameterType.INTEGER, 1.0, "expected integer, got number"),
        (ParameterType.NUMBER, True, "expected number, got boolean"),
        (ParameterType.BOOLEAN, 1, "expected boolean"),
        (ParameterType.TIMESTAMPTZ, "2026-01-01T00:00:00", "without an offset"),
        (ParameterType.TIMESTAMPTZ, "soon", "RFC 3339"),
        (ParameterType.DATE, "2026-02-30", "not a date"),
        (ParameterType.TEXT, None, "nullable"),
        (ParameterType.TEXT, [], "a list"),
    ],
)
def test_parameters_of_another_type_are_refused(kind: ParameterType, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        values.bind(Parameter(name="p", type=kind), value)


def test_null_is_bound_where_it_is_declared() -> None:
    parameter = Parameter(name="p", type=ParameterType.DATE, nullable=True)
    assert values.bind(parameter, None) is None
