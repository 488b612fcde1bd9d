"""A published JSON Schema as tables of its fields."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reference import markdown

Schema = Mapping[str, Any]


def fields(schema: Schema, *, linked: bool = True) -> str:
    """Return the table of an object's fields, or what a type that has none is."""
    required = set(schema.get("required", ()))
    rows = [
        (
            markdown.code(name),
            kind(one, linked=linked),
            "**required**" if name in required else _default(one),
            _meaning(one),
        )
        for name, one in schema.get("properties", {}).items()
    ]
    if not rows:
        return f"{kind(schema, linked=linked)}\n"
    return markdown.table(("field", "type", "default", "meaning"), rows)


def kind(schema: Schema, *, linked: bool = True) -> str:
    """Return what a value may be, in a few words; types of the schema's own are linked."""
    return " or ".join(dict.fromkeys(_kinds(schema, linked=linked))) or "anything"


def _kinds(schema: Schema, *, linked: bool) -> Iterator[str]:
    if reference := schema.get("$ref"):
        name = str(reference).rpartition("/")[2]
        yield f"[{name}](#{name.lower()})" if linked else name
    for choice in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(choice, ()):
            yield from _kinds(one, linked=linked)
    if "const" in schema:
        yield markdown.code(json.dumps(schema["const"]))
    elif "enum" in schema:
        yield from (markdown.code(json.dumps(one)) for one in schema["enum"])
    elif schema.get("type") == "array":
        yield f"list of {kind(schema.get('items', {}), linked=linked)}"
    elif named := schema.get("type"):
        for one in [named] if isinstance(named, str) else named:
            yield {"object": "mapping", "string": "text"}.get(one, one)


def _default(schema: Schema) -> str:
    return markdown.code(json.dumps(schema["default"])) if "default" in schema else markdown.NOTHING


_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "pattern": "matches {}",
}


def _meaning(schema: Schema) -> str:
    limits = dict.fromkeys(
        told.format(f"`{one[key]}`")
        for one in (schema, *schema.get("anyOf", ()))
        for key, told in _LIMITS.items()
        if key in one
    )
    said = str(schema.get("description", ""))
    return markdown.cell(f"{said} ({', '.join(limits)})" if limits else said)
