"""CEL expressions: compiled with limits, evaluated to plain JSON values; an error is always raised.

The library hands errors over as values, and they are truthy: `bool(result)` of a missing field is
True. Nothing outside this module touches it, so that an error can never pass for a match.
"""

import base64
import difflib
import functools
import math
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from cel_expr_python import cel

from contracts import identifiers
from rules import syntax
from rules.errors import ExpressionError

MAX_LENGTH = 2000
"""Characters of one expression."""
MAX_ADDITIONS = 31
"""`+` in one expression: bounds how far concatenation can grow its inputs."""
MAX_LOOPS_DEEP = 3
"""Macros (`map`, `filter`, `all`, `exists`) within or after one another, as `xs.filter().map()`."""
MAX_DEPTH = 64
"""Levels of lists and maps, in inputs and in results."""
MAX_RESULT_NODES = 100_000
"""Values in a result; a result can be far larger than what it was made from."""
MAX_RESULT_TEXT = 1024 * 1024
"""Characters in a result."""

_INT64 = 2**63
_EXPLAINED = 20_000
"""Characters of a compiler's answer that are looked at."""
_NAMED = 20
"""Names that a message lists."""
_COMPARED = 300
"""Names that a name is compared with."""
_UNDECLARED = re.compile(r"(?<!\d)(?P<column>\d+): undeclared reference to '(?P<name>[^']+)'")
_COMPILE_ERROR = re.compile(r"ERROR: <input>:(?P<line>-?\d+):(?P<column>-?\d+): (?P<what>[^\n]*)")
_STATUS = re.compile(r"^[A-Z_]+: ")


class Inputs(dict[str, Any]):
    """Values of variables, already in the form that CEL takes: see `inputs`."""


class Expression:
    """A compiled expression. It holds no state: evaluate it from anywhere, any number of times."""

    def __init__(
        self, text: str, compiled: Any, tree: syntax.Node, variables: Collection[str]
    ) -> None:
        self.text = text
        # The names of types (`int`) are identifiers too.
        self.variables = frozenset(_free(tree, frozenset())) & frozenset(variables)
        self.tree = tree
        self._compiled = compiled

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """Return the expression's value as JSON-able Python: times as RFC 3339, durations as `90s`.

        Raises:
            ExpressionError: a variable has no value, an input has no form in CEL, the evaluation
                gave an error, or the result has no form in JSON or is too large.
        """
        result = self._result(values)
        return _Plain().convert(result, "the result", 0)

    def evaluate_bool(self, values: Mapping[str, Any]) -> bool:
        """Return the expression's truth.

        Raises:
            ExpressionError: as `evaluate`, and when the value is not a bool: nothing is truthy.
        """
        result = self._result(values)
        if result.type() != cel.Type.BOOL:
            raise ExpressionError(
                f"expected true or false, found {_kind(result)}; compare it with something"
            )
        return bool(result.value())

    def _result(self, values: Mapping[str, Any]) -> Any:
        missing = self.variables - values.keys()
        if missing:
            raise ExpressionError(f"no value was given for {', '.join(sorted(missing))}")
        # Only what the expression reads is handed over: the library copies all it is given.
        data = {name: values[name] for name in self.variables}
        if not isinstance(values, Inputs):
            data = inputs(data)
        try:
            result = self._compiled.eval(data=data)
        except (RuntimeError, MemoryError) as exc:
            raise ExpressionError(_sentence(str(exc))) from exc
        _refuse_error(result)
        return result


def inputs(values: Mapping[str, Any]) -> Inputs:
    """Return values in the form CEL takes, to be evaluated against more than once.

    Aware times become RFC 3339 text in UTC and Decimals doubles; JSON values stay as they are.

    Raises:
        ExpressionError: a value has no exact form, with the path to it.
    """
    return Inputs({name: _input(value, name, 0) for name, value in values.items()})


def parsed(values: Mapping[str, Any]) -> Inputs:
    """Return values that `contracts.strictjson` has read in the form CEL takes: they are in it.

    As `inputs` gives them, without looking at every part again.
    """
    return Inputs(values)


