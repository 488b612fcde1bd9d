"""Durations as people write them: `30s`, `15m`, `1h30m`, `2d`, or ISO 8601 (`PT15M`, `P2D`)."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_SHORT = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
_ISO = re.compile(
    r"P(?:(\d{1,9})W)?(?:(\d{1,9})D)?"
    r"(?:T(?=\d)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?",
    re.ASCII,
)
_PATTERN = r"^((\d+d)?(\d+h)?(\d+m)?(\d+s)?|P(\d+W)?(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?)$"


def parse(text: str) -> timedelta:
    """Return the duration that `text` spells, in whole seconds.

    Raises:
        ValueError: it is neither form, or longer than a `timedelta` can be.
    """
    weeks: str | None = None
    if text and (match := _SHORT.fullmatch(text)):
        days, hours, minutes, seconds = match.groups()
    elif len(text) > 2 and (match := _ISO.fullmatch(text)):
        weeks, days, hours, minutes, seconds = match.groups()
    else:
        raise ValueError(f"not a duration: {text!r}; write 30s, 15m, 1h30m, 2d or ISO 8601 (PT15M)")
    try:
        return timedelta(
            weeks=int(weeks or 0),
            days=int(days or 0),
            hours=int(hours or 0),
            minutes=int(minutes or 0),
            seconds=int(seconds or 0),
        )
    except OverflowError as exc:
        raise ValueError(f"{text} is longer than any calendar") from exc


def render(duration: timedelta) -> str:
    """Return the one spelling of a duration: its seconds, `900s`, so that equal ones look equal."""
    return f"{int(duration.total_seconds())}s"


def _validate(value: Any) -> Any:
    if isinstance(value, str):
        duration = parse(value)
    elif isinstance(value, timedelta):
        duration = value
    else:
        raise ValueError("a duration is text: 30s, 15m, 1h30m, 2d or ISO 8601 (PT15M)")
    if duration.microseconds:
        raise ValueError("a duration is in whole seconds")
    if not timedelta(0) < duration <= timedelta(days=3660):
        raise ValueError("a duration is longer than zero and at most ten years")
    return duration


Duration = Annotated[
    timedelta,
    BeforeValidator(_validate),
    PlainSerializer(render, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "examples": ["30s", "15m", "P2D"]}),
]
"""A positive duration in whole seconds, read from and written as text."""
