"""What CEL's operators and functions take, over the kinds of values."""

import heapq

from rules.shapes import NUMBERS, Kind, Shape

_SHOWN = 10
COMPARISONS = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_SYMBOLS = {
    **COMPARISONS,
    "_+_": "+",
    "_-_": "-",
    "_*_": "*",
    "_/_": "/",
    "_%_": "%",
    "-_": "-",
    "!_": "!",
    "_&&_": "&&",
    "_||_": "||",
    "_?_:_": "a condition",
}

_TEXT, _BOOL = frozenset({Kind.TEXT}), frozenset({Kind.BOOL})
_TIME, _SPAN = frozenset({Kind.TIME}), frozenset({Kind.TIME, Kind.DURATION})
_TEXTS = (_TEXT, _TEXT)
_TAKEN: dict[str, tuple[frozenset[Kind], ...]] = {
    "_&&_": (_BOOL, _BOOL),
    "_||_": (_BOOL, _BOOL),
    "!_": (_BOOL,),
    "_?_:_": (_BOOL,),
    "-_": (NUMBERS,),
    "size": (frozenset({Kind.TEXT, Kind.BYTES, Kind.LIST, Kind.OBJECT}),),
    "startsWith": _TEXTS,
    "endsWith": _TEXTS,
    "contains": _TEXTS,
    "matches": _TEXTS,
    "int": (NUMBERS | {Kind.TEXT, Kind.BOOL, *_SPAN},),
    "uint": (NUMBERS | {Kind.TEXT, Kind.BOOL},),
    "double": (NUMBERS | _TEXT,),
    "bool": (_BOOL | _TEXT,),
    "string": (frozenset(Kind) - {Kind.NULL, Kind.LIST, Kind.OBJECT, Kind.TYPE},),
    "bytes": (frozenset({Kind.TEXT, Kind.BYTES}),),
    "timestamp": (frozenset({Kind.TEXT, Kind.TIME, Kind.INT}),),
    "duration": (frozenset({Kind.TEXT, Kind.DURATION}),),
    "getFullYear": (_TIME, _TEXT),
    "getMonth": (_TIME, _TEXT),
    "getDate": (_TIME, _TEXT),
    "getDayOfMonth": (_TIME, _TEXT),
    "getDayOfWeek": (_TIME, _TEXT),
    "getDayOfYear": (_TIME, _TEXT),
    "getHours": (_SPAN, _TEXT),
    "getMinutes": (_SPAN, _TEXT),
    "getSeconds": (_SPAN, _TEXT),
    "getMilliseconds": (_SPAN, _TEXT),
}

_ORDERED = (NUMBERS, *(frozenset({k}) for k in Kind if k not in {
    Kind.INT, Kind.DOUBLE, Kind.NULL, Kind.LIST, Kind.OBJECT, Kind.TYPE,
}))  # fmt: skip
_ALIKE = {Kind.DOUBLE: Kind.INT}

_Table = dict[tuple[Kind, Kind], Kind]
_PLUS: _Table = {
    (Kind.INT, Kind.INT): Kind.INT,
    (Kind.DOUBLE, Kind.DOUBLE): Kind.DOUBLE,
    (Kind.TEXT, Kind.TEXT): Kind.TEXT,
    (Kind.BYTES, Kind.BYTES): Kind.BYTES,
    (Kind.LIST, Kind.LIST): Kind.LIST,
    (Kind.TIME, Kind.DURATION): Kind.TIME,
    (Kind.DURATION, Kind.TIME): Kind.TIME,
    (Kind.DURATION, Kind.DURATION): Kind.DURATION,
}
_MINUS: _Table = {
    (Kind.INT, Kind.INT): Kind.INT,
    (Kind.DOUBLE, Kind.DOUBLE): Kind.DOUBLE,
    (Kind.TIME, Kind.TIME): Kind.DURATION,
    (Kind.TIME, Kind.DURATION): Kind.TIME,
    (Kind.DURATION, Kind.DURATION): Kind.DURATION,
}
_TIMES: _Table = {
    (Kind.INT, Kind.INT): Kind.INT,
    (Kind.DOUBLE, Kind.DOUBLE): Kind.DOUBLE,
}
_ARITHMETIC: dict[str, _Table] = {
    "_+_": _PLUS,
    "_-_": _MINUS,
    "_*_": _TIMES,
    "_/_": _TIMES,
    "_%_": {(Kind.INT, Kind.INT): Kind.INT},
}


