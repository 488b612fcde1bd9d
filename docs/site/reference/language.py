"""The definition language, from the JSON Schema that editors are given."""

import json
from typing import Any

from contracts import jsonschemas
from reference import markdown, schemas

_INTRODUCTION = """\
# The definition language

A definition, an event type and a producer are documents in YAML or JSON; what `apiVersion` and
`kind` say stands at their head. This page is written from
[resource.schema.json](../../libs/contracts/src/contracts/schemas/resource.schema.json): have your
editor check documents with that. `backbone plan` checks the same and more: expressions, handlers,
statements, cron, event types. Expressions are [CEL](https://cel.dev); what they may name is on
[what a run looks at](../context.md), and patterns are those of EventBridge.
"""


def schema() -> Any:
    """Return the schema of all resources."""
    return json.loads(jsonschemas.published()["resource.schema.json"])


def page() -> str:
    """Return the page: a heading for each type of the schema."""
    parts = [_INTRODUCTION]
    for name, one in sorted(schema()["$defs"].items(), key=_roots_first):
        parts += [f"## {name}\n", markdown.cell(one.get("description", "")) + "\n"]
        parts.append(schemas.fields(one))
    return "\n".join(parts)


def _roots_first(item: tuple[str, Any]) -> tuple[bool, str]:
    name, one = item
    return "apiVersion" not in one.get("properties", {}), name
