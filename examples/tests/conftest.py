"""Puts the examples' handlers on the path, as whoever runs them does."""

import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1]
sys.path.insert(0, str(EXAMPLES / "handlers"))


@pytest.fixture
def examples() -> Path:
    """The folder of the examples."""
    return EXAMPLES