def spelling(name: str) -> str:
    """Return an operator or a function as authors write it."""
    return _SYMBOLS.get(name) or f"{name}()"


def taken(name: str, position: int) -> frozenset[Kind] | None:
    """Return the kinds that an operator or a function takes there; None when not known here."""
    kinds = _TAKEN.get(name, ())
    return kinds[position] if position < len(kinds) else None


def arithmetic(name: str, one: Shape, other: Shape) -> frozenset[Kind]:
    """Return the kinds that an arithmetic operator can give; none when it always fails."""
    table = _ARITHMETIC[name]
    return frozenset(
        table[pair] for pair in ((a, b) for a in one.kinds for b in other.kinds) if pair in table
    )


def comparable(one: Shape, other: Shape) -> bool:
    """Say whether some value of each can be put in order."""
    return any(one.kinds & alike and other.kinds & alike for alike in _ORDERED)


def never_equal(one: Shape, other: Shape) -> bool:
    """Say whether no value of the one can equal a value of the other.

    A comparison with null is always taken for a question: is it there?
    """
    mine, theirs = _classes(one), _classes(other)
    if not mine or not theirs or {Kind.NULL} in (mine, theirs):
        return False
    both = mine & theirs
    if both == {Kind.TEXT} and one.texts and other.texts:
        return not one.texts & other.texts
    return not both


def as_told(shape: Shape, beside: Shape) -> str:
    """Return what a shape is, by its texts when these are what tells it from the other."""
    if shape.texts and beside.texts and Kind.TEXT in shape.kinds & beside.kinds:
        shown = [repr(text[:40]) for text in heapq.nsmallest(_SHOWN, shape.texts)]
        more = len(shape.texts) - len(shown)
        return " or ".join([*shown, f"{more} more"] if more else shown)
    return str(shape)


def no_comparison(
    name: str, sides: tuple[str, str], left: Shape, right: Shape, *, spelt: tuple[str, str]
) -> str:
    """Return a sentence for two sides that can never be put in order."""
    way = _way(left, right, spelt)
    return f"{sides[0]} and {sides[1]}, which {COMPARISONS[name]} cannot compare{way}"


def no_arithmetic(
    name: str, sides: tuple[str, str], left: Shape, right: Shape, *, spelt: tuple[str, str]
) -> str:
    """Return a sentence for two sides that an operator never takes together."""
    way = _way(left, right, spelt)
    if not way and name == "_+_" and Kind.TEXT in left.kinds | right.kinds:
        i = 1 if Kind.TEXT in left.kinds else 0
        if not (left, right)[i].kinds & {Kind.NULL, Kind.LIST, Kind.OBJECT}:
            way = f"; write string({spelt[i]})"
    return f"{sides[0]} and {sides[1]}, which {_SYMBOLS[name]} does not take together{way}"


def _way(left: Shape, right: Shape, spelt: tuple[str, str]) -> str:
    sides = (left, right)
    for i, j in ((0, 1), (1, 0)):
        mine, theirs = sides[i].kinds, sides[j].kinds
        if Kind.TEXT in mine and Kind.TIME in theirs:
            return f"; write timestamp({spelt[i]})"
        if Kind.TEXT in mine and Kind.DURATION in theirs:
            return f"; write duration({spelt[i]})"
        if mine == {Kind.INT} and theirs == {Kind.DOUBLE}:
            return f"; write double({spelt[i]})"
    return ""


def _classes(shape: Shape) -> frozenset[Kind]:
    return frozenset(_ALIKE.get(kind, kind) for kind in shape.kinds)
