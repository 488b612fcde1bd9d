"""The settings of every process, from its pydantic model."""

import importlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from reference import markdown

PROCESSES: Mapping[str, str] = {
    "registry": "registry.settings.Settings",
    "router": "router.settings.Settings",
    "orchestrator-worker": "orchestrator_worker.settings.Settings",
    "ledger": "ledger.settings.Settings",
    "outbox-relay": "outbox_relay.settings.Settings",
    "console": "console.settings.Settings",
    "A worker of handlers": "sdk.settings.WorkerSettings",
    "The built-in handlers": "sdk.builtins.serving.BuiltInSettings",
    "backbone, the command": "cli.settings.Settings",
}
"""The model of each process."""

_ENTRIES = {"A row of BACKBONE_OUTBOXES": "outbox_relay.settings.OutboxSettings"}
_INTRODUCTION = """\
# Settings

Each process reads its settings once, when it starts, from environment variables. Lists are JSON,
durations are ISO 8601 (`PT30S`), files are paths. What is malformed is told by name, and the
process does not start; what it holds is not shown, since that may be a secret.

This page is written from the models of the code.
"""


def models() -> Iterator[tuple[str, type[BaseSettings]]]:
    """Yield the processes, each with its model."""
    for process, where in PROCESSES.items():
        yield process, _model(where)


def variable(model: type[BaseSettings], name: str) -> str:
    """Return the environment variable of a field."""
    return f"{model.model_config.get('env_prefix', '')}{name}".upper()


def page() -> str:
    """Return the page: a table for each process."""
    parts = [_INTRODUCTION]
    head = ("variable", "type", "default", "meaning")
    for process, model in models():
        names = {name: variable(model, name) for name in model.model_fields}
        parts += [f"## {process}\n", markdown.table(head, _rows(model.model_fields, names))]
    for title, where in _ENTRIES.items():
        fields = _model(where).model_fields
        names = {name: field.alias or name for name, field in fields.items()}
        parts += [f"## {title}\n", markdown.table(head, _rows(fields, names))]
    return "\n".join(parts)


def _model(where: str) -> Any:
    module, _, name = where.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _rows(
    fields: Mapping[str, FieldInfo], names: Mapping[str, str]
) -> Iterator[tuple[str, str, str, str]]:
    for name, field in fields.items():
        yield (
            markdown.code(names[name]),
            markdown.code(_type(field.annotation)),
            _default(field),
            markdown.cell(_meaning(field)),
        )


def _meaning(field: FieldInfo) -> str:
    limits = ", ".join(_limits(field))
    return f"{field.description or ''} {f'({limits})' if limits else ''}"


def _type(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    for prefix in ("typing.", "pathlib.", "datetime.", "pydantic.types."):
        text = text.replace(prefix, "")
    # Constraints of an item are no type; a reader wants to know that it is text.
    return "tuple[str, ...]" if "Annotated" in text and "str" in text else text


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    match value:
        case _ if value is PydanticUndefined:
            return "**required**"
        case None:
            return "none"
        case timedelta():
            return markdown.code(_duration(value))
        case SecretStr() | Path():
            return markdown.code(str(value))
        case bool():
            return markdown.code(str(value).lower())
        case _:
            return markdown.code(str(value)) if value not in ("", (), {}) else "empty"


def _limits(field: FieldInfo) -> Iterator[str]:
    for constraint in field.metadata:
        for word, name in (("at least", "ge"), ("more than", "gt"), ("at most", "le")):
            limit = getattr(constraint, name, None)
            if limit is not None:
                told = _duration(limit) if isinstance(limit, timedelta) else str(limit)
                yield f"{word} `{told}`"


def _duration(value: timedelta) -> str:
    return str(TypeAdapter(timedelta).dump_python(value, mode="json"))
