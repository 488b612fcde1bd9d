"""Keeps patterns where a document finds them.

`Fields` has a table for each path and kind of value. What is found there is a `Bucket` of postings,
each with what is left to check of its pattern. A bucket that grows gets fields of its own, for
another value of its patterns: patterns that agree in one field are told apart by the next. Where a
pattern is put is decided when it comes, by which of its values the fewest patterns share by then.
"""

from collections.abc import Hashable, Mapping
from typing import Any

from rules.matching import accesses, tables
from rules.matching.accesses import WEAK, Access, Path, Slot, Term, Where
from rules.matching.conditions import Condition, condition
from rules.matching.tables import Table
from rules.patterns import MISSING, Pattern, elements

LIMIT = 8
"""Postings in a bucket before it is given fields of its own."""
_MOST_TERMS = 16  # of one access, below a bucket: each is a posting more
_FEW = 16  # names that are looked for in a document; of more, the document's are looked for
_DEEPEST = 6  # buckets below one another: what these do not tell apart is alike

_TABLES: dict[Where, type[Any]] = {
    Where.TEXTS: tables.Equal,
    Where.NUMBERS: tables.Equal,
    Where.CONSTANTS: tables.Equal,
    Where.FOLDED: tables.Equal,
    Where.PREFIXES: tables.Prefixes,
    Where.SUFFIXES: tables.Suffixes,
    Where.FOLDED_PREFIXES: tables.Prefixes,
    Where.FOLDED_SUFFIXES: tables.Suffixes,
    Where.PARTS: tables.Parts,
    Where.RANGES: tables.Intervals,
    Where.NETWORKS: tables.Networks,
    Where.ASKED: tables.Asked,
}
_OF_FOLDED_TEXT = (Where.FOLDED, Where.FOLDED_PREFIXES, Where.FOLDED_SUFFIXES)
_OF_TEXT = (Where.PREFIXES, Where.SUFFIXES, Where.PARTS, Where.NETWORKS, Where.ASKED)
_OF_NUMBER = (Where.RANGES, Where.ASKED)
_OF_CONSTANT = (Where.CONSTANTS, Where.ASKED)


class Entry:
    """One pattern of one key, None for one that every document matches, and its postings."""

    __slots__ = ("key", "pattern", "postings", "weak")

    def __init__(self, key: Hashable, pattern: Pattern | None) -> None:
        self.key = key
        self.pattern = pattern
        self.postings: list[Posting] = []
        self.weak = False


class Posting:
    """An entry in a bucket: `rest` is left to check, by `check`; `spent` led to the bucket."""

    __slots__ = ("bucket", "check", "entry", "key", "rest", "spent")

    def __init__(
        self, entry: Entry, rest: Pattern | None, spent: tuple[tuple[Path, Any], ...]
    ) -> None:
        self.entry = entry
        self.key = entry.key
        self.rest = rest
        self.spent = spent
        self.check: Condition | None = None
        self.bucket: Bucket | None = None


class Bucket:
    """What is found by one value: postings, and fields for those that another value finds."""

    __slots__ = ("below", "owner", "path", "postings", "slot")

    def __init__(self, owner: "Fields | None", path: Path, slot: Slot | None) -> None:
        self.owner = owner
        self.path = path
        self.slot = slot
        self.postings: list[Posting] = []
        self.below: Fields | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing can be found here."""
        return not self.postings and (self.below is None or self.below.empty)

    @property
    def cost(self) -> int:
        """How many postings are looked at by whoever comes here, about."""
        return len(self.postings) + (0 if self.below is None else LIMIT)

    def put(self, posting: Posting) -> None:
        """Keep a posting, here or in the fields below."""
        if self.below is not None and self.below.place(posting, below=True):
            return
        self._keep(posting)
        if len(self.postings) > LIMIT and self.below is None:
            self._split()

    def remove(self, posting: Posting) -> None:
        """Remove a posting that is here, and all that is empty without it."""
        self.postings.remove(posting)
        bucket: Bucket | None = self
        while bucket is not None and bucket.empty and bucket.owner is not None:
            bucket.owner.discard(bucket)
            bucket = bucket.owner.bucket

    def _keep(self, posting: Posting) -> None:
        posting.bucket = self
        posting.check = condition(posting.rest)
        posting.entry.postings.append(posting)
        self.postings.append(posting)

    def _split(self) -> None:
        # Once: what cannot be told apart stays, and is not tried again with each that comes.
        self.below = Fields(self)
        stay = []
        for posting in self.postings:
            if self.below.place(posting, below=True):
                posting.entry.postings.remove(posting)
            else:
                stay.append(posting)
        self.postings = stay


class Root(Bucket):
    """Where every search begins; what no value finds is looked at in every search."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        super().__init__(None, (), None)
        self.fields = Fields(self)

    @property
    def empty(self) -> bool:
        """Whether nothing can be found from here."""
        return not self.postings and self.fields.empty

    def put(self, posting: Posting) -> None:
        """Keep a posting in the fields, by the best access it has."""
        if not self.fields.place(posting, below=False):
            self._keep(posting)


