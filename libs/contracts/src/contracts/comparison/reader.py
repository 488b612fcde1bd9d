"""Compares what is written with what is read, part by part, and tells of everything that breaks."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from contracts import canonical
from contracts.comparison import objects, values
from contracts.comparison.disjoint import disjoint
from contracts.comparison.documents import Documents
from contracts.comparison.kinds import Kind
from contracts.comparison.objects import Pair
from contracts.comparison.sources import (
    DYNAMIC,
    Budget,
    NotComparableError,
    Part,
    Sameness,
    Schema,
    Source,
    TooLargeError,
    constraints,
)
from contracts.comparison.wording import Break, Reading, Wording, at, described

_COMPARED = (
    values.COMPARED
    | objects.COMPARED
    | {"$ref", "allOf", "anyOf", "oneOf", "items", "prefixItems", "uniqueItems"}
)
# Keywords that say something only together, and so have to be the same together.
_TOGETHER = (("if", "then", "else"), ("contains", "minContains", "maxContains"))
# What they say depends on the keywords beside them, the same or not.
_CONTEXTUAL = frozenset({"unevaluatedProperties", "unevaluatedItems"})
_ABOUT = {
    "contains": Kind.ARRAY,
    "unevaluatedItems": Kind.ARRAY,
    "unevaluatedProperties": Kind.OBJECT,
    "dependentSchemas": Kind.OBJECT,
    "pattern": Kind.STRING,
}

_Check = Callable[[Documents, Part, str, Wording], Iterator[Break]]
_VALUES: tuple[_Check, ...] = (values.values, values.numbers, values.lengths)


class Reader:
    """Who reads with the schema `read` what was written with the schema `written`."""

    def __init__(
        self,
        written: Mapping[str, Any],
        read: Mapping[str, Any],
        reading: Reading,
        budget: Budget | None = None,
    ) -> None:
        self._written = Source(written)
        self._read = Source(read)
        self._dialects = (written.get("$schema"), read.get("$schema"))
        self._wording = Wording(reading)
        self._budget = Budget(within=budget)
        self._same = Sameness(self._written, self._read, self._budget)
        self._open: set[tuple[frozenset[int], int]] = set()

    def breaks(self) -> list[Break]:
        """Return why some of what is written cannot be read."""
        if canonical.render(self._written.root) == canonical.render(self._read.root):
            return []
        written, read = self._dialects
        if written and read and written != read:
            return [Break("$schema", f"{self._wording.changed('the dialect', written, read)}")]
        try:
            return self._included((self._written.root,), self._read.root, "", 0)
        except (TooLargeError, RecursionError) as exc:
            why = exc if isinstance(exc, TooLargeError) else "the schemas are nested too deeply"
            return [Break("", f"the versions cannot be compared: {why}")]

    def _included(
        self, written: tuple[Schema, ...], read: Schema, path: str, depth: int
    ) -> list[Break]:
        """Return the breaks of a value that fits all of `written`.

        A pair that is being compared already holds if the outer comparison does: values end.
        """
        pair = (frozenset(map(id, written)), id(read))
        if pair in self._open:
            return []
        self._open.add(pair)
        try:
            return self._fits(Documents.of(self._written, *written), read, path, depth)
        except TooLargeError:
            raise
        except NotComparableError as exc:
            return [Break(path, f"this cannot be compared: {exc}")]
        finally:
            self._open.discard(pair)

    def _fits(self, documents: Documents, read: Schema, path: str, depth: int) -> list[Break]:
        self._budget.spend(depth, work=1 + len(documents.parts))
        if read is True or documents.none:
            return []
        if isinstance(read, bool):
            return [Break(path, self._wording.refused(described(documents)))]
        if any(self._same.schemas(part, read) for part in documents.parts):
            return []
        if documents.choices:
            return _together(
                self._fits(alternative, read, path, depth + 1)
                for alternative in documents.decided()
            )
        if read.keys() & DYNAMIC:
            raise NotComparableError("references depend on $id or are dynamic")
        found = list(values.types(documents, read, path, self._wording))
        # Of a type that is not read at all there is nothing else to tell.
        return found or _together(self._parts(documents, read, path, depth))

    def _parts(
        self, documents: Documents, read: Part, path: str, depth: int
    ) -> Iterator[Iterable[Break]]:
        """Yield the breaks by each thing that `read` asks for."""
        if "$ref" in read:
            yield self._fits(documents, self._read.resolve(read["$ref"]), path, depth + 1)
        for part in read.get("allOf", ()):
            yield self._fits(documents, part, path, depth + 1)
        for check in _VALUES:
            yield check(documents, read, path, self._wording)
        if Kind.ARRAY in documents.kinds:
            yield self._arrays(documents, read, path, depth)
        if Kind.OBJECT in documents.kinds:
            for found in objects.objects(documents, read, path, self._wording):
                if isinstance(found, Pair):
                    yield self._included(found.written, found.read, found.path, depth + 1)
                else:
                    yield [found]
        if "anyOf" in read:
            yield self._any_of(documents, read["anyOf"], path, depth)
        if "oneOf" in read:
            yield self._one_of(documents, read["oneOf"], path, depth)
        yield self._others(documents, read, path)

    def _arrays(self, documents: Documents, read: Part, path: str, depth: int) -> Iterator[Break]:
        least_end = min(documents.get("maxItems"), default=None)
        reader = Documents(self._read, parts=(read,))
        last = max(len(part.get("prefixItems", ())) for part in (*documents.parts, read))
        for index in range(last + 1):
            written = documents.of_item(index)
            if index == least_end or any(schema is False for schema in written):
                break
            where = at(path, f"prefixItems[{index}]" if index < last else "items")
            for expected in reader.of_item(index):
                yield from self._included(written, expected, where, depth + 1)
        if (
            read.get("uniqueItems")
            and not any(documents.get("uniqueItems"))
            and (least_end is None or least_end > 1)
        ):
            fact = self._wording.either("items have to differ now", "items may be the same now")
            yield Break(path, f"{fact}; {self._wording.payloads} hold the same item twice")

    def _any_of(
        self, documents: Documents, branches: Sequence[Schema], path: str, depth: int
    ) -> list[Break]:
        found = [self._fits(documents, branch, path, depth + 1) for branch in branches]
        if not all(found):
            return []
        parts = documents.split()
        if parts:
            return _together(self._any_of(part, branches, path, depth + 1) for part in parts)
        # The branch that it could be, if there is just one, says best what is wrong.
        possible = [
            breaks
            for branch, breaks in zip(branches, found, strict=True)
            if not self._disjoint(documents, branch, depth + 1)
        ]
        if len(possible) == 1:
            return possible[0]
        return [Break(path, self._wording.refused(described(documents), by="any alternative"))]

    def _one_of(
        self, documents: Documents, branches: Sequence[Schema], path: str, depth: int
    ) -> list[Break]:
        found = self._any_of(documents, branches, path, depth)
        if found or any(
            self._same.keyword("oneOf", written, branches) for written in documents.get("oneOf")
        ):
            return found
        possible = [
            branch for branch in branches if not self._disjoint(documents, branch, depth + 1)
        ]
        if len(possible) < 2:
            return []
        parts = documents.split()
        if parts:
            return _together(self._one_of(part, branches, path, depth + 1) for part in parts)
        what = f"{described(documents)} may fit more than one alternative of oneOf"
        return [Break(path, f"{what}, which cannot be told apart by type or by a property")]

    def _others(self, documents: Documents, read: Part, path: str) -> Iterator[Break]:
        """Yield a break for each keyword that is not compared and is not the same."""
        left = constraints(read) - _COMPARED
        for group in _TOGETHER:
            names = [name for name in group if name in left]
            left -= set(group)
            if names and self._matters(names[0], documents):
                said = {name: read[name] for name in names}
                if not any(self._says(part, group, said) for part in documents.parts):
                    yield Break(at(path, names[0]), f"{names[0]} differs and cannot be compared")
        for name in sorted(left):
            written = documents.get(name)
            if not self._matters(name, documents) or (
                name not in _CONTEXTUAL
                and any(self._same.keyword(name, one, read[name]) for one in written)
            ):
                continue
            if isinstance(read[name], str):
                fact = self._wording.changed(name, next(iter(written), None), read[name])
                yield Break(at(path, name), f"{fact}; {self._wording.payloads} not fit it")
            else:
                yield Break(at(path, name), f"{name} differs and cannot be compared")

    def _says(self, part: Part, group: Sequence[str], said: Mapping[str, Any]) -> bool:
        return {name for name in group if name in part} == said.keys() and all(
            self._same.keyword(name, part[name], value) for name, value in said.items()
        )

    @staticmethod
    def _matters(name: str, documents: Documents) -> bool:
        return name not in _ABOUT or _ABOUT[name] in documents.kinds

    def _disjoint(self, documents: Documents, read: Schema, depth: int) -> bool:
        try:
            return disjoint(documents, Documents.of(self._read, read), self._budget, depth)
        except TooLargeError:
            raise
        except NotComparableError:
            return False


def _together(parts: Iterable[Iterable[Break]]) -> list[Break]:
    return list(dict.fromkeys(itertools.chain.from_iterable(parts)))
