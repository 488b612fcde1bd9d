"""What is asked of an HTTP API: a path of the catalogue with its parameters, safely written."""

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from contracts import binding, catalogue, identifiers
from contracts.catalogue import HttpRequest, Parameter

MAX_LENGTH = 4096
"""Of a target: what every server takes."""


def target(base: str, template: str, path: HttpRequest, given: Mapping[str, Any]) -> str:
    """Return the path and query to ask for, below `base`.

    A value is percent-encoded, and cannot add a segment, leave one out or climb up.

    Raises:
        ValueError: a value is not of its parameter's type, or has no place in a path.
    """
    texts = {one.name: _text(one, given[one.name]) for one in path.parameters}
    named = catalogue.placeholders(template)
    found = template
    for name in named:
        text = texts[name]
        if not text:
            raise ValueError(f"parameter {name}: it is empty or null, and part of the path")
        found = found.replace(f"{{{name}}}", quote(text, safe=""))
    if any(segment in (".", "..") for segment in found.split("/")):
        raise ValueError("a parameter makes a part of the path . or ..")
    query = {name: text for name, text in texts.items() if name not in named and text is not None}
    made = base + found + (f"?{urlencode(query, quote_via=quote)}" if query else "")
    if len(made) > MAX_LENGTH:
        raise ValueError(f"the address has {len(made)} characters, more than {MAX_LENGTH}")
    return made


def other_parameters(path: HttpRequest, given: Collection[str]) -> str | None:
    """Say in what the names that are `given` differ from those that a path takes; None if not."""
    declared = [parameter.name for parameter in path.parameters]
    if set(declared) == set(given):
        return None
    return (
        f"it takes the parameters {', '.join(declared) or '(none)'}"
        f" and was given {', '.join(given) or '(none)'}"
    )


def _text(parameter: Parameter, value: Any) -> str | None:
    try:
        bound = binding.bind(parameter, value)
    except ValueError as exc:
        raise ValueError(f"parameter {parameter.name}: {exc}") from exc
    match bound:
        case None | str():
            return bound
        case bool() | int() | float():
            return json.dumps(bound)
        case datetime():
            return identifiers.instant(bound)
        case _:
            return str(bound.isoformat())
