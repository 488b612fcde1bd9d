"""Compares two versions of a JSON Schema (draft 2020-12) and names what breaks readers.

The comparison is sound and not complete: what it lets pass is compatible, what it cannot compare
and differs counts as a break and says so. Annotations never matter.

One convention makes the usual change possible, to add an optional property. An object whose schema
lists `properties` and says nothing of others (no `additionalProperties`) is taken to hold no
property that a later version gives a meaning to: a new optional property is no break in either
direction. Who wants the strict reading says `additionalProperties: true`; then payloads may hold
anything under any name, and a new property with a schema of its own breaks backward compatibility.
An object that lists no properties at all is open in that sense as well. To close an object that was
open breaks backward, to open one that was closed breaks forward.
"""

from collections.abc import Mapping
from typing import Any

from contracts.comparison.reader import Reader
from contracts.comparison.sources import Budget
from contracts.comparison.wording import Break, Reading
from contracts.eventtypes import Compatibility

__all__ = ["Break", "Budget", "Compatibility", "Reading", "breaks"]

_READINGS = {
    Compatibility.NONE: (),
    Compatibility.BACKWARD: (Reading.BACKWARD,),
    Compatibility.FORWARD: (Reading.FORWARD,),
    Compatibility.FULL: (Reading.BACKWARD, Reading.FORWARD),
}


def breaks(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    compatibility: Compatibility,
    *,
    budget: Budget | None = None,
) -> list[Break]:
    """Return what keeps `after` from following `before`; both are valid schemas.

    Backward: every payload of `before` is one of `after`. Forward: every payload of `after` is one
    of `before`. Full: both. Work and depth are bounded; what lies beyond counts as a break.
    `budget` bounds the work of several comparisons together.
    """
    found: list[Break] = []
    for reading in _READINGS[compatibility]:
        written, read = (before, after) if reading is Reading.BACKWARD else (after, before)
        found += Reader(written, read, reading, budget).breaks()
    return list(dict.fromkeys(found))
