"""What objects hold: which of their properties a reader looks into, and as what.

The comparison of a property's values is left to whoever asks: a `Pair` is what has to be compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from contracts.comparison.documents import Documents
from contracts.comparison.sources import Part, Schema
from contracts.comparison.wording import Break, Wording, at

COMPARED = frozenset(
    {
        *("properties", "required", "additionalProperties", "patternProperties"),
        *("propertyNames", "dependentRequired"),
    }
)
"""The keywords that this module takes care of."""


@dataclass(frozen=True)
class Pair:
    """Values written by all of `written` are read as `read`."""

    path: str
    written: tuple[Schema, ...]
    read: Schema


def objects(
    documents: Documents, read: Part, path: str, wording: Wording
) -> Iterator[Break | Pair]:
    """Yield what breaks, and what has to be compared further."""
    yield from _presence(documents, read, path, wording)
    yield from _named(documents, read, path, wording)
    yield from _matching(documents, read, path, wording)
    yield from _further(documents, read, path, wording)
    if "propertyNames" in read:
        names: list[Schema] = [{"type": "string"}, *documents.get("propertyNames")]
        if documents.closed:
            names.append({"enum": sorted(documents.declared)})
        yield Pair(at(path, "propertyNames"), tuple(names), read["propertyNames"])


def _presence(documents: Documents, read: Part, path: str, wording: Wording) -> Iterator[Break]:
    for name in sorted(set(read.get("required", ())) - documents.required):
        fact = wording.either("became required", "is no longer required")
        yield Break(at(path, f"properties.{name}"), f"{name} {fact}; {wording.payloads} lack it")
    for name, needed in sorted(read.get("dependentRequired", {}).items()):
        known = set(documents.required)
        for table in documents.get("dependentRequired"):
            known |= set(table.get(name, ()))
        for other in sorted(set(needed) - known):
            fact = wording.either("requires", "no longer requires")
            yield Break(
                at(path, f"dependentRequired.{name}"),
                f"{name} {fact} {other}; {wording.payloads} lack it",
            )


def _named(documents: Documents, read: Part, path: str, wording: Wording) -> Iterator[Break | Pair]:
    expected = read.get("properties", {})
    other = read.get("additionalProperties", True)
    declared = documents.declared
    # The convention: see `contracts.compatibility`.
    new_ones_are_absent = documents.names_all_properties
    for name in sorted(declared | expected.keys()):
        where = at(path, f"properties.{name}")
        written = documents.of_property(name)
        if name in expected:
            if name in declared or not new_ones_are_absent:
                yield Pair(where, written, expected[name])
        elif other is not False:
            yield Pair(where, written, other)
        elif not Documents.of(documents.source, *written).none:
            fact = wording.either(
                "was removed, and no other properties are allowed",
                "was added, and the older version allows no other properties",
            )
            yield Break(where, f"{name} {fact}; {wording.payloads} hold it")


def _matching(
    documents: Documents, read: Part, path: str, wording: Wording
) -> Iterator[Break | Pair]:
    known = documents.patterns
    for pattern, schema in sorted(read.get("patternProperties", {}).items()):
        where = at(path, f"patternProperties.{pattern}")
        if pattern in known:
            yield Pair(where, known[pattern], schema)
        elif schema is not True:
            fact = wording.changed("patternProperties", None, pattern)
            yield Break(where, f"{fact}; which properties it is about cannot be compared")


def _further(
    documents: Documents, read: Part, path: str, wording: Wording
) -> Iterator[Break | Pair]:
    other = read.get("additionalProperties", True)
    if other is True:
        return
    where = at(path, "additionalProperties")
    written = tuple(documents.get("additionalProperties"))
    if other is False and False not in written:
        fact = wording.either("are no longer allowed", "are allowed now")
        yield Break(where, f"properties that are not named {fact}; {wording.payloads} hold some")
        return
    yield Pair(where, written, other)
    known = documents.patterns
    for pattern in sorted(known.keys() - read.get("patternProperties", {}).keys()):
        yield Pair(at(path, f"patternProperties.{pattern}"), known[pattern], other)
