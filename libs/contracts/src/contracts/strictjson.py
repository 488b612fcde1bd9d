"""A JSON reader for bytes from strangers: what two parsers could read differently is refused.

Python's own reader takes duplicate keys (the last wins), NaN, numbers too large for a double and
nesting up to its recursion limit. Each of those is a reason code here.

Most documents are plain, and are read by a fast reader that is as lax as Python's: what it could
have taken wrongly is ruled out by counting. All others take the slow way, which alone gives
reasons.
"""

import json
from typing import Any, Never

import orjson

from contracts.rejections import EventRejectedError, Reason

MAX_DEPTH = 64
_INT64 = 2**63

_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_NUMBER = b"0" * 16
_NO_DOCUMENT: Any = object()


def parse(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Return the JSON document in `raw`.

    Raises:
        EventRejectedError: not UTF-8, not JSON, a key twice, a number that a signed 64-bit integer
            or a double cannot hold, a lone surrogate, or nested deeper than `max_depth`.
    """
    document = _plain(raw, max_depth)
    return _strict(raw, max_depth) if document is _NO_DOCUMENT else document


def _plain(raw: bytes, max_depth: int) -> Any:
    """Return the document when it is beyond doubt, else `_NO_DOCUMENT`."""
    # orjson refuses what is no JSON, and numbers too large for a double. It takes a key twice, but
    # then hands over fewer strings than were written; without escapes each of them has two quotes,
    # and none holds half of a surrogate pair. It makes doubles of integers beyond 64 bits, which
    # have more digits than are let through. Brackets bound the depth.
    if (
        b"\\" in raw
        or raw.count(b"[") + raw.count(b"{") > max_depth
        or _LONG_NUMBER in raw.translate(_DIGITS)
    ):
        return _NO_DOCUMENT
    try:
        document = orjson.loads(raw)
    except ValueError:
        return _NO_DOCUMENT
    return document if orjson.dumps(document).count(b'"') == raw.count(b'"') else _NO_DOCUMENT


def _strict(raw: bytes, max_depth: int) -> Any:
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        raise EventRejectedError(
            Reason.NOT_UTF8, f"byte {exc.start} of the record is not UTF-8"
        ) from exc
    _refuse_depth(text, max_depth)
    try:
        document = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_bounded_int,
        )
    except json.JSONDecodeError as exc:
        raise EventRejectedError(
            Reason.MALFORMED_JSON, f"{exc.msg} at line {exc.lineno}, column {exc.colno}"
        ) from exc
    if "\\u" in text:
        _refuse_surrogates(document)
    return document


def _refuse_depth(text: str, max_depth: int) -> None:
    # Brackets inside strings count too: an upper bound is enough to keep the reader's stack small,
    # and only text that exceeds it is looked at more closely.
    if text.count("[") + text.count("{") <= max_depth:
        return
    depth = 0
    inside = escaped = False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            if depth > max_depth:
                raise EventRejectedError(Reason.TOO_DEEP, f"nested deeper than {max_depth} levels")
        elif character in "]}":
            depth -= 1


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise EventRejectedError(
                    Reason.DUPLICATE_KEY, f"the key {key[:80]!r} appears twice in one object"
                )
            seen.add(key)
    return document


def _refuse_constant(name: str) -> Never:
    raise EventRejectedError(Reason.INVALID_NUMBER, f"{name} is not a JSON number")


def _finite_float(literal: str) -> float:
    value = float(literal)
    if value in (float("inf"), float("-inf")):
        raise EventRejectedError(Reason.INVALID_NUMBER, f"{literal[:40]} is too large for a double")
    return value


def _bounded_int(literal: str) -> int:
    # The length is checked first: int() of a long literal costs quadratic time.
    if len(literal) > 20 or not -_INT64 <= (value := int(literal)) < _INT64:
        raise EventRejectedError(
            Reason.INVALID_NUMBER, f"{literal[:40]} is too large for a 64-bit integer"
        )
    return value


def _refuse_surrogates(document: Any) -> None:
    pending = [document]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError as exc:
                raise EventRejectedError(
                    Reason.MALFORMED_JSON, "a string holds half of a surrogate pair"
                ) from exc
        elif isinstance(item, dict):
            pending.extend(item)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
