"""Finds the programs that look at the product itself: bill of materials, secrets, manifests.

They are wheels in a folder of their own, so that no image and no service has them.
"""

import os
import sys
from pathlib import Path

from devstack.tools import wheels


def find_auditing() -> Path:
    """Return the folder of the modules `cyclonedx_py`, `detect_secrets` and `kubernetes_validate`.

    Raises:
        ToolMissingError: pip cannot fetch them.
    """
    return wheels.install("auditing", distribution="cyclonedx-bom", usual="10 s")


def command(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line that runs one of the modules, and the environment it needs.

    Raises:
        ToolMissingError: as `find_auditing`.
    """
    environment = {**os.environ, "PYTHONPATH": str(find_auditing())}
    return [sys.executable, "-m", module, *arguments], environment
