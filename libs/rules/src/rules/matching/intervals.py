"""Which of many ranges hold a number; ranges come and go one at a time.

Doubles are mapped to whole numbers of 64 bits in the same order. A range is kept at the shortest
block, of 2^n numbers that begin at a multiple of 2^n, that holds both its ends. So a number is in
one block of each size, and ranges of its block reach over the block's middle: those that begin
before a number left of the middle hold it, and those that end after a number right of it. Each
block has its ranges by beginning and by end, so what is read is what holds the number.

Most ranges that people write are bands side by side. Of bands, only the last that begins before a
number can hold it: a range is kept as a band as long as it overlaps none.
"""

import math
import struct
from array import array
from bisect import bisect_left, bisect_right
from typing import Generic, TypeVar

from rules.patterns import Range

T = TypeVar("T")

_DOUBLE, _WHOLE = struct.Struct("<d"), struct.Struct("<Q")
_SIGN, _ALL = 1 << 63, (1 << 64) - 1


def double(number: float) -> float:
    """Return the double next to a number."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def position(number: float) -> int:
    """Return where a number is among all doubles; the lesser number is never behind."""
    # With 0.0 added, -0.0 is 0.0.
    (bits,) = _WHOLE.unpack(_DOUBLE.pack(double(number) + 0.0))
    return bits ^ _ALL if bits & _SIGN else bits | _SIGN  # type: ignore[no-any-return]


class _Ends(Generic[T]):
    """Ends of ranges in order, and what each belongs to.

    An end is its number and 1 when it comes just after the number, as an open beginning or a
    closed end does, else 0.
    """

    __slots__ = ("ends", "items")

    def __init__(self) -> None:
        self.ends: list[tuple[float, int]] = []
        self.items: list[T] = []

    def add(self, end: tuple[float, int], item: T) -> None:
        index = bisect_left(self.ends, end)
        self.ends.insert(index, end)
        self.items.insert(index, item)

    def discard(self, end: tuple[float, int], item: T) -> None:
        index = bisect_left(self.ends, end)
        while self.items[index] is not item:
            index += 1
        del self.ends[index], self.items[index]


class _Block(Generic[T]):
    """The ranges of one block, by beginning and by end."""

    __slots__ = ("highs", "lows")

    def __init__(self) -> None:
        self.lows: _Ends[T] = _Ends()
        self.highs: _Ends[T] = _Ends()


class _Bands(Generic[T]):
    """Ranges of which no two overlap, in order; their beginnings are different doubles."""

    __slots__ = ("highs", "items", "lows", "ranges")

    def __init__(self) -> None:
        # Not lists: a search would visit objects all over the memory.
        self.lows = array("d")
        self.highs = array("d")
        self.ranges: list[Range] = []
        self.items: list[T] = []

    def add(self, range_: Range, item: T) -> bool:
        """Put a range, unless it overlaps one, and say whether it was put."""
        low = double(range_.low or 0)
        index = bisect_left(self.lows, low)
        if index and _reaches(self.ranges[index - 1], range_):
            return False
        if index < len(self.lows) and (
            self.lows[index] == low or _reaches(range_, self.ranges[index])
        ):
            return False
        self.lows.insert(index, low)
        self.highs.insert(index, double(range_.high or 0))
        self.ranges.insert(index, range_)
        self.items.insert(index, item)
        return True

    def discard(self, range_: Range) -> bool:
        """Remove a range, and say whether it was here."""
        index = bisect_left(self.lows, double(range_.low or 0))
        if index == len(self.ranges) or self.ranges[index] != range_:
            return False
        del self.lows[index], self.highs[index], self.ranges[index], self.items[index]
        return True

    def at_an_end(self, number: float, index: int) -> T | None:
        """Return the item of the range that holds a number, one that is the beginning or end of it.

        `index` is that of the last range that does not begin after the number's double.
        """
        if self.ranges[index].holds(number):
            return self.items[index]
        # It may begin just after the number, where another ends.
        if index and self.ranges[index - 1].holds(number):
            return self.items[index - 1]
        return None


class Intervals(Generic[T]):
    """A map from ranges to items, that is asked for the items of all ranges that hold a number."""

    def __init__(self) -> None:
        self._items: dict[Range, T] = {}
        self._from: _Ends[T] = _Ends()  # the ranges without an end
        self._until: _Ends[T] = _Ends()  # the ranges without a beginning
        self._bands: _Bands[T] = _Bands()
        # By the size of a block as a power of two; then by the position of the block in blocks.
        self._blocks: dict[int, dict[int, _Block[T]]] = {}
        # Ranges between two whole numbers that are the same double.
        self._narrow: dict[int, dict[Range, T]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def get(self, range_: Range) -> T | None:
        """Return the item of a range."""
        return self._items.get(range_)

    def add(self, range_: Range, item: T) -> None:
        """Put an item for a range that has none."""
        self._items[range_] = item
        if range_.low is None:
            self._until.add(_high(range_), item)
        elif range_.high is None:
            self._from.add(_low(range_), item)
        elif not self._bands.add(range_, item):
            size, index = _block(range_.low, range_.high)
            if size == 0:
                self._narrow.setdefault(index, {})[range_] = item
                return
            block = self._blocks.setdefault(size, {}).setdefault(index, _Block())
            block.lows.add(_low(range_), item)
            block.highs.add(_high(range_), item)

    def discard(self, range_: Range) -> None:
        """Remove a range."""
        item = self._items.pop(range_)
        if range_.low is None:
            self._until.discard(_high(range_), item)
        elif range_.high is None:
            self._from.discard(_low(range_), item)
        elif not self._bands.discard(range_):
            size, index = _block(range_.low, range_.high)
            if size == 0:
                del self._narrow[index][range_]
                if not self._narrow[index]:
                    del self._narrow[index]
                return
            blocks = self._blocks[size]
            block = blocks[index]
            block.lows.discard(_low(range_), item)
            block.highs.discard(_high(range_), item)
            if not block.lows.items:
                del blocks[index]
                if not blocks:
                    del self._blocks[size]

    def collect(self, number: float, found: list[T]) -> None:
        """Append the items of the ranges that hold a number."""
        bands = self._bands
        at = number if type(number) is float else double(number)
        index = bisect_right(bands.lows, at) - 1
        if index >= 0:
            low, high = bands.lows[index], bands.highs[index]
            # What is between the doubles of two numbers is between the numbers.
            if low < at < high:
                found.append(bands.items[index])
            elif at <= high and (item := bands.at_an_end(number, index)) is not None:
                found.append(item)
        if len(bands.items) < len(self._items):
            self._collect_others(number, found)

    def _collect_others(self, number: float, found: list[T]) -> None:
        if number != number:  # noqa: PLR0124 - NaN, which no range holds
            return
        if self._from.items:
            found += self._from.items[: bisect_right(self._from.ends, (number, 0))]
        if self._until.items:
            found += self._until.items[bisect_left(self._until.ends, (number, 1)) :]
        if not self._blocks and not self._narrow:
            return
        at = position(number)
        for size, blocks in self._blocks.items():
            block = blocks.get(at >> size)
            if block is not None:
                if at >> (size - 1) & 1:
                    ends = block.highs
                    found += ends.items[bisect_left(ends.ends, (number, 1)) :]
                else:
                    ends = block.lows
                    found += ends.items[: bisect_right(ends.ends, (number, 0))]
        if self._narrow and at in self._narrow:
            found += [item for range_, item in self._narrow[at].items() if range_.holds(number)]

    def count(self, range_: Range) -> int:
        """Return how many ranges hold a number that is typical of a range."""
        if range_.low is None or range_.high is None:
            number = range_.low if range_.low is not None else range_.high
        else:
            try:
                number = range_.low / 2 + range_.high / 2
            except OverflowError:
                number = range_.low
        found: list[T] = []
        self.collect(number or 0, found)
        return len(found)


def _low(range_: Range) -> tuple[float, int]:
    assert range_.low is not None  # noqa: S101 - for the type checker
    return range_.low, 0 if range_.low_included else 1


def _high(range_: Range) -> tuple[float, int]:
    assert range_.high is not None  # noqa: S101 - for the type checker
    return range_.high, 1 if range_.high_included else 0


def _reaches(range_: Range, other: Range) -> bool:
    """Say whether a range overlaps another one that begins no earlier."""
    high, after = _high(range_)
    low, open_ = _low(other)
    return high > low or (high == low and bool(after) and not open_)


def _block(low: float, high: float) -> tuple[int, int]:
    first, last = position(low), position(high)
    size = (first ^ last).bit_length()
    return size, first >> size
