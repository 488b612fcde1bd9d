"""The index finds what asking every pattern would find, whatever comes and goes."""

import random
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import patterns
from rules.matching import Index, tree

NAMES = ("a", "b", "ä")
TYPES = ("t", "u")
KEYS = 30
# Few and alike, so that they meet; what Python takes for equal and JSON does not; and folding.
TEXTS = ("", "x", "y", "xy", "yx", "xyx", "xyxy", "xxyy", "ß", "SS", "xß", "straße", "STRASSE", "1")
NUMBERS = (
    *(0, 1, 2, 3, -1, -2, 0.5, -0.0, 1.0, 1.5, -1.5, 1e-300, 1e300, 10**400, -(10**400)),
    *(2**53, 2.0**53, 2**53 + 1, 2**53 + 2, 2**53 + 3, -(2**60) - 1, -(2**60) - 2),
)
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.9.0.1", "::1", "::2", "::3")
NETWORKS = ("10.0.0.0/8", "10.0.0.0/31", "10.0.0.1", "::/0", "::2/127", "10.0.0.7/8", "0.0.0.0/0")
PLAIN = (*TEXTS, *NUMBERS, *ADDRESSES, True, False, None)
WILDCARDS = ("*", "x*", "*x", "x*y", "*x*", "xy*x", "*xy*x", "x*x*", "*yx*", "xx*yy", "x", "ß*")


class Chance:
    """Draws patterns, and documents that they match or nearly match."""

    def __init__(self, source: random.Random) -> None:
        self.one = source.choice
        self.yes = lambda odds=0.5: source.random() < odds
        self.some = lambda of, most=3: [source.choice(of) for _ in range(source.randint(1, most))]

    def range(self) -> list[Any]:
        low, high = sorted(self.some(NUMBERS, 1) + self.some(NUMBERS, 1))
        if low == high or self.yes(0.4):
            return [self.one(["<", "<=", ">", ">=", "="]), low]
        return [self.one([">", ">="]), low, self.one(["<", "<="]), high]

    def alternative(self) -> Any:  # noqa: PLR0911 - one for each kind
        folded = {"equals-ignore-case": self.one(TEXTS)}
        text = self.one([self.one(TEXTS), folded])
        match self.one("====pswnnne!c?"):
            case "=":
                return self.one(PLAIN)
            case "p":
                return {"prefix": text}
            case "s":
                return {"suffix": text}
            case "w":
                return {"wildcard": self.one(WILDCARDS)}
            case "n":
                return {"numeric": self.range()}
            case "e":
                return folded
            case "c":
                return {"cidr": self.one(NETWORKS)}
            case "?":
                return {"exists": self.yes()}
            case _:
                return {"anything-but": self.refused()}

    def refused(self) -> Any:
        full = TEXTS[1:]
        return self.one(
            [
                *(self.some(TEXTS), self.some(NUMBERS), {"prefix": self.some(full)}),
                *({"suffix": self.some(full)}, {"equals-ignore-case": self.some(TEXTS)}),
                {"wildcard": self.some(WILDCARDS)},
            ]
        )

    def pattern(self, depth: int = 0) -> dict[str, Any]:
        pattern: dict[str, Any] = {
            name: self.pattern(depth + 1)
            if depth < 3 and self.yes(0.4)
            else [self.alternative() for _ in self.some("x", 2)]
            for name in self.some(NAMES, 2)
        }
        if depth < 3 and self.yes(0.2):
            pattern["$or"] = [self.pattern(depth + 1) for _ in range(self.one([2, 3]))]
        return pattern

    def value(self, depth: int = 0) -> Any:
        if depth > 2 or self.yes(0.6):
            return self.one(PLAIN)
        if self.yes():
            return [self.value(depth + 1) for _ in range(self.one([0, 1, 2]))]
        return self.document(depth + 1)

    def document(self, depth: int = 0) -> dict[str, Any]:
        return {name: self.value(depth + 1) for name in self.some(NAMES)}

    def like(self, pattern: dict[str, Any]) -> dict[str, Any]:
        """Return a document that matches, nearly, or only by several elements together."""
        document: dict[str, Any] = {}
        for name, expected in pattern.items():
            if name == "$or":
                document.update(self.like(self.one(expected)))
            elif isinstance(expected, dict):
                below = self.like(expected)
                parts = [{key: value} for key, value in below.items()]
                document[name] = self.one(
                    [below, below, [below], parts, [parts, 1], [self.value(), below]]
                )
            else:
                value = self.fitting(self.one(expected))
                document[name] = self.one([value, value, [value], [self.value(), [value]]])
        if self.yes(0.1):
            document.pop(self.one(list(document)))
        return document

    def fitting(self, alternative: Any) -> Any:  # noqa: PLR0911 - one for each kind
        if not isinstance(alternative, dict):
            return alternative
        [(name, operand)] = alternative.items()
        match name, operand:
            case "prefix" | "suffix", dict():
                return self.fitting(operand)
            case "prefix", str():
                return operand + self.one(["", "x", "yx"])
            case "suffix", str():
                return self.one(["", "x", "yx"]) + operand
            case "equals-ignore-case", str():
                return self.one([operand.upper(), operand.lower()])
            case "wildcard", str():
                return operand.replace("*", self.one(["", "x", "yx"]))
            case "numeric", list():
                return self.one([operand[1], operand[-1], *NUMBERS])
            case "cidr", str():
                return self.one(ADDRESSES)
            case _:
                return self.one(PLAIN)


