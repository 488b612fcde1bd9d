from datetime import UTC, datetime

import pytest

from console.domain import moments


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T09:30", " 2026-03-01T09:30:00Z ", "2026-03-01T10:30:00+01:00"],
)
def test_a_time_is_in_utc_unless_it_says_otherwise(text: str) -> None:
    time = moments.parse(text)
    assert time == datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    assert moments.instant(time) == "2026-03-01T09:30:00Z"
    # What a page writes into a field comes back as the same time.
    assert moments.parse(moments.in_field(time)) == time


@pytest.mark.parametrize("text", ["", "noon", "2026-03-01T25:00", "0001-01-01T00:00+14:00"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="such as 2026-03-01T09:30"):
        moments.parse(text)