class _Field:
    """One name of a path: the tables of its values, and the names below it."""

    __slots__ = ("children", "few", "numbers", "of_constant", "of_folded", "of_number", "of_text",
                 "only_equal", "tables", "texts")  # fmt: skip

    def __init__(self) -> None:
        self.children: dict[str, _Field] = {}
        # The children, when so few that each is looked for in every document.
        self.few: tuple[tuple[str, _Field], ...] | None = ()
        self.tables: dict[Where, Table[Bucket]] = {}
        self.arrange()

    def child(self, name: str) -> "_Field":
        """Return what is below, by its name; it is made when it is not there."""
        child = self.children.get(name)
        if child is None:
            child = self.children[name] = _Field()
            self._count()
        return child

    def drop(self, name: str) -> None:
        """Remove what is below, by its name."""
        del self.children[name]
        self._count()

    def _count(self) -> None:
        self.few = tuple(self.children.items()) if len(self.children) <= _FEW else None

    def arrange(self) -> None:
        """Lay the tables out by the type of value that they are for."""
        there = self.tables
        self.texts: dict[Any, Bucket] = _items(there.get(Where.TEXTS))
        self.numbers: dict[Any, Bucket] = _items(there.get(Where.NUMBERS))
        self.of_text = tuple(there[where].collect for where in _OF_TEXT if where in there)
        self.of_folded = tuple(there[where].collect for where in _OF_FOLDED_TEXT if where in there)
        self.only_equal = not self.of_text and not self.of_folded
        self.of_number = tuple(there[where].collect for where in _OF_NUMBER if where in there)
        self.of_constant = tuple(there[where].collect for where in _OF_CONSTANT if where in there)

    def collect(
        self, document: Mapping[str, Any], found: list[Bucket], loose: list[Bucket]
    ) -> None:
        """Append the buckets that the fields of an object lead to.

        Every event goes through here, so most values are dealt with at once, without `take`.
        """
        few = self.few
        if few is None:
            children = self.children
            few = tuple((name, children[name]) for name in document if name in children)
        for name, child in few:
            value = document.get(name, MISSING)
            kind = type(value)
            if kind is dict:
                if child.children:
                    child.collect(value, found, loose)
            elif kind is str:
                texts = child.texts
                if value in texts:
                    found.append(texts[value])
                if not child.only_equal:
                    child.take_text(value, found)
            elif kind is float or kind is int:
                if value in child.numbers:
                    found.append(child.numbers[value])
                for collect in child.of_number:
                    collect(value, found)
            elif value is not MISSING:
                child.take(value, found, loose)

    def take(self, value: Any, found: list[Bucket], loose: list[Bucket]) -> None:
        """Append the buckets that a value leads to."""
        kind = type(value)
        if kind is str:
            if value in self.texts:
                found.append(self.texts[value])
            self.take_text(value, found)
        elif kind is dict:
            if self.children:
                self.collect(value, found, loose)
        elif kind is int or kind is float:
            if value in self.numbers:
                found.append(self.numbers[value])
            for collect in self.of_number:
                collect(value, found)
        elif kind is bool or value is None:
            for collect in self.of_constant:
                collect(value, found)
        else:
            self._take_other(value, found, loose)

    def take_text(self, value: str, found: list[Bucket]) -> None:
        """Append the buckets that a text leads to in other ways than by equality."""
        for collect in self.of_text:
            collect(value, found)
        if self.of_folded:
            folded = value.casefold()
            for collect in self.of_folded:
                collect(folded, found)

    def _take_other(self, value: Any, found: list[Bucket], loose: list[Bucket]) -> None:
        """Take an array, or what no parser of JSON makes but `Pattern.matches` knows as well."""
        if isinstance(value, list | tuple):
            # Fields of one object pattern come from one element, so that what is found in one
            # says nothing of the others.
            leaves: list[Bucket] = []
            for item in elements(value):
                if isinstance(item, Mapping):
                    if self.children:
                        self.collect(item, loose, loose)
                else:
                    self.take(item, leaves, loose)
            found.extend(dict.fromkeys(leaves))
        elif isinstance(value, Mapping):
            self.collect(value, found, loose)
        else:
            for plain in (str, int, float):
                if isinstance(value, plain):
                    self.take(plain(value), found, loose)
                    return
            if Where.ASKED in self.tables:
                self.tables[Where.ASKED].collect(value, found)


