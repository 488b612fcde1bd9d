"""YAML as JSON documents: read as YAML 1.2 does, where other readers surprise."""

from typing import Any

import yaml

# As YAML 1.2 reads it: others make true of `on`, and a date of 2026-01-01, in a JSON Schema too.
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "merge")}
_BOOLEANS = {"true", "True", "TRUE", "false", "False", "FALSE"}


def parse(text: str) -> Any:
    """Return the document in a YAML or JSON text.

    Raises:
        ValueError: it is not YAML, or a key appears twice; the message is one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ValueError(" ".join(str(exc).split())) from exc


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
