"""What a JSON Schema says of the documents that fit it, gathered from all that applies in place.

`$ref` and `allOf` are merged, `anyOf` and `oneOf` kept as choices. What is gathered never says more
than the schema does: a document that fits the schema fits what is gathered from it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from contracts.comparison.kinds import Kind, key, kind_of, kinds_of_types
from contracts.comparison.sources import DYNAMIC, NotComparableError, Part, Schema, Source

_SAYING_MORE = frozenset(
    {
        *("additionalProperties", "patternProperties", "unevaluatedProperties"),
        *("dependentSchemas", "if", "then", "else", "not"),
    }
)


@dataclass(frozen=True)
class Documents:
    """Documents that fit every one of `parts`, and one alternative of each of `choices`.

    `kinds` are the types they may have, `values` all that they may be, None without an end.
    """

    source: Source
    parts: tuple[Part, ...] = ()
    choices: tuple[tuple[Schema, ...], ...] = ()
    kinds: frozenset[Kind] = frozenset(Kind)
    values: Mapping[Any, Any] | None = None

    @classmethod
    def of(cls, source: Source, *schemas: Schema) -> Self:
        """Return the documents that fit all of `schemas`.

        Raises:
            NotComparableError: one refers out of the schema.
        """
        documents = cls(source)
        for schema in schemas:
            documents = documents.that_fit(schema)
        return documents

    def that_fit(self, schema: Schema) -> Self:
        """Return those of the documents that fit `schema` too."""
        if isinstance(schema, bool):
            return self if schema else replace(self, kinds=frozenset())
        if any(schema is part for part in self.parts):
            return self
        if schema.keys() & DYNAMIC:
            raise NotComparableError("references depend on $id or are dynamic")
        found = replace(
            self,
            parts=(*self.parts, schema),
            choices=(
                *self.choices,
                *(tuple(schema[key]) for key in ("anyOf", "oneOf") if key in schema),
            ),
        ).of_kinds(_kinds_of(schema))
        if "const" in schema:
            found = found.among([schema["const"]])
        if "enum" in schema:
            found = found.among(schema["enum"])
        if "$ref" in schema:
            found = found.that_fit(self.source.resolve(schema["$ref"]))
        branches: Sequence[Schema] = schema.get("allOf", ())
        for branch in branches:
            found = found.that_fit(branch)
        return found

    def of_kinds(self, kinds: frozenset[Kind]) -> Self:
        """Return those of the documents that are of one of `kinds`."""
        left = self.kinds & kinds
        values = self.values
        if values is None and left <= {Kind.NULL, Kind.BOOLEAN}:
            every: dict[Kind, list[Any]] = {Kind.NULL: [None], Kind.BOOLEAN: [False, True]}
            values = {key(value): value for kind in sorted(left) for value in every[kind]}
        if values is None:
            return replace(self, kinds=left)
        kept = {name: value for name, value in values.items() if kind_of(value) in left}
        return replace(self, kinds=frozenset(map(kind_of, kept.values())), values=kept)

    def among(self, values: list[Any]) -> Self:
        """Return those of the documents that are one of `values`."""
        named = {key(value): value for value in values}
        if self.values is not None:
            named = {name: value for name, value in named.items() if name in self.values}
        return replace(self, values=named).of_kinds(self.kinds)

    def decided(self) -> Iterator[Self]:
        """Yield the documents of each alternative of the first choice."""
        rest = replace(self, choices=self.choices[1:])
        for alternative in self.choices[0]:
            yield rest.that_fit(alternative)

    def split(self) -> list[Self]:
        """Return the documents by kind, or by value where they are of one kind; [] if one is left.

        Together they are all of the documents.
        """
        if len(self.kinds) > 1:
            return [self.of_kinds(frozenset({kind})) for kind in sorted(self.kinds)]
        if self.values is not None and len(self.values) > 1:
            return [self.among([value]) for value in self.values.values()]
        return []

    @property
    def none(self) -> bool:
        """Whether there is no such document at all."""
        return not self.kinds

    def get(self, keyword: str) -> list[Any]:
        """Return the values that a keyword has in the parts."""
        return [part[keyword] for part in self.parts if keyword in part]

    @property
    def required(self) -> set[str]:
        """The properties that every document has."""
        return {name for names in self.get("required") for name in names}

    @property
    def declared(self) -> set[str]:
        """The properties that are named."""
        return {name for named in self.get("properties") for name in named} | self.required

    @property
    def patterns(self) -> dict[str, tuple[Schema, ...]]:
        """The schemas that properties fit whose names match a pattern, by pattern."""
        found: dict[str, tuple[Schema, ...]] = {}
        for table in self.get("patternProperties"):
            for pattern, schema in table.items():
                found[pattern] = (*found.get(pattern, ()), schema)
        return found

    @property
    def closed(self) -> bool:
        """Whether they have no property that is not named."""
        return any(
            part.get("additionalProperties") is False and not part.get("patternProperties")
            for part in self.parts
        )

    @property
    def names_all_properties(self) -> bool:
        """Whether properties are named in one place, and nothing is said of further ones."""
        naming = [part for part in self.parts if part.keys() & (_SAYING_MORE | {"properties"})]
        return (
            len(naming) == 1
            and bool(naming[0].get("properties"))
            and not naming[0].keys() & _SAYING_MORE
        )

    def of_property(self, name: str) -> tuple[Schema, ...]:
        """Return the schemas that the property `name` fits."""
        found: list[Schema] = []
        for part in self.parts:
            if name in part.get("properties", {}):
                found.append(part["properties"][name])
            elif "additionalProperties" in part and not part.get("patternProperties"):
                found.append(part["additionalProperties"])
        return tuple(found)

    def of_item(self, index: int) -> tuple[Schema, ...]:
        """Return the schemas that the item at `index` fits."""
        found: list[Schema] = []
        for part in self.parts:
            prefix = part.get("prefixItems", ())
            if index < len(prefix):
                found.append(prefix[index])
            elif "items" in part:
                found.append(part["items"])
        return tuple(found)


def _kinds_of(schema: Part) -> frozenset[Kind]:
    types = schema.get("type")
    kinds = frozenset(Kind) if types is None else kinds_of_types(types)
    multiple = schema.get("multipleOf")
    if multiple is not None and float(multiple).is_integer():
        return kinds - {Kind.FRACTION}
    return kinds