def compile(text: str, *, variables: Collection[str]) -> Expression:  # noqa: A001 - the verb, as in re.compile
    """Compile an expression that may read `variables`, whose types are known when it runs.

    Raises:
        ExpressionError: it is not CEL, reads something else, or exceeds a limit.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"{len(text)} characters, more than the {MAX_LENGTH} that are taken")
    if not text.strip():
        raise ExpressionError("the expression is empty")
    if (surrogate := _surrogate(text)) is not None:
        raise ExpressionError(f"character {surrogate} is half of a surrogate pair")
    try:
        compiled = _environment(frozenset(variables)).compile(text)
    except RuntimeError as exc:
        # Each error comes with the line it is in: what is said of the first is enough.
        said = str(exc)[:_EXPLAINED]
        raise ExpressionError(_explain(said, text, variables)) from exc
    tree = syntax.read(compiled.serialize())
    _refuse_excess(tree)
    return Expression(text, compiled, tree, variables)


@functools.lru_cache(maxsize=256)
def _environment(variables: frozenset[str]) -> Any:
    return cel.NewEnv(variables=dict.fromkeys(sorted(variables), cel.Type.DYN))


def _refuse_excess(tree: syntax.Node) -> None:
    additions = sum(map(_adds, tree.walk()))
    if additions > MAX_ADDITIONS:
        raise ExpressionError(
            f"{additions} additions in one expression, more than the {MAX_ADDITIONS} that are taken"
        )
    _refuse_loops(tree, 0, inside=False)


def _adds(node: syntax.Node) -> bool:
    # A macro collects its result by additions of its own, to a variable that no author can name.
    return node.kind == "call" and node.name == "_+_" and not node.children[0].name.startswith("@")


def _refuse_loops(node: syntax.Node, depth: int, *, inside: bool) -> None:
    if node.kind == "loop":
        if depth == MAX_LOOPS_DEEP:
            raise ExpressionError(
                f"more than {MAX_LOOPS_DEEP} macros (map, filter, exists, all) in one another"
            )
        source, *rest = node.children
        _refuse_loops(source, depth + 1, inside=inside)
        for child in rest:
            _refuse_loops(child, depth + 1, inside=True)
        return
    if inside and _adds(node):
        # Its type is not known where operands come from the data: then it could grow texts, each
        # round doubling them. A cast makes it a sum of numbers.
        grows = ("_string", "_list", "_bytes")
        if any(overload.endswith(grows) for overload in node.overloads):
            raise ExpressionError(
                "+ inside map, filter, exists or all is for numbers; "
                "write double(a) + double(b) or int(a) + int(b)"
            )
    for child in node.children:
        _refuse_loops(child, depth, inside=inside)


def _free(node: syntax.Node, bound: frozenset[str]) -> Iterator[str]:
    if node.kind == "identifier" and node.name not in bound and not node.name.startswith("@"):
        yield node.name
    if node.kind == "loop":
        source, *rest = node.children
        yield from _free(source, bound)
        bound |= frozenset(node.bound)
        for child in rest:
            yield from _free(child, bound)
        return
    for child in node.children:
        yield from _free(child, bound)


def _explain(message: str, text: str, variables: Collection[str]) -> str:
    if "recursion" in message:
        return "nested deeper, or longer a chain of operators, than the 32 levels that are taken"
    found = _COMPILE_ERROR.search(message)
    if found is None:
        return _sentence(message)
    column = f"column {found['column']}"
    if int(found["line"]) > 1:
        column = f"line {found['line']}, {column}"
    for unknown in _UNDECLARED.finditer(message):
        root = unknown["name"].split(".")[0]
        if re.search(rf"\b{re.escape(unknown['name'])}\s*\(", text):
            continue
        return did_you_mean(root, variables, "variable")
    if function := _UNDECLARED.search(message):
        return f"{column}: unknown function {function['name']!r}"
    what = found["what"].replace(" [INVALID_ARGUMENT]", "").removeprefix("Syntax error: ")
    what = what.split(" expecting ")[0].replace(
        "mismatched input '<EOF>'", "the text ends too early"
    )
    if "cannot be the range" in what:
        what = "a macro cannot tell that this is a list; write dyn(...) around it"
    return f"{column}: {what}"


def did_you_mean(name: str, known: Collection[str], kind: str) -> str:
    """Return one sentence that says `name` is unknown, what is near it and what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, _candidates(name, names), n=1)
    if near:
        return f"unknown {kind} {name!r}; did you mean {near[0]!r}?"
    there = ", ".join(names[:_NAMED]) or "none"
    if len(names) > _NAMED:
        there += f" and {len(names) - _NAMED} more"
    return f"unknown {kind} {name!r}; there is: {there}"


def _candidates(name: str, names: list[str]) -> list[str]:
    # Likeness is dear to find: among many names only those of about the same length are looked at.
    if len(names) <= _COMPARED:
        return names
    return [known for known in names if abs(len(known) - len(name)) <= 2][:_COMPARED]


