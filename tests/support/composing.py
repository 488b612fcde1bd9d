"""Several compose files as one, by the rules of the Compose Specification that these files use."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")
_REPLACED = {"command", "entrypoint", "test"}
"""Lists of which the later one stands alone."""


@dataclass(frozen=True)
class _Instead:
    """What stands in the place of what was there, or, if it is None or empty, nothing does."""

    value: Any


class _Loader(yaml.SafeLoader):
    pass


def _instead(loader: yaml.SafeLoader, node: yaml.Node) -> _Instead:
    if isinstance(node, yaml.SequenceNode):
        return _Instead(loader.construct_sequence(node, deep=True))
    if isinstance(node, yaml.MappingNode):
        return _Instead(loader.construct_mapping(node, deep=True))
    return _Instead(None)


_Loader.add_constructor("!override", _instead)
_Loader.add_constructor("!reset", _instead)


def load(file: Path) -> dict[str, Any]:
    """Return a file as it is, with what it includes."""
    document: dict[str, Any] = yaml.load(file.read_text(), Loader=_Loader)  # noqa: S506 - safe
    included = [load(file.parent / name) for name in document.pop("include", ())]
    whole: dict[str, Any] = {}
    for one in (*included, document):
        whole = _merged(whole, one)
    return whole


def merged(files: Sequence[Path]) -> dict[str, Any]:
    """Return what compose makes of `-f first -f second …`."""
    whole: dict[str, Any] = {}
    for file in files:
        whole = _merged(whole, load(file))
    return whole


def filled(value: str) -> str:
    """Return a value with the defaults of its variables."""
    return _DEFAULT.sub(lambda found: found[1], value)


def _merged(first: Any, later: Any, *, key: str = "") -> Any:
    if isinstance(later, _Instead):
        return later.value
    if isinstance(first, Mapping) and isinstance(later, Mapping):
        names = [*first, *(name for name in later if name not in first)]
        both = {
            name: _merged(first.get(name), later[name], key=name) if name in later else first[name]
            for name in names
        }
        return {name: one for name, one in both.items() if later.get(name) != _Instead(None)}
    if isinstance(first, list) and isinstance(later, list) and key not in _REPLACED:
        return [*first, *(one for one in later if one not in first)]
    return later
