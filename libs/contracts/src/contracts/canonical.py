"""One byte form for every JSON document that is hashed, so that equal documents have equal hashes.

Keys are sorted by code point, no white space is written, text is UTF-8 and NaN is refused. It is
meant for documents of our own making, whose numbers came through the same parser; it is not
RFC 8785 (which also fixes the spelling of floats across languages).
"""

import hashlib
import json
from typing import Any

from pydantic import BaseModel


def render(document: Any) -> bytes:
    """Return the canonical UTF-8 bytes of a JSON document or a Pydantic model.

    A model is rendered by its aliases, without fields that are unset or None.

    Raises:
        ValueError: the document holds NaN, an infinity or something JSON has no form for.
    """
    if isinstance(document, BaseModel):
        document = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    try:
        return json.dumps(
            document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except TypeError as exc:
        raise ValueError(str(exc)) from exc


def digest(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 lowercase hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
