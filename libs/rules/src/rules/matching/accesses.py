"""By which values a pattern can be found.

A pattern matches only documents in which each of its leaves has one of its alternatives. So a leaf
gives an access: look for any of its values, and what is found there may match. A group of `$or`
gives one as well: one access of each of its patterns. One access of a pattern is enough.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rules import kinds
from rules.patterns import Kind, Matcher, Pattern, literals

Path = tuple[str, ...]


class Where(StrEnum):
    """The table that a value is looked up in."""

    TEXTS = "texts"
    NUMBERS = "numbers"
    CONSTANTS = "constants"
    FOLDED = "folded"
    PREFIXES = "prefixes"
    SUFFIXES = "suffixes"
    FOLDED_PREFIXES = "folded-prefixes"
    FOLDED_SUFFIXES = "folded-suffixes"
    PARTS = "parts"
    RANGES = "ranges"
    NETWORKS = "networks"
    ASKED = "asked"
    ABSENT = "absent"


WEAK = 10_000
"""The cost from which on an access hardly tells one pattern from another."""

_COSTS = {
    Where.TEXTS: 0,
    Where.NUMBERS: 0,
    Where.CONSTANTS: 2,
    Where.FOLDED: 1,
    Where.ASKED: WEAK,
    Where.ABSENT: 2 * WEAK,
}
_LONG = 8  # characters from which on a text is as good as a longer one
_WINDOWS = (32, 16, 8, 6, 4, 3, 2, 1)  # lengths in which parts of a text are looked up


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a table. `exact` says that what is found there fits the matcher for certain."""

    where: Where
    operand: Any
    exact: bool = True

    @property
    def cost(self) -> int:
        """What using it costs when it is empty; the least is best."""
        if self.where in _COSTS:
            return _COSTS[self.where]
        if isinstance(self.operand, str) and self.where is not Where.NETWORKS:
            # A part is looked up at each place of a text.
            return (3 if self.where is Where.PARTS else 1) + max(0, _LONG - len(self.operand))
        return 1


@dataclass(frozen=True, slots=True)
class Term:
    """A value that has to be somewhere: the path, and the slots that find it, of which one will do.

    `exact` terms leave nothing to be checked at their leaf.
    """

    path: Path
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """Terms of which one holds in every document that the pattern matches.

    `place` names the leaf or the group. `complete` says that a pattern without that place is all
    that is left to check where a term held; in a group that is so when each of its patterns has
    no more than the leaf of its term.
    """

    place: tuple[Path, Any]
    terms: tuple[Term, ...]
    complete: bool = True


def accesses(pattern: Pattern, path: Path = ()) -> Iterator[Access]:
    """Return the accesses of a pattern, which itself is expected at a path."""
    for name, expected in pattern.fields:
        below = (*path, name)
        if isinstance(expected, Pattern):
            yield from accesses(expected, below)
        else:
            terms = tuple(Term(below, _slots(matcher)) for matcher in expected)
            yield Access((below, None), terms)
    for group in pattern.either:
        best = [min(accesses(branch, path), key=_cost) for branch in group]
        yield Access(
            (path, group),
            tuple(term for access in best for term in access.terms),
            complete=all(
                access.complete and without(branch, access.place, path) is None
                for branch, access in zip(group, best, strict=True)
            ),
        )


def without(pattern: Pattern, place: tuple[Path, Any], path: Path = ()) -> Pattern | None:
    """Return a pattern without one of its leaves or groups; None when nothing is left."""
    at, group = place
    if at == path:
        either = tuple(other for other in pattern.either if other != group)
        return Pattern(pattern.fields, either) if pattern.fields or either else None
    name = at[len(path)]
    fields: list[tuple[str, tuple[Matcher, ...] | Pattern]] = []
    for field, expected in pattern.fields:
        if field != name:
            fields.append((field, expected))
        elif isinstance(expected, Pattern):
            rest = without(expected, place, (*path, name))
            if rest is not None:
                fields.append((field, rest))
    return Pattern(tuple(fields), pattern.either) if fields or pattern.either else None


def _cost(access: Access) -> int:
    return sum(1 + min(slot.cost for slot in term.slots) for term in access.terms)


def _slots(matcher: Matcher) -> tuple[Slot, ...]:  # noqa: PLR0911 - one for each kind
    operand = matcher.operand
    match matcher.kind:
        case Kind.EXACT:
            return (_equal(operand),)
        case Kind.EQUALS_IGNORE_CASE:
            return (Slot(Where.FOLDED, operand),)
        case Kind.PREFIX if operand:
            return (Slot(Where.PREFIXES, operand),)
        case Kind.SUFFIX if operand:
            return (Slot(Where.SUFFIXES, operand),)
        case Kind.PREFIX_IGNORE_CASE if operand:
            return (Slot(Where.FOLDED_PREFIXES, operand),)
        case Kind.SUFFIX_IGNORE_CASE if operand:
            return (Slot(Where.FOLDED_SUFFIXES, operand),)
        case Kind.WILDCARD:
            return tuple(_wildcard(operand)) or (Slot(Where.ASKED, matcher),)
        case Kind.NUMERIC if operand.low == operand.high:
            return (Slot(Where.NUMBERS, operand.low),)
        case Kind.NUMERIC:
            return (Slot(Where.RANGES, operand),)
        case Kind.CIDR:
            return (Slot(Where.NETWORKS, operand),)
        case Kind.EXISTS if not operand:
            return (Slot(Where.ABSENT, None, exact=False),)
        case _:
            return (Slot(Where.ASKED, matcher),)


def _equal(operand: Any) -> Slot:
    if isinstance(operand, str):
        return Slot(Where.TEXTS, operand)
    return Slot(Where.NUMBERS if kinds.is_number(operand) else Where.CONSTANTS, operand)


def _wildcard(operand: str) -> Iterator[Slot]:
    """Return slots for the literal parts of a wildcard, the most telling ones only."""
    parts = literals(operand)
    if len(parts) == 1:
        yield Slot(Where.TEXTS, parts[0])
        return
    head, *middle, tail = parts
    if head:
        yield Slot(Where.PREFIXES, head, exact=not middle and not tail)
    if tail:
        yield Slot(Where.SUFFIXES, tail, exact=not middle and not head)
    longest = max(middle, key=len, default="")
    length = next((length for length in _WINDOWS if length <= len(longest)), 0)
    if length:
        starts = sorted({0, (len(longest) - length) // 2, len(longest) - length})
        yield from (
            Slot(Where.PARTS, longest[start : start + length], exact=False) for start in starts
        )