class Fields:
    """Buckets by path and value, below a bucket."""

    __slots__ = ("absent", "bucket", "root")

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.root = _Field()
        self.absent: dict[Path, Bucket] = {}

    @property
    def empty(self) -> bool:
        """Whether no bucket is here."""
        return not self.root.children and not self.absent

    def collect(
        self, document: Mapping[str, Any], found: list[Bucket], loose: list[Bucket]
    ) -> None:
        """Append the buckets that a document leads to.

        `found` is for those whose postings have only their rest to check, `loose` for those whose
        whole pattern has to be, since the values were in objects of an array.
        """
        self.root.collect(document, found, loose)
        if self.absent:
            self.collect_absent(document, found)

    def collect_absent(self, document: Mapping[str, Any], found: list[Bucket]) -> None:
        """Append the buckets of what a document lacks."""
        found += [bucket for path, bucket in self.absent.items() if _may_lack(document, path)]

    def place(self, posting: Posting, *, below: bool) -> bool:
        """Put a posting by the access that fewest share; say whether there was one.

        Below a bucket, only by one that tells it apart for certain.
        """
        if posting.rest is None or len(posting.spent) >= _DEEPEST:
            return False
        best: Access | None = None
        least = WEAK if below else 0
        for access in accesses.accesses(posting.rest):
            if access.place in posting.spent or (below and len(access.terms) > _MOST_TERMS):
                continue
            cost = sum(1 + min(map(self._cost, _of(term))) for term in access.terms)
            if cost < least or (best is None and not below):
                best, least = access, cost
        if best is None:
            return False
        spent = (*posting.spent, best.place)
        rest = accesses.without(posting.rest, best.place) if best.complete else posting.rest
        for term in best.terms:
            slot = min(term.slots, key=lambda slot: self._cost((term.path, slot)))
            left = rest if slot.exact else posting.rest
            posting.entry.weak |= slot.where in (Where.ASKED, Where.ABSENT)
            self._bucket(term.path, slot).put(Posting(posting.entry, left, spent))
        return True

    def discard(self, bucket: Bucket) -> None:
        """Forget a bucket that is empty."""
        slot = bucket.slot
        assert slot is not None  # noqa: S101 - for the type checker
        if slot.where is Where.ABSENT:
            del self.absent[bucket.path]
            return
        fields = [self.root]
        for name in bucket.path:
            fields.append(fields[-1].children[name])
        field = fields[-1]
        field.tables[slot.where].discard(slot.operand)
        if not field.tables[slot.where]:
            del field.tables[slot.where]
            field.arrange()
        for parent, name in zip(reversed(fields[:-1]), reversed(bucket.path), strict=True):
            child = parent.children[name]
            if child.tables or child.children:
                break
            parent.drop(name)

    def _cost(self, at: tuple[Path, Slot]) -> int:
        path, slot = at
        if slot.where is Where.ABSENT:
            return slot.cost
        field: _Field | None = self.root
        for name in path:
            field = field.children.get(name) if field is not None else None
        table = field.tables.get(slot.where) if field is not None else None
        if table is None:
            return slot.cost
        if isinstance(table, tables.Intervals):
            return slot.cost + table.count(slot.operand)
        bucket = table.get(slot.operand)
        return slot.cost + (bucket.cost if bucket is not None else 0)

    def _bucket(self, path: Path, slot: Slot) -> Bucket:
        if slot.where is Where.ABSENT:
            if path not in self.absent:
                self.absent[path] = Bucket(self, path, slot)
            return self.absent[path]
        field = self.root
        for name in path:
            field = field.child(name)
        table = field.tables.get(slot.where)
        if table is None:
            table = field.tables[slot.where] = _TABLES[slot.where]()
            field.arrange()
        bucket = table.get(slot.operand)
        if bucket is None:
            bucket = Bucket(self, path, slot)
            table.add(slot.operand, bucket)
        return bucket


def _of(term: Term) -> list[tuple[Path, Slot]]:
    return [(term.path, slot) for slot in term.slots]


def _items(table: Table[Bucket] | None) -> dict[Any, Bucket]:
    return table.items if isinstance(table, tables.Equal) else {}


def _may_lack(document: Mapping[str, Any], path: Path) -> bool:
    value: Any = document
    for name in path:
        if not isinstance(value, Mapping):
            # In an array, one of the elements may lack it.
            return True
        value = value.get(name, MISSING)
    return value is MISSING or isinstance(value, Mapping | list | tuple)
