"""Every metric, by its name in `contracts.telemetry`, with what its instrument says of it."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.telemetry import Attribute, Metric, Span
from reference import markdown

_ROOT = Path(__file__).resolve().parents[3]
_INTRODUCTION = """\
# Metrics

Prometheus shows dots as underscores, units behind names, and `_total` behind counters. What they
are for, by which labels, and the dashboards and alerts that use them:
[metrics, dashboards, alerts](../metrics.md).

This page is written from `contracts.telemetry` and the instruments of the code.
"""
_OF_LIBRARIES = "Of a convention of OpenTelemetry."


@dataclass(frozen=True)
class Instrument:
    """What the code that makes an instrument says of it."""

    kind: str
    unit: str
    description: str


def instruments() -> Mapping[Metric, Instrument]:
    """Return the instruments that libraries and services make."""
    found: dict[Metric, Instrument] = {}
    for path in sorted([*_ROOT.glob("libs/*/src"), *_ROOT.glob("services/*/src")]):
        for module in sorted(path.rglob("*.py")):
            text = module.read_text(encoding="utf-8")
            if "create_" in text and "Metric." in text:
                found |= dict(_made(ast.parse(text)))
    return found


def page() -> str:
    """Return the page: metrics, spans and attributes."""
    known = instruments()
    nothing = Instrument("", "", _OF_LIBRARIES)
    rows = [
        (
            markdown.code(metric),
            one.kind or markdown.NOTHING,
            one.unit or markdown.NOTHING,
            markdown.cell(one.description),
        )
        for metric in Metric
        for one in [known.get(metric, nothing)]
    ]
    return "\n".join(
        [
            _INTRODUCTION,
            markdown.table(("metric", "instrument", "unit", "what it tells"), rows),
            "## Spans\n",
            markdown.table(("span",), ([markdown.code(one)] for one in Span)),
            "## Attributes\n",
            markdown.table(("attribute",), ([markdown.code(one)] for one in Attribute)),
        ]
    )


def _made(tree: ast.Module) -> Iterator[tuple[Metric, Instrument]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name), args=[first, *_]) if "create_" in name:
                kind = name.removeprefix("create_").removeprefix("observable_").replace("_", " ")
                given = {one.arg: _text(one.value) for one in node.keywords}
                said = given.get("description", ""), given.get("unit", "")
            # Gauges that are made in a loop over a table: name, callback, unit, description.
            case ast.Tuple(elts=[first, _, unit, description]):
                kind, said = "gauge", (_text(description), _text(unit))
            case _:
                continue
        match first:
            case ast.Attribute(value=ast.Name(id="Metric"), attr=constant):
                yield Metric[constant], Instrument(kind, said[1], said[0])


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
