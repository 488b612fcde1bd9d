"""Puts the examples' handlers on the path, as whoever runs them does."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from contracts import kinds
from contracts.catalogue import Catalogue
from contracts.resources import ResourceKind
from runtime import catalogue as catalogue_file

EXAMPLES = Path(__file__).parents[1]
ALONE = ("nightly-report", "order-saga", "sensor-alarm")
sys.path[:0] = [str(EXAMPLES / name) for name in ("handlers", *ALONE)]


@pytest.fixture
def examples() -> Path:
    """The folder of the examples."""
    return EXAMPLES


@pytest.fixture
def catalogue(examples: Path) -> Catalogue:
    """The operator's side of the examples."""
    return catalogue_file.load(examples / "catalogue.yaml")


@pytest.fixture
def resources(examples: Path) -> Mapping[str, kinds.Resource]:
    """Everything that is applied, by the name of its file."""
    found = {}
    for path in (examples / "definitions").glob("*.yaml"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        found[path.name] = kinds.MODEL_OF[ResourceKind(document["kind"])].model_validate(document)
    return found
