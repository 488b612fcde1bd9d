"""Finds what belongs to a value, by one kind of matcher each.

Each table maps operands of its kind to items, one item for an operand, and appends to a list the
items whose operand fits a value.
"""

import ipaddress
from bisect import insort
from collections.abc import Hashable, Iterable
from itertools import islice
from typing import Generic, Protocol, TypeVar

from rules.matching.intervals import Intervals
from rules.patterns import Matcher, network

T = TypeVar("T")


class Table(Protocol[T]):
    """What every table does; the operand is of the table's own kind."""

    def __len__(self) -> int: ...

    def get(self, operand: object, /) -> T | None:
        """Return the item of an operand."""

    def add(self, operand: object, item: T, /) -> None:
        """Put an item for an operand that has none."""

    def discard(self, operand: object, /) -> None:
        """Remove an operand."""

    def collect(self, value: object, found: list[T], /) -> None:
        """Append the items of all operands that fit a value."""


class Equal(Generic[T]):
    """By equality."""

    def __init__(self) -> None:
        self.items: dict[Hashable, T] = {}

    def __len__(self) -> int:
        return len(self.items)

    def get(self, operand: Hashable) -> T | None:
        """Return the item of an operand."""
        return self.items.get(operand)

    def add(self, operand: Hashable, item: T) -> None:
        """Put an item for an operand that has none."""
        self.items[operand] = item

    def discard(self, operand: Hashable) -> None:
        """Remove an operand."""
        del self.items[operand]

    def collect(self, value: Hashable, found: list[T]) -> None:
        """Append the item of a value."""
        item = self.items.get(value)
        if item is not None:
            found.append(item)


class _Lengths(Generic[T]):
    """Items by texts, and the lengths of these texts in rising order."""

    def __init__(self) -> None:
        self.items: dict[str, T] = {}
        self.lengths: list[int] = []
        self._counts: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.items)

    def get(self, operand: str) -> T | None:
        """Return the item of a text."""
        return self.items.get(operand)

    def add(self, operand: str, item: T) -> None:
        """Put an item for a text that has none."""
        self.items[operand] = item
        length = len(operand)
        if length not in self._counts:
            insort(self.lengths, length)
        self._counts[length] = self._counts.get(length, 0) + 1

    def discard(self, operand: str) -> None:
        """Remove a text."""
        del self.items[operand]
        length = len(operand)
        self._counts[length] -= 1
        if not self._counts[length]:
            del self._counts[length]
            self.lengths.remove(length)


class Prefixes(_Lengths[T]):
    """By how a text begins."""

    def collect(self, value: str, found: list[T]) -> None:
        """Append the items of all beginnings of a text: one look-up for each length there is."""
        size, get = len(value), self.items.get
        for length in self.lengths:
            if length > size:
                break
            item = get(value[:length])
            if item is not None:
                found.append(item)


class Suffixes(_Lengths[T]):
    """By how a text ends."""

    def collect(self, value: str, found: list[T]) -> None:
        """Append the items of all ends of a text: one look-up for each length there is."""
        size, get = len(value), self.items.get
        for length in self.lengths:
            if length > size:
                break
            item = get(value[size - length :])
            if item is not None:
                found.append(item)


class Parts(_Lengths[T]):
    """By what is somewhere in a text."""

    def __init__(self) -> None:
        super().__init__()
        # How all parts of a length begin: patterns made from one template begin alike.
        self._stems: dict[int, str] = {}

    def add(self, operand: str, item: T) -> None:
        """Put an item for a text that has none."""
        super().add(operand, item)
        length = len(operand)
        self._stems[length] = _common_beginning(operand, self._stems.get(length, operand))

    def discard(self, operand: str) -> None:
        """Remove a text."""
        super().discard(operand)
        if len(operand) not in self._counts:
            del self._stems[len(operand)]

    def collect(self, value: str, found: list[T]) -> None:
        """Append the items of all parts of a text: a look-up for each length at each place."""
        size, items = len(value), self.items
        for length in self.lengths:
            places = size - length + 1
            if places <= 0:
                break
            stem = self._stems[length]
            if stem:
                last = places + len(stem) - 1
                start = value.find(stem, 0, last)
                while start >= 0:
                    item = items.get(value[start : start + length])
                    if item is not None:
                        found.append(item)
                    start = value.find(stem, start + 1, last)
            else:
                parts = map(value.__getitem__, _slices(length, places))
                found += [items[part] for part in filter(items.__contains__, parts)]


def _common_beginning(one: str, other: str) -> str:
    for length, (mine, yours) in enumerate(zip(one, other, strict=False)):
        if mine != yours:
            return one[:length]
    return min(one, other, key=len)


_SLICES: dict[int, tuple[slice, ...]] = {}
_MOST_SLICES = 1024


def _slices(length: int, places: int) -> Iterable[slice]:
    """Return the slices of a length at so many places; making them costs more than the look-up."""
    if places > _MOST_SLICES:
        return (slice(start, start + length) for start in range(places))
    slices = _SLICES.get(length)
    if slices is None:
        slices = tuple(slice(start, start + length) for start in range(_MOST_SLICES))
        _SLICES[length] = slices
    return islice(slices, places)


class Networks(Generic[T]):
    """By the networks that an address is in; a network is named by its text."""

    def __init__(self) -> None:
        self._items: dict[str, T] = {}
        # By IP version and number of leading bits; then by these bits. Several texts name the same.
        self._networks: dict[tuple[int, int], dict[int, dict[str, T]]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def get(self, operand: str) -> T | None:
        """Return the item of a network."""
        return self._items.get(operand)

    def add(self, operand: str, item: T) -> None:
        """Put an item for a network that has none."""
        self._items[operand] = item
        kind, bits = _network(operand)
        self._networks.setdefault(kind, {}).setdefault(bits, {})[operand] = item

    def discard(self, operand: str) -> None:
        """Remove a network."""
        del self._items[operand]
        kind, bits = _network(operand)
        networks = self._networks[kind]
        del networks[bits][operand]
        if not networks[bits]:
            del networks[bits]
            if not networks:
                del self._networks[kind]

    def collect(self, value: str, found: list[T]) -> None:
        """Append the items of all networks that an address is in; one look-up for each length."""
        if not (value[:1].isdigit() or ":" in value):
            return
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return
        version, whole, size = address.version, int(address), address.max_prefixlen
        for (of_version, length), networks in self._networks.items():
            if of_version == version:
                items = networks.get(whole >> (size - length))
                if items is not None:
                    found.extend(items.values())


def _network(text: str) -> tuple[tuple[int, int], int]:
    within = network(text)
    bits = int(within.network_address) >> (within.max_prefixlen - within.prefixlen)
    return (within.version, within.prefixlen), bits


class Asked(Generic[T]):
    """By matchers that are asked one after the other: those that most values fit anyway."""

    def __init__(self) -> None:
        self._items: dict[Matcher, T] = {}

    def __len__(self) -> int:
        return len(self._items)

    def get(self, operand: Matcher) -> T | None:
        """Return the item of a matcher."""
        return self._items.get(operand)

    def add(self, operand: Matcher, item: T) -> None:
        """Put an item for a matcher that has none."""
        self._items[operand] = item

    def discard(self, operand: Matcher) -> None:
        """Remove a matcher."""
        del self._items[operand]

    def collect(self, value: object, found: list[T]) -> None:
        """Append the items of all matchers that hold for a value."""
        found.extend(item for matcher, item in self._items.items() if matcher.holds(value))


__all__ = [
    "Asked", "Equal", "Intervals", "Networks", "Parts", "Prefixes", "Suffixes", "Table",
]  # fmt: skip
