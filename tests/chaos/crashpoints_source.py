"""What the source says: which fault points there are, and which external calls have none.

A call is external by how it is spelled (`external`): a technology's method on a receiver of a name
that this code base gives to such things. Statements inside of a transaction are not: what counts is
the transaction, whose place is the end of its block, where it commits.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"(?P<service>[a-z]+)\.(?P<side>before|after)_(?P<what>[a-z]+(?:_[a-z]+)*)")

STATEMENTS = {"fetch", "fetchrow", "fetchval", "execute", "executemany", "prepare"}
TEMPORAL_CLIENT = {
    *("start_workflow", "execute_workflow", "list_workflows", "count_workflows"),
    *("create_schedule", "list_schedules", "describe_schedule", "update_schedule"),
    *("patch_schedule", "delete_schedule", "fetch_history", "fetch_history_events"),
}
TEMPORAL_HANDLE = {
    *("update", "trigger", "delete", "describe", "pause", "unpause", "backfill"),
    *("signal", "cancel", "terminate", "query", "result", "execute_update", "start_update"),
}
DATABASES = {"database", "_database", "postgres", "_postgres", "_store", "connection"}
CONNECTIONS = {"connection", "_connection", "pool", "_pool"}
KAFKA = {"producer", "_producer", "consumer", "_consumer"}
KAFKA_CALLS = {"send", "produce", "flush", "poll", "consume", "commit"}
KAFKA_LOCAL = {"seek", "pause", "resume"}  # of a consumer, inside of this process


@dataclass(frozen=True)
class Point:
    """A fault point."""

    name: str
    path: str
    line: int

    @property
    def service(self) -> str:
        return self.name.partition(".")[0]

    @property
    def pair(self) -> tuple[str, str, str]:
        """The service, the side, and what stands between the two sides."""
        match = NAME.fullmatch(self.name)
        assert match, f"{self.path}:{self.line}: {self.name!r} is not service.before|after_what"
        return match["service"], match["side"], match["what"]


@dataclass(frozen=True)
class Call:
    """An external call."""

    path: str
    line: int
    function: str  # Class.method, or the function's name
    spelling: str  # self._stub.RecordRun

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.function} calls {self.spelling}"


def points() -> list[Point]:
    """Return every fault point of the product."""
    files = [*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]
    return [point for path in sorted(files) for point in points_of(path.read_text(), _named(path))]


def unpaired() -> list[Call]:
    """Return the external calls of services, SDK and event store without a pair of their own."""
    files = [
        *ROOT.glob("services/*/src/*/adapters/**/*.py"),
        *ROOT.glob("services/*/src/*/activities/**/*.py"),
        *ROOT.glob("services/*/src/*/service.py"),
        *ROOT.glob("services/*/src/*/service/**/*.py"),
        *ROOT.glob("libs/sdk/src/**/*.py"),
        *ROOT.glob("libs/eventstore/src/**/*.py"),
    ]
    return [call for path in sorted(files) for call in unpaired_of(path.read_text(), _named(path))]


def _named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def points_of(text: str, path: str) -> list[Point]:
    """Return the fault points of one file, in their order."""
    module = ast.parse(text)
    found = [point for unit in _units(module) for point in _points(module, unit.node, path)]
    return sorted(found, key=lambda point: point.line)


def _beside(path: str) -> Iterator[ast.Module]:
    """Yield the other modules of the folder that a file is in."""
    file = ROOT / path
    for other in sorted(file.parent.glob("*.py")) if file.exists() else ():
        if other != file:
            yield ast.parse(other.read_text())


def unpaired_of(text: str, path: str) -> list[Call]:
    """Return the external calls of one file that have no pair of their own.

    What comes right before such a call, of points and calls, has to be `before_what`, and what
    comes right after it `after_what`.
    """
    module = ast.parse(text)
    found = []
    for unit in _units(module):
        events: list[tuple[float, Point | Call]] = [
            (node.lineno, Point(_spelled(node.args[0]), path, node.lineno))
            for node in _uses(unit.node)
        ]
        events += [
            (place, Call(path, node.lineno, unit.name, ast.unparse(node.func)))
            for place, node in _calls(unit.node)
        ]
        events.sort(key=lambda event: event[0])
        for at, (_, event) in enumerate(events):
            if isinstance(event, Call):
                before = events[at - 1][1] if at else None
                after = events[at + 1][1] if at + 1 < len(events) else None
                if not _are_pair(before, after):
                    found.append(event)
    return found


def _are_pair(before: Point | Call | None, after: Point | Call | None) -> bool:
    if not isinstance(before, Point) or not isinstance(after, Point):
        return False
    (service, first, what), (other, second, same) = before.pair, after.pair
    return (service, what) == (other, same) and (first, second) == ("before", "after")


@dataclass(frozen=True)
class _Unit:
    """An outermost function, with those inside of it."""

    name: str
    node: ast.AST


def _units(module: ast.AST, prefix: str = "") -> Iterator[_Unit]:
    for node in ast.iter_child_nodes(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield _Unit(prefix + node.name, node)
        elif isinstance(node, ast.ClassDef):
            yield from _units(node, f"{prefix}{node.name}.")


def _points(module: ast.Module, unit: ast.AST, path: str) -> Iterator[Point]:
    for node in _uses(unit):
        for name in _names(module, unit, node.args[0], path):
            yield Point(name, path, node.lineno)


def _uses(unit: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(unit):
        if isinstance(node, ast.Call) and _last(node.func) == "faultpoint":
            yield node


def _spelled(argument: ast.expr) -> str:
    """Return a name as it is written, a hole by the name of what fills it."""
    return ast.unparse(argument).removeprefix("f").strip("'\"").translate({123: None, 125: None})


def _names(module: ast.Module, unit: ast.AST, argument: ast.expr, path: str) -> Iterable[str]:
    """Return the names that an argument stands for: one, or one for each value of a parameter."""
    if isinstance(argument, ast.Constant):
        return [argument.value]
    assert isinstance(argument, ast.JoinedStr), f"not readable here: {ast.unparse(argument)}"
    (hole,) = (part for part in argument.values if isinstance(part, ast.FormattedValue))
    assert isinstance(hole.value, ast.Name), f"not readable here: {ast.unparse(argument)}"
    return [
        "".join(part.value if isinstance(part, ast.Constant) else value for part in argument.values)
        for value in _values(module, unit, hole.value.id, path)
    ]


def _values(module: ast.Module, unit: ast.AST, parameter: str, path: str) -> Iterator[str]:
    assert isinstance(unit, ast.FunctionDef | ast.AsyncFunctionDef)
    place = [argument.arg for argument in unit.args.args if argument.arg != "self"].index(parameter)
    callers = [(module, unit.name)]
    if unit in module.body:
        # Others of the folder call it by its module's name.
        callers += [(other, f"{Path(path).stem}.{unit.name}") for other in _beside(path)]
    for caller, name in callers:
        for node in ast.walk(caller):
            if isinstance(node, ast.Call) and name in {_last(node.func), ast.unparse(node.func)}:
                value = node.args[place]
                assert isinstance(value, ast.Constant), f"not a literal: {ast.unparse(node)}"
                yield value.value


def _calls(unit: ast.AST) -> Iterator[tuple[float, ast.Call]]:
    """Yield the external calls, each with its place among the lines."""
    for node, blocks in _walk(unit, ()):
        if not isinstance(node, ast.Call):
            continue
        transactions = [block for block in blocks if _opens_transaction(block)]
        own = [block for block in transactions if any(node is each for each in _opened(block))]
        if own:
            yield (own[0].end_lineno or 0) + 0.5, node
        elif not transactions and external(node):
            yield node.lineno + 0.5, node


def _walk(
    node: ast.AST, blocks: tuple[ast.AsyncWith, ...]
) -> Iterator[tuple[ast.AST, tuple[ast.AsyncWith, ...]]]:
    """Yield every node with the blocks that it is in."""
    yield node, blocks
    inner = (*blocks, node) if isinstance(node, ast.AsyncWith) else blocks
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, inner)


def _opened(block: ast.AsyncWith) -> list[ast.expr]:
    """Return the call by which a block opens a transaction, if it does."""
    contexts = [item.context_expr for item in block.items]
    return [
        one
        for one in contexts
        if isinstance(one, ast.Call)
        and isinstance(one.func, ast.Attribute)
        and one.func.attr in {"transaction", "across"}
        and _last(one.func.value) in DATABASES
    ]


def _opens_transaction(block: ast.AsyncWith) -> bool:
    return bool(_opened(block))


def external(call: ast.Call) -> bool:
    """Return whether a call leaves the process, going by its spelling."""
    if not isinstance(call.func, ast.Attribute):
        return False
    method, receiver = call.func.attr, _last(call.func.value)
    return (
        # gRPC: a method of the proto, on a stub.
        (method[0].isupper() and (_is_own(call.func.value) or receiver.lower().endswith("stub")))
        or (receiver == "call" and method == "read")
        or method in TEMPORAL_CLIENT
        or (receiver.endswith("handle") and method in TEMPORAL_HANDLE)
        or method in {"retrying", "missing_topics"}
        or (receiver in CONNECTIONS and method in STATEMENTS)
        or (receiver in KAFKA and method in KAFKA_CALLS)
        # The consumers' way to librdkafka, in its own thread.
        or (receiver == "self" and method == "_call" and not _moves_locally(call))
        or (receiver == "http" and method in {"stream", "request"})
        or (receiver == "_redis" and method not in {"pipeline", "aclose"})
        or (receiver == "pipeline" and method == "execute")
        # What a handler does is its own, and outside of us.
        or (receiver == "handler" and method == "run")
    )


def _is_own(receiver: ast.expr) -> bool:
    return isinstance(receiver, ast.Attribute) and _last(receiver.value) == "self"


def _moves_locally(call: ast.Call) -> bool:
    return isinstance(call.args[0], ast.Constant) and call.args[0].value in KAFKA_LOCAL


def _last(expression: ast.expr) -> str:
    """Return the last name of a dotted expression: `_stub` of self._stub."""
    match expression:
        case ast.Name(name):
            return name
        case ast.Attribute(_, name):
            return name
        case ast.Call(function):
            return _last(function)
    return ""