def _refuse_error(result: Any) -> None:
    kind = result.type()
    if kind == cel.Type.ERROR or kind == cel.Type.UNKNOWN:  # noqa: PLR1714 - types have no hash
        raise ExpressionError(_sentence(str(result.plain_value())))


def _sentence(message: str) -> str:
    message = _STATUS.sub("", message.strip().split("\n")[0])
    message = message.replace(" [INTERNAL]", "")
    message = message.replace("<jump_condition>", "a condition that is not true or false")
    message = message.replace("Applying SELECT to non-message type", "the value has no fields")
    message = message.replace("Key not found in map : ", "there is no field ")
    return message[:500] or "the evaluation failed"


def _kind(result: Any) -> str:
    return str(result.type().name()).lower().removesuffix("<dyn>").removesuffix("<dyn, dyn>")


def _surrogate(text: str) -> int | None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        return exc.start
    return None


def _input(value: Any, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ExpressionError(f"{path} is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {
            _key(key, path): _input(item, f"{path}.{key}", depth + 1) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_input(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    return _scalar(value, path)


def _scalar(value: Any, path: str) -> Any:
    match value:
        case None | bool() | float():
            return value
        case int() if -_INT64 <= value < _INT64:
            return value
        case int():
            raise ExpressionError(f"{path} is a number that 64 bits cannot hold")
        case str() if (position := _surrogate(value)) is not None:
            raise ExpressionError(f"{path} holds half of a surrogate pair at {position}")
        case str():
            return value
        case datetime() if value.tzinfo is None:
            raise ExpressionError(f"{path} is a time without a zone")
        case datetime():
            return identifiers.instant(value)
        case Decimal():
            return _double(value, path)
        case _:
            raise ExpressionError(f"{path} is a {type(value).__name__}, which has no form in CEL")


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise ExpressionError(f"{path} has a key that is not text: {key!r}")
    if (position := _surrogate(key)) is not None:
        raise ExpressionError(f"{path} has a key with half of a surrogate pair at {position}")
    return key


def _double(value: Decimal, path: str) -> float:
    # CEL has no decimals. A double that prints back as the same number loses nothing that an author
    # could see; one that does not is refused, since a rounded amount of money decides wrongly.
    double = float(value)
    if not math.isfinite(double) or Decimal(repr(double)) != value:
        raise ExpressionError(f"{path} is a decimal that no double holds exactly: {value}")
    return double


class _Plain:
    """Turns a result into JSON, within a budget: the library shares what JSON would repeat."""

    def __init__(self) -> None:
        self._nodes = 0
        self._text = 0

    def convert(self, result: Any, path: str, depth: int) -> Any:
        _refuse_error(result)
        self._nodes += 1
        if self._nodes > MAX_RESULT_NODES:
            raise ExpressionError(f"the result has more than {MAX_RESULT_NODES} values")
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the result is nested deeper than {MAX_DEPTH} levels")
        value = result.value()
        if isinstance(value, list):
            return [self.convert(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(value)]
        if isinstance(value, dict):
            return {
                self._field(key, path): self.convert(item, f"{path}.{key}", depth + 1)
                for key, item in value.items()
            }
        return self._scalar(value, result, path)

    def _scalar(self, value: Any, result: Any, path: str) -> Any:
        match value:
            case int() if not -_INT64 <= value < _INT64:
                raise ExpressionError(f"{path} is a number that 64 signed bits cannot hold")
            case float() if not math.isfinite(value):
                raise ExpressionError(f"{path} is {value}, which is not a JSON number")
            case None | bool() | int() | float():
                return value
            case str():
                return self._counted(value)
            case bytes() | bytearray():
                return self._counted(base64.b64encode(value).decode())
            case datetime():
                return identifiers.instant(value)
            case timedelta():
                return _seconds(value)
            case _:
                raise ExpressionError(f"{path} is a {_kind(result)}, which has no form in JSON")

    def _field(self, key: Any, path: str) -> str:
        if not isinstance(key, str):
            raise ExpressionError(f"{path} has the key {key!r}; keys of a JSON object are text")
        return self._counted(key)

    def _counted(self, text: str) -> str:
        self._text += len(text)
        if self._text > MAX_RESULT_TEXT:
            raise ExpressionError(f"the result has more than {MAX_RESULT_TEXT} characters")
        return text


def _seconds(duration: timedelta) -> str:
    # As protobuf writes a Duration in JSON: whole seconds, or as many decimals as are needed.
    micros = duration // timedelta(microseconds=1)
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    whole, fraction = divmod(micros, 1_000_000)
    return f"{sign}{whole}" + (f".{fraction:06d}".rstrip("0") if fraction else "") + "s"
