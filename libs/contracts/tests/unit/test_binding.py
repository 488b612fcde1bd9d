from datetime import UTC, date, datetime
from typing import Any

import pytest

from contracts import binding
from contracts.catalogue import Parameter, ParameterType


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
    assert binding.bind(Parameter(name="p", type=kind), value) == bound


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
        binding.bind(Parameter(name="p", type=kind), value)


def test_null_is_bound_where_it_is_declared() -> None:
    parameter = Parameter(name="p", type=ParameterType.DATE, nullable=True)
    assert binding.bind(parameter, None) is None
