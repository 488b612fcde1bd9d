"""Durations as people write them."""

from datetime import timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from contracts import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("15m", 900), ("1h30m", 5400), ("2d", 172800), ("PT15M", 900), ("P2D", 172800)],
)
def test_both_spellings_are_read(text, seconds):
    assert durations.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "15", "m", "P", "PT", "1.5h", "-1s", "1m1h", "15 m", "\u0663s"]
)
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="15m"):
        durations.parse(text)


@pytest.mark.parametrize("text", ["P999999999W", "999999999d999999999h"])
def test_what_no_calendar_holds_is_refused(text):
    with pytest.raises(ValueError, match="longer than any calendar"):
        durations.parse(text)


@pytest.mark.parametrize(
    "duration", [timedelta(milliseconds=1), timedelta(0), timedelta(days=4000), 15]
)
def test_only_whole_seconds_of_a_sane_length_are_taken(duration):
    with pytest.raises(ValidationError):
        TypeAdapter(durations.Duration).validate_python(duration)