@pytest.mark.parametrize("limit", [1, tree.LIMIT])
def test_what_is_found_is_what_matches(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # With a small limit, patterns that agree in one value are told apart by another at once.
    monkeypatch.setattr(tree, "LIMIT", limit)

    @settings(deadline=None, max_examples=150)
    @given(st.randoms(use_true_random=True))
    def hold(source: random.Random) -> None:
        chance = Chance(source)
        index: Index[int] = Index()
        kept: list[tuple[int, str | None, dict[str, Any] | None, patterns.Pattern | None]] = []
        for _ in range(source.randint(1, 40)):
            key = source.randrange(KEYS)
            if chance.yes(0.25):
                index.remove(key)
                kept = [one for one in kept if one[0] != key]
            else:
                written = chance.pattern() if chance.yes(0.98) else None
                pattern = patterns.compile(written) if written is not None else None
                event_type = chance.one([None, "t", "t", "u"])
                index.put(key, pattern, event_type=event_type)
                kept.append((key, event_type, written, pattern))
            document = chance.document()
            if kept and (written := source.choice(kept)[2]) is not None:
                document = chance.like(written)
            for event_type in TYPES:
                expected = {
                    key
                    for key, of_type, _, pattern in kept
                    if of_type in (None, event_type)
                    and (pattern is None or pattern.matches(document))
                }
                assert sorted(index.match(event_type, document)) == sorted(expected), (
                    document,
                    [
                        one[:3]
                        for one in kept
                        if (one[0] in expected) != (one[0] in index.match(event_type, document))
                    ],
                )
        assert len(index) == len(kept)
        for key in range(KEYS):
            index.remove(key)
        assert (len(index), index.weak, index._roots) == (0, 0, {})

    hold()


def index_of(*sources: Any) -> Index[int]:
    index: Index[int] = Index()
    for key, source in enumerate(sources):
        index.put(key, patterns.compile(source), event_type="t")
    return index


def test_a_key_is_found_once_for_several_patterns_and_several_values() -> None:
    index = index_of({"a": ["x", {"prefix": "x"}]})
    index.put(0, patterns.compile({"b": ["y"]}), event_type="t")
    assert index.match("t", {"a": ["x", "xy"], "b": "y"}) == [0]


def test_a_pattern_is_for_its_type_and_one_without_is_for_all() -> None:
    index = index_of({"a": ["x"]})
    index.put(1, patterns.compile({"a": ["x"]}))
    index.put(2, None)
    assert sorted(index.match("t", {"a": "x"})) == [0, 1, 2]
    assert sorted(index.match("u", {"a": "x"})) == [1, 2]
    assert index.match(None, {}) == [2]


def test_what_is_removed_is_not_found_and_can_come_again() -> None:
    index = index_of({"a": ["x"]}, {"a": ["x"]})
    index.remove(0)
    index.remove(0)
    assert (index.match("t", {"a": "x"}), 0 in index, 1 in index) == ([1], False, True)
    index.put(0, patterns.compile({"a": ["y"]}), event_type="t")
    assert index.match("t", {"a": "y"}) == [0]


def test_patterns_that_nothing_tells_apart_are_kept_and_found() -> None:
    names = [f"f{i}" for i in range(400)]
    alike = {name: ["x"] for name in names}
    index = index_of(*[alike] * 30)
    assert sorted(index.match("t", dict.fromkeys(names, "x"))) == list(range(30))
    for key in range(30):
        index.remove(key)
    assert index._roots == {}


def test_values_that_no_parser_of_json_makes_are_taken_as_patterns_take_them() -> None:
    class Text(str):
        __slots__ = ()

    index = index_of(
        {"a": ["x"]},
        {"a": [True]},
        {"a": [1]},
        {"a": [{"anything-but": "x"}]},
        {"a": [{"exists": True}]},
        {"a": {"b": ["x"]}},
    )
    assert sorted(index.match("t", {"a": Text("x")})) == [0, 4]
    assert sorted(index.match("t", {"a": Decimal(1)})) == [3, 4]
    assert sorted(index.match("t", {"a": ("x", 1)})) == [0, 2, 3, 4]
    assert index.match("t", MappingProxyType({"a": MappingProxyType({"b": "x"})})) == [5]


@pytest.mark.parametrize(
    ("source", "weak"),
    [
        ({"a": [{"exists": True}]}, 1),
        ({"a": [{"exists": False}]}, 1),
        ({"a": [{"anything-but": "x"}]}, 1),
        ({"a": ["x", {"exists": False}]}, 1),
        ({"a": [{"anything-but": "x"}], "b": [{"wildcard": "*x*"}]}, 0),
        ({"$or": [{"a": ["x"]}, {"b": [{"exists": True}]}]}, 1),
        ({"$or": [{"a": ["x"]}, {"b": ["y"]}]}, 0),
        ({"a": [f"x{i}" for i in range(1000)]}, 0),
    ],
)
def test_patterns_that_tell_little_are_counted(source: Any, weak: int) -> None:
    index = index_of(source)
    assert index.weak == weak
    index.remove(0)
    assert index.weak == 0


def looked_at(index: Index[int], document: dict[str, Any]) -> int:
    """Return how many postings a search looks at."""
    found: list[Any] = [index._roots["t"]]
    loose: list[Any] = []
    found[0].fields.collect(document, found, loose)
    for bucket in found:
        bucket.below and bucket.below.collect(document, found, loose)
    return sum(len(bucket.postings) for bucket in (*found, *loose))


@pytest.mark.parametrize(
    "source",
    [
        lambda i: {"a": [f"x{i}"]},
        lambda i: {"a": [i]},
        lambda i: {"b": [{"numeric": [">=", i, "<", i + 1]}]},
        lambda i: {"b": [{"numeric": [">", i - 3, "<=", i]}]},
        lambda i: {"a": ["same"], "b": [{"numeric": [">=", i, "<", i + 1]}]},
        lambda i: {"a": [{"prefix": f"x{i}/"}]},
        lambda i: {"a": [{"suffix": f"/{i}"}]},
        lambda i: {"a": [{"prefix": {"equals-ignore-case": f"X{i}/"}}]},
        lambda i: {"a": [{"equals-ignore-case": f"X{i}"}]},
        lambda i: {"a": [{"wildcard": f"x{i}*end"}]},
        lambda i: {"a": [{"wildcard": f"*-{i}-*"}]},
        lambda i: {"a": [{"wildcard": f"*x/y-{i}/z*"}]},
        lambda i: {"a": [{"wildcard": f"the same beginning/*/{i}"}]},
        lambda i: {"a": [{"cidr": f"10.{i // 256}.{i % 256}.0/24"}]},
        lambda i: {f"f{i}": [{"exists": True}]},
        lambda i: {f"f{i}": [{"anything-but": "y"}]},
        lambda i: {"c": [{"anything-but": "x"}], "a": [f"x{i}"]},
        lambda _: {"c": [{"exists": False}]},
        lambda _: {"c": [{"anything-but": ["x", "y"]}]},
        lambda i: {"$or": [{"a": [f"x{i}"]}, {"b": [{"numeric": ["=", i]}]}]},
        # No one field tells them apart, only both together.
        lambda i: {"a": [f"x{i % 40}"], "b": [i // 40]},
        lambda i: {"a": [f"x{i % 40}"], "b": [{"numeric": [">=", i // 40, "<", i // 40 + 1]}]},
        lambda i: {"a": {"k": [f"x{i % 40}"]}, "$or": [{"b": [i // 40]}, {"b": [f"{i // 40}"]}]},
    ],
)
def test_few_patterns_are_looked_at_however_many_there_are(source: Any) -> None:
    documents = [
        {"a": a, "b": 7.5 if b is None else b, "c": "x", "f7": "x"}
        for a in ("x7", "x7/y/7", "X7/", "x7 end", "a-7-b", "x/y-7/z", "10.0.7.1", 7)
        for b in (7, None)
    ]
    documents += [{"a": {"k": "x7"}, "b": 7, "c": "x"}]
    few, many = index_of(*map(source, range(160))), index_of(*map(source, range(1600)))
    for document in documents:
        assert sorted(few.match("t", document)) == [
            key for key in sorted(many.match("t", document)) if key < 160
        ]
        matched = len(many.match("t", document))
        assert looked_at(many, document) <= 12 + 4 * matched
