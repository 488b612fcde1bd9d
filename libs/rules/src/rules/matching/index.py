"""The index: patterns under keys, by the type of event that they are for."""

from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

from rules.matching.tree import Bucket, Entry, Posting, Root
from rules.patterns import Pattern

K = TypeVar("K", bound=Hashable)


class Index(Generic[K]):
    """Patterns under keys; a key may have several, for one type or for many.

    Each change touches what it is about and nothing else, so that it takes the same time however
    many patterns there are.
    """

    def __init__(self) -> None:
        self._entries: dict[K, list[tuple[str | None, Entry]]] = {}
        # By type; under None are the patterns for events of every type.
        self._roots: dict[str | None, Root] = {}
        self._weak = 0

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    @property
    def weak(self) -> int:
        """How many patterns only say what a field is not, or whether it is there.

        Most events match such a pattern, or get far with it, so each costs something with every
        event of its type, in contrast to all the others.
        """
        return self._weak

    def put(self, key: K, pattern: Pattern | None, *, event_type: str | None = None) -> None:
        """Add a pattern under a key, for events of one type or, with None, of every type.

        The pattern None is matched by every document.
        """
        entry = Entry(key, pattern)
        root = self._roots.get(event_type)
        if root is None:
            root = self._roots[event_type] = Root()
        root.put(Posting(entry, pattern, ()))
        self._entries.setdefault(key, []).append((event_type, entry))
        self._weak += entry.weak

    def remove(self, key: K) -> None:
        """Remove all patterns under a key; nothing happens when there is none."""
        for event_type, entry in self._entries.pop(key, ()):
            for posting in entry.postings:
                if posting.bucket is not None:
                    posting.bucket.remove(posting)
            self._weak -= entry.weak
            if self._roots[event_type].empty:
                del self._roots[event_type]

    def match(self, event_type: str | None, document: Mapping[str, Any]) -> list[K]:
        """Return the keys of the patterns that match a document, each once, in no order.

        The same keys as if each pattern for the type, and for every type, were asked.
        """
        found: list[Bucket] = []
        loose: list[Bucket] = []
        roots = self._roots
        if event_type in roots:
            root = roots[event_type]
            fields = root.fields
            fields.root.collect(document, found, loose)
            if fields.absent:
                fields.collect_absent(document, found)
            if root.postings:
                found.append(root)
        if None in roots and event_type is not None:
            root = roots[None]
            root.fields.collect(document, found, loose)
            found.append(root)
        keys: list[Any] = []
        # The list grows on the way.
        for bucket in found:
            if bucket.below is not None:
                bucket.below.collect(document, found, loose)
            for posting in bucket.postings:
                check = posting.check
                if check is None or check(document):
                    keys.append(posting.key)
        if loose:
            keys += _of_whole_patterns(document, loose)
        return keys if len(keys) < 2 else list(dict.fromkeys(keys))


def _of_whole_patterns(document: Mapping[str, Any], loose: list[Bucket]) -> list[Any]:
    seen: set[int] = set()
    entries: dict[Entry, None] = {}
    for bucket in loose:
        if id(bucket) not in seen:
            seen.add(id(bucket))
            if bucket.below is not None:
                bucket.below.collect(document, loose, loose)
            entries.update(dict.fromkeys(posting.entry for posting in bucket.postings))
    return [
        entry.key for entry in entries if entry.pattern is None or entry.pattern.matches(document)
    ]
