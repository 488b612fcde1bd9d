"""Manifests as objects: those of a base or a layer, each rendered once in a process."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from devstack import manifests
from devstack.manifests import Layer

ROOT = Path(__file__).parents[2]


@cache
def layer(wanted: Layer) -> list[dict[str, Any]]:
    """Return what an overlay and its extras come to."""
    return _objects(manifests.layer(ROOT, wanted))


@cache
def base(name: str) -> list[dict[str, Any]]:
    """Return what a base comes to by itself."""
    return _objects(manifests.base(ROOT, name))


def _objects(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]
