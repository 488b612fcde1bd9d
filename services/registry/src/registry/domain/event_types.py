"""What an event type's past allows: schema versions stay, and further ones are compatible."""

from collections.abc import Iterator, Mapping
from typing import Any

from contracts import canonical, compatibility
from contracts.eventtypes import Compatibility, EventType, EventTypeSpec
from registry.domain.validation import Parsed
from registry.errors import Located
from rules import jsonschemas

MAX_STEPS = 60_000
"""Of comparing all new schema versions of one document: a second of work, at the most."""

Schemas = Mapping[int, Mapping[str, Any]]


def history_problems(parsed: Parsed, *, past: Schemas, current: EventType | None) -> list[Located]:
    """Return what an event type says that its past does not allow.

    `past` holds every schema it ever had by schema version, `current` is what it is now. A schema
    version that was applied never changes; each new one is later than all before it, and
    compatible with the one before it.
    """
    if not isinstance(parsed.resource, EventType):
        return []
    return [
        parsed.located(path, message)
        for path, message in _problems(parsed.resource.spec, past, current)
    ]


def _problems(
    spec: EventTypeSpec, past: Schemas, current: EventType | None
) -> Iterator[tuple[str, str]]:
    newest = max(past, default=0)
    in_use = {schema.version for schema in current.spec.schemas} if current is not None else set()
    known = dict(past)
    budget = compatibility.Budget(MAX_STEPS)
    for i, schema in enumerate(spec.schemas):
        path, version = f"spec.schemas[{i}]", schema.version
        if version in past:
            if _differ(past[version], schema.schema_):
                since = "is applied" if version in in_use else "was applied once"
                yield (
                    f"{path}.schema",
                    f"schema version {version} {since} and never changes: "
                    f"write what is new as schema version {max(newest, *_versions(spec)) + 1}",
                )
            continue
        if version < newest:
            yield (
                f"{path}.version",
                f"schema version {version} is new, but {newest} was applied before: give it a "
                f"number above {newest}",
            )
            continue
        before = max(
            (known_version for known_version in known if known_version < version), default=0
        )
        if before and _usable(schema.schema_) and _usable(known[before]):
            for found in compatibility.breaks(
                known[before], schema.schema_, spec.compatibility, budget=budget
            ):
                yield (
                    _inside(f"{path}.schema", found.path),
                    f"schema version {version} is not {_WORDS[spec.compatibility]} compatible "
                    f"with version {before}: {found.message}",
                )
        known[version] = schema.schema_


def _inside(path: str, part: str) -> str:
    if not part:
        return path
    return f"{path}{part}" if part.startswith("[") else f"{path}.{part}"


_WORDS = {
    Compatibility.NONE: "",
    Compatibility.BACKWARD: "backward",
    Compatibility.FORWARD: "forward",
    Compatibility.FULL: "fully",
}


def _versions(spec: EventTypeSpec) -> list[int]:
    return [schema.version for schema in spec.schemas]


def _differ(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    # As bytes: to Python true and 1 are equal.
    return canonical.render(_plain(before)) != canonical.render(_plain(after))


def _plain(value: Any) -> Any:
    """Return a value whose whole numbers are spelled in one way, as what is stored has them."""
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case _:
            return value


def _usable(schema: Mapping[str, Any]) -> bool:
    return not jsonschemas.schema_problems(schema, path="", root_object=False)
