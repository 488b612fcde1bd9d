"""What an expression gives, and what in it can never work, told from the shapes of its variables.

Only what is wrong for every value that follows the schemas is told. An expression is taken to be
right where a schema leaves a choice, as it does with alternatives and with what may be null.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rules import expressions, operators, shapes, spelling
from rules.expressions import Expression
from rules.shapes import ANYTHING, Kind, Object, Openness, Shape
from rules.syntax import Node

MAX_FINDINGS = 10
"""What is told of one expression."""
_NEARLY = 0.85
"""How alike two names are that are taken for one, misspelt."""

Scope = Mapping[str, Shape]


@dataclass
class Budget:
    """The work that the expressions of one definition may take.

    `parts` counts the nodes of their syntax trees, `lookups` the forms of objects in which a field
    is looked for, `hints` the names that a misspelt one is compared with. Without lookups nothing
    more is found, without hints it is told in fewer words.
    """

    parts: int = 30_000
    lookups: int = 200_000
    hints: int = 200
    _names: dict[tuple[Object, ...], list[str]] = field(default_factory=dict)

    def names(self, forms: tuple[Object, ...]) -> list[str]:
        """Return the fields that any of these forms declares, sorted."""
        if forms not in self._names:
            self._names[forms] = sorted({name for form in forms for name in form.fields})
        return self._names[forms]


@dataclass(frozen=True)
class Inferred:
    """The shape of what an expression gives, and a sentence for each thing that cannot work."""

    shape: Shape
    findings: tuple[str, ...] = ()


def infer(
    expression: Expression,
    variables: Scope,
    *,
    budget: Budget | None = None,
    unguarded: bool = False,
) -> Inferred:
    """Return what an expression gives when its variables have these shapes.

    `unguarded` says that it is evaluated in every run: what it reads of null is wrong then.
    """
    reader = _Reader(budget or Budget(), variables)
    shape = reader.shape(expression.tree, variables, certain=unguarded)
    if not reader.within:
        return Inferred(ANYTHING)
    return Inferred(shape, tuple(dict.fromkeys(reader.findings))[:MAX_FINDINGS])


def unknown(
    name: str, shape: Shape, where: str, budget: Budget, *, extensions: bool = False
) -> str | None:
    """Return what is wrong with a name that no form of an object has; None when it may be there.

    `extensions` says that an envelope's extension can be meant, which may have any name.
    """
    forms = shape.objects
    if not forms or any(name in form.fields for form in forms):
        return None
    if any(form.openness is not Openness.CLOSED and not form.guarded for form in forms):
        return None
    known = budget.names(forms)
    word = next((form.word for form in forms if form.word), f"field of {where}")
    if guarded(shape):
        # Hardly an extension is called as a field is but for a letter; one could well be called
        # as a field is without its underscores, since those of CloudEvents have none.
        near = difflib.get_close_matches(name, known, n=1, cutoff=_NEARLY)
        if not near or name == near[0].replace("_", ""):
            return None
        way = f' An extension of that name is {where}["{name}"]' if extensions else ""
        return f"unknown {word} {name!r}; did you mean {near[0]!r}?{way}"
    if budget.hints <= 0:
        return f"unknown {word} {name!r}"
    budget.hints -= 1
    return expressions.did_you_mean(name, known, word)


def guarded(shape: Shape) -> bool:
    """Say whether a value is an envelope, which has fields of its own and any extensions."""
    return any(form.guarded for form in shape.objects)


@dataclass
class _Reader:
    budget: Budget
    variables: Scope
    findings: list[str] = field(default_factory=list)
    within: bool = True
    _looked_up: dict[tuple[tuple[Object, ...], str], Shape] = field(default_factory=dict)

    def shape(self, node: Node, scope: Scope, *, certain: bool) -> Shape:
        """Return the shape of a part of the expression, noting what is wrong below it.

        `certain` says that the part is evaluated whenever the whole is.
        """
        self.budget.parts -= 1
        if not self.within:
            return ANYTHING
        return _READS[node.kind](self, node, scope, certain)

    def constant(self, node: Node, _scope: Scope, _certain: bool) -> Shape:  # noqa: FBT001
        if node.text is not None:
            return shapes.of(Kind.TEXT, texts=[node.text])
        return _of_cel(node.returns)

    def identifier(self, node: Node, scope: Scope, _certain: bool) -> Shape:  # noqa: FBT001
        return scope.get(node.name) or _of_cel(node.returns)

    def selection(self, node: Node, scope: Scope, certain: bool) -> Shape:  # noqa: FBT001
        base = self.shape(node.children[0], scope, certain=certain)
        found = self._field(base, node.name, node.children[0], certain=certain)
        return shapes.of(Kind.BOOL) if node.only_tests else found

    def list_of(self, node: Node, scope: Scope, certain: bool) -> Shape:  # noqa: FBT001
        return shapes.listing(
            *(
                shapes.fixed(self.shape(child, scope, certain=certain))
                for child in node.children[: shapes.MAX_ALTERNATIVES]
            ),
            *self._beyond(node, scope, certain),
        )

    def _beyond(self, node: Node, scope: Scope, certain: bool) -> tuple[shapes.Later, ...]:  # noqa: FBT001
        beyond = node.children[shapes.MAX_ALTERNATIVES :]
        for child in beyond:
            self.shape(child, scope, certain=certain)
        return (shapes.anything,) if beyond else ()

    def struct(self, node: Node, scope: Scope, certain: bool) -> Shape:  # noqa: FBT001
        parts = [self.shape(child, scope, certain=certain) for child in node.children]
        if node.name:
            return ANYTHING
        fields: dict[str, shapes.Later] = {}
        openness = Openness.CLOSED
        for key, value in zip(node.children[::2], parts[1::2], strict=False):
            if key.text is None:
                openness = Openness.OPEN
            else:
                fields[key.text] = shapes.fixed(value)
        return shapes.objects(Object(fields, openness, frozenset(fields)))

    def loop(self, node: Node, scope: Scope, certain: bool) -> Shape:  # noqa: FBT001
        source, start, condition, step, result = node.children
        over = self.shape(source, scope, certain=certain)
        *items, collected = node.bound
        if over.kinds and not over.kinds & {Kind.LIST, Kind.OBJECT}:
            self._note(
                f"{spelling.said(source, over)}; only a list or an object can be gone through"
            )
        found = []
        if Kind.LIST in over.kinds:
            found.append(shapes.element(over))
        if Kind.OBJECT in over.kinds:
            found.append(shapes.of(Kind.TEXT))
        item = shapes.join(found) if len(items) == 1 and found else ANYTHING
        inner = {**scope, **dict.fromkeys(items, item)}
        first = self.shape(start, scope, certain=False)
        inner[collected] = first
        self.shape(condition, inner, certain=False)
        after = self.shape(step, inner, certain=False)
        return self.shape(result, {**scope, collected: shapes.join([first, after])}, certain=False)

    def call(  # noqa: PLR0911 - one for each form of result
        self,
        node: Node,
        scope: Scope,
        certain: bool,  # noqa: FBT001
    ) -> Shape:
        name = node.name
        # What stands beside these may make up for what is wrong, or keep it from being reached.
        strict = certain and name not in ("_&&_", "_||_")
        given = [
            self.shape(child, scope, certain=strict and (i == 0 or name != "_?_:_"))
            for i, child in enumerate(node.children)
        ]
        match name:
            case "dyn":
                return given[0]
            case "_?_:_":
                self._operators(node, [given[0]])
                return shapes.join(given[1:])
            case "_[_]":
                return self._index(node, given, certain=certain)
            case "@in":
                self._membership(node, given)
                return shapes.of(Kind.BOOL)
            case "_+_" | "_-_" | "_*_" | "_/_" | "_%_":
                return self._arithmetic(node, given)
            case "-_":
                self._operators(node, given)
                return shapes.of(*(given[0].kinds & shapes.NUMBERS))
            case "_==_" | "_!=_":
                self._equality(node, given)
            case _:
                self._operators(node, given)
        return _of_cel(node.returns)

    def _field(self, base: Shape, name: str, owner: Node, *, certain: bool) -> Shape:
        where = spelling.spelt(owner)
        if base.kinds == {Kind.NULL}:
            if certain:
                why = _NULL_WITHOUT.get(where, f"and has no field {name!r}")
                self._note(f"{where} is null in every run of this definition, {why}")
            return ANYTHING
        if Kind.OBJECT not in base.kinds:
            if base.kinds:
                self._note(
                    f"{spelling.said(owner, base)}, which has no fields; it is asked for {name!r}"
                )
            return ANYTHING
        key = (base.objects, name)
        if key in self._looked_up:
            return self._looked_up[key]
        self.budget.lookups -= len(base.objects)
        if self.budget.lookups < 0:
            self.within = False
            return ANYTHING
        if (problem := unknown(name, base, where, self.budget, extensions=True)) is not None:
            self._note(problem)
            return ANYTHING
        found = shapes.join(_named(form, name) for form in base.objects)
        self._looked_up[key] = found
        return found

    def _index(self, node: Node, given: list[Shape], *, certain: bool) -> Shape:
        owner, by = node.children
        base, index = given
        if base.kinds == {Kind.NULL} or (by.text is not None and Kind.LIST not in base.kinds):
            if guarded(base):
                return ANYTHING
            return self._field(base, by.text or "", owner, certain=certain)
        if not base.kinds or not index.kinds:
            return ANYTHING
        if not base.kinds & {Kind.LIST, Kind.OBJECT}:
            self._note(f"{spelling.said(owner, base)}, of which no part can be taken by [ ]")
        elif not base.kinds - {Kind.NULL, Kind.LIST} and not index.kinds & shapes.NUMBERS:
            self._note(f"{spelling.said(owner, base)}, whose parts are taken by position, as [0]")
        elif not base.kinds - {Kind.NULL, Kind.OBJECT} and Kind.TEXT not in index.kinds:
            self._note(f'{spelling.said(owner, base)}, whose fields are taken by name, as ["name"]')
        elif Kind.OBJECT not in base.kinds:
            return shapes.element(base)
        return ANYTHING

    def _membership(self, node: Node, given: list[Shape]) -> None:
        wanted, within = node.children
        value, container = given
        if not container.kinds or not value.kinds:
            return
        if not container.kinds & {Kind.LIST, Kind.OBJECT}:
            way = "; write contains() to look into a text" if Kind.TEXT in container.kinds else ""
            self._note(
                f"{spelling.said(within, container)}, and in looks into a list or an object{way}"
            )
        elif not container.kinds - {Kind.NULL, Kind.OBJECT}:
            if Kind.TEXT not in value.kinds:
                self._note(f"{spelling.said(wanted, value)}, and the names of fields are texts")
            elif wanted.text is not None and not guarded(container):
                problem = unknown(wanted.text, container, spelling.spelt(within), self.budget)
                if problem is not None:
                    self._note(problem)
        elif Kind.OBJECT not in container.kinds:
            held = shapes.element(container)
            if operators.never_equal(value, held):
                self._note(
                    f"{spelling.told(wanted, value, held)}, and the list holds only "
                    f"{operators.as_told(held, value)}"
                )

    def _equality(self, node: Node, given: list[Shape]) -> None:
        left, right = node.children
        one, other = given
        if left.kind == "constant":
            left, right, one, other = right, left, other, one
        if left.kind == "constant":
            return
        if operators.never_equal(one, other):
            self._note(
                f"{spelling.told(left, one, other)}, which is never equal to "
                f"{operators.as_told(other, one)}"
            )

    def _arithmetic(self, node: Node, given: list[Shape]) -> Shape:
        if len(given) != 2 or not all(shape.kinds for shape in given):
            return ANYTHING
        kinds = operators.arithmetic(node.name, *given)
        if kinds:
            if Kind.LIST not in kinds:
                return shapes.of(*kinds)
            held = [later for shape in given for later in shape.elements]
            whole = shapes.Shape(kinds, elements=tuple(dict.fromkeys(held)))
            return shapes.join([whole])
        self._note(
            operators.no_arithmetic(
                node.name, spelling.sides(node, given), *given, spelt=spelling.pair(node)
            )
        )
        return ANYTHING

    def _operators(self, node: Node, given: list[Shape]) -> None:
        if node.name in operators.COMPARISONS:
            one, other = given
            if one.kinds and other.kinds and not operators.comparable(one, other):
                self._note(
                    operators.no_comparison(
                        node.name,
                        spelling.sides(node, given),
                        one,
                        other,
                        spelt=spelling.pair(node),
                    )
                )
            return
        for i, (child, shape) in enumerate(zip(node.children, given, strict=False)):
            taken = operators.taken(node.name, i)
            if taken and shape.kinds and not shape.kinds & taken:
                name = operators.spelling(node.name)
                self._note(f"{spelling.said(child, shape)}, and {name} takes {shapes.Shape(taken)}")

    def _note(self, finding: str) -> None:
        if len(self.findings) < MAX_FINDINGS * 2:
            self.findings.append(finding)


_READS: dict[str, Callable[[_Reader, Node, Scope, bool], Shape]] = {
    "constant": _Reader.constant,
    "identifier": _Reader.identifier,
    "select": _Reader.selection,
    "call": _Reader.call,
    "list": _Reader.list_of,
    "struct": _Reader.struct,
    "loop": _Reader.loop,
}


_NULL_WITHOUT = {
    "event": "which has no event trigger",
    "window": "which has no schedule trigger",
}


def _named(form: Object, name: str) -> Shape:
    if name in form.fields:
        return form.fields[name]()
    return shapes.NOTHING if form.openness is Openness.CLOSED else ANYTHING


_CEL = {
    "NULL": shapes.of(Kind.NULL),
    "BOOL": shapes.of(Kind.BOOL),
    "INT": shapes.of(Kind.INT),
    "UINT": shapes.of(Kind.INT),
    "DOUBLE": shapes.of(Kind.DOUBLE),
    "STRING": shapes.of(Kind.TEXT),
    "BYTES": shapes.of(Kind.BYTES),
    "TIMESTAMP": shapes.of(Kind.TIME),
    "DURATION": shapes.of(Kind.DURATION),
    "LIST": shapes.of(Kind.LIST),
    "MAP": shapes.of(Kind.OBJECT),
    "TYPE": shapes.of(Kind.TYPE),
}


def _of_cel(returns: str) -> Shape:
    return _CEL.get(returns, ANYTHING)
