"""Types, values, numbers and lengths: what needs no look inside."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from contracts.comparison.documents import Documents
from contracts.comparison.kinds import NUMBERS, Kind, kind_of, kinds_of_types
from contracts.comparison.sources import Part
from contracts.comparison.wording import Break, Wording, of_kinds, shown

COMPARED = frozenset(
    {
        *("type", "enum", "const", "multipleOf"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    }
)
"""The keywords that this module takes care of."""

_LENGTHS = {
    "minLength": (Kind.STRING, "shorter"),
    "maxLength": (Kind.STRING, "longer"),
    "minItems": (Kind.ARRAY, "shorter"),
    "maxItems": (Kind.ARRAY, "longer"),
    "minProperties": (Kind.OBJECT, "smaller"),
    "maxProperties": (Kind.OBJECT, "larger"),
}

# The number, times -1 for an upper bound, and whether it is itself out of bounds.
_Bound = tuple[Any, bool]


def types(documents: Documents, read: Part, path: str, wording: Wording) -> Iterator[Break]:
    """Yield the break of a `type` that refuses some of the documents."""
    if "type" not in read:
        return
    taken = kinds_of_types(read["type"])
    refused = documents.kinds - taken
    if not refused:
        return
    held = "another type" if len(refused) > 3 else f"type {of_kinds(refused)}"
    fact = f"the type {wording.either('is', 'was')} {of_kinds(taken)}"
    now = wording.either(" now", "")
    yield Break(path, f"{fact}{now}; {wording.payloads} hold a value of {held}")


def values(documents: Documents, read: Part, path: str, wording: Wording) -> Iterator[Break]:
    """Yield the break of an `enum` or `const` that refuses some of the documents."""
    taken = Documents(documents.source)
    for allowed in ([read["const"]] if "const" in read else None, read.get("enum")):
        if allowed is not None:
            taken = taken.among(allowed)
    if taken.values is None:
        return
    if documents.values is None:
        only = ", ".join(shown(value) for value in taken.values.values())
        fact = wording.either(f"only {only} is allowed now", f"only {only} was allowed")
        yield Break(path, f"{fact}; {wording.payloads} hold other values")
        return
    refused = [value for name, value in documents.values.items() if name not in taken.values]
    if refused:
        yield Break(path, wording.refused(", ".join(map(shown, refused))))


def numbers(documents: Documents, read: Part, path: str, wording: Wording) -> Iterator[Break]:
    """Yield the breaks of bounds and of `multipleOf`."""
    if not documents.kinds & NUMBERS:
        return
    whole = Kind.FRACTION not in documents.kinds
    known = [value for value in (documents.values or {}).values() if kind_of(value) in NUMBERS]
    for word, sign, amount in (("minimum", 1, "less"), ("maximum", -1, "more")):
        expected = _bound([read], word, sign, whole=False)
        written = _bound(documents.parts, word, sign, whole=whole)
        if documents.values is not None:
            least = (min(sign * value for value in known), False)
            written = least if written is None else max(written, least)
        if expected is not None and (written is None or written < expected):
            fact = wording.changed(
                f"the {word}", _bound_shown(written, sign), _bound_shown(expected, sign)
            )
            yield Break(path, f"{fact}; {wording.payloads} hold {amount}")
    if "multipleOf" in read:
        steps = documents.get("multipleOf")
        exact = [Fraction(str(step)) for step in steps] + [Fraction(1)] * whole
        if all((step / Fraction(str(read["multipleOf"]))).denominator != 1 for step in exact):
            fact = wording.changed("multipleOf", next(iter(steps), None), read["multipleOf"])
            yield Break(path, f"{fact}; {wording.payloads} hold other numbers")


def lengths(documents: Documents, read: Part, path: str, wording: Wording) -> Iterator[Break]:
    """Yield the breaks of the lengths of texts and arrays and of the size of objects."""
    for keyword, (kind, amount) in _LENGTHS.items():
        if keyword not in read or kind not in documents.kinds:
            continue
        least = keyword.startswith("min")
        said = documents.get(keyword)
        bounds = [*said, *_lengths_known_otherwise(documents, kind, least=least)]
        written = (max if least else min)(bounds, default=0 if least else None)
        if written is None or (written < read[keyword] if least else written > read[keyword]):
            fact = wording.changed(keyword, next(iter(said), None), read[keyword])
            yield Break(path, f"{fact}; {wording.payloads} be {amount}")


def _lengths_known_otherwise(documents: Documents, kind: Kind, *, least: bool) -> Iterator[int]:
    if documents.values is not None:
        found = [len(value) for value in documents.values.values() if kind_of(value) is kind]
        yield min(found) if least else max(found)
    if kind is Kind.OBJECT and least:
        yield len(documents.required)
    if kind is Kind.OBJECT and not least and documents.closed:
        yield len(documents.declared)


def _bound(parts: Iterable[Part], word: str, sign: int, *, whole: bool) -> _Bound | None:
    """Return the tightest bound; of `whole` numbers, the first one that is within."""
    found: list[_Bound] = []
    for part in parts:
        if word in part:
            found.append((sign * part[word], False))
        excluded = part.get(f"exclusive{word.capitalize()}")
        if excluded is not None:
            bound = sign * excluded
            found.append((bound // 1 + 1, False) if whole else (bound, True))
    if whole:
        found = [(-(-number // 1), excluded) for number, excluded in found]
    return max(found, default=None)


def _bound_shown(bound: _Bound | None, sign: int) -> str | None:
    if bound is None:
        return None
    number, excluded = bound
    return f"{shown(sign * number)}{' (excluded)' if excluded else ''}"
