"""The operator's catalogue file: read the same way by whoever checks with it and works by it."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from contracts.catalogue import Catalogue
from runtime.errors import ConfigurationError

# As YAML 1.2 reads it: others make true of `on`, and a date of 2026-01-01, in a JSON Schema too.
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "merge")}
_BOOLEANS = {"true", "True", "TRUE", "false", "False", "FALSE"}


def load(path: Path | None) -> Catalogue:
    """Return the catalogue at `path`; an empty one without a path.

    Raises:
        ConfigurationError: the file is missing, not YAML, or not a catalogue; one line says all.
    """
    if path is None:
        return Catalogue()
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"catalogue {path} cannot be read: {exc}") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        told = " ".join(str(exc).split())
        raise ConfigurationError(f"catalogue {path} is not YAML: {told}") from exc
    try:
        return Catalogue.model_validate(document)
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'file'}: {error['msg']}"
            for error in exc.errors(include_url=False, include_input=False)
        )
        raise ConfigurationError(f"catalogue {path}: {problems}") from exc


class _Loader(yaml.SafeLoader):
    """Refuses a key that appears twice: the first one would be lost without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's own
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} appears twice", key.start_mark
                    )
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _construct_bool(loader: yaml.SafeLoader, node: Any) -> Any:
    return loader.construct_yaml_bool(node) if node.value in _BOOLEANS else node.value


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:bool", _construct_bool)
