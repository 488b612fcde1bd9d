"""Says what this machine lacks before anything is installed; needs only the standard library.

Run as `python3 tools/devstack/src/devstack/preflight.py`, by Pythons that are too old as well.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)
CLONE_GIB = 2  # the virtual environment and the state folder
CACHE_GIB = 3  # the servers' programs, and Go's caches while it builds one
SYSTEMS = {"Linux": ("x86_64", "aarch64"), "Darwin": ("arm64",)}


def problems() -> list[str]:
    """Return one sentence for each thing that is missing."""
    return [
        *python_problems(sys.version_info[:2]),
        *module_problems(),
        *system_problems(platform.system(), platform.machine()),
        *folder_problems("the clone", Path.cwd(), CLONE_GIB, hint=""),
        *folder_problems(
            "the cache of programs",
            cache_folder(dict(os.environ)),
            CACHE_GIB,
            hint="; set BACKBONE_CACHE to another folder",
        ),
    ]


def python_problems(version: tuple[int, ...]) -> list[str]:
    """Say whether this Python is too old."""
    if version >= OLDEST_PYTHON:
        return []
    wanted = ".".join(map(str, OLDEST_PYTHON))
    return [f"Python {wanted} or newer is needed, {sys.executable} is {platform.python_version()}."]


def module_problems() -> list[str]:
    """Say what Debian leaves out of its Python."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if not missing:
        return []
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    return [f"This Python lacks {' and '.join(missing)}; on Debian: apt-get install {package}."]


def system_problems(system: str, machine: str) -> list[str]:
    """Say whether there are no programs for this system."""
    if machine in SYSTEMS.get(system, ()):
        return []
    return [
        f"The native stack runs on Linux (x86-64, ARM) and macOS (ARM), this is {system} on "
        f"{machine}; use `docker compose up` instead."
    ]


def folder_problems(purpose: str, folder: Path, gib: float, *, hint: str) -> list[str]:
    """Say whether a folder cannot be written or its disk is too full."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        return [f"{existing}, for {purpose}, cannot be written{hint}."]
    free = shutil.disk_usage(existing).free / 2**30
    if free < gib:
        return [f"{existing}, for {purpose}, has {free:.1f} GiB free of {gib} GiB needed{hint}."]
    return []


def cache_folder(environment: dict[str, str]) -> Path:
    """Return the folder that `devstack.tools.cache` will use."""
    if environment.get("BACKBONE_CACHE"):
        return Path(environment["BACKBONE_CACHE"])
    if environment.get("XDG_CACHE_HOME"):
        return Path(environment["XDG_CACHE_HOME"]) / "backbone"
    # An empty HOME counts as none.
    home = environment.get("HOME") or os.path.expanduser(f"~{_user()}")  # noqa: PTH111 - no HOME
    return Path(home) / ".cache" / "backbone"


def _user() -> str:
    try:
        import pwd  # noqa: PLC0415 - absent on Windows, which is told so above

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return ""


def main() -> int:
    """Print the problems and return the exit code."""
    found = problems()
    for sentence in found:
        sys.stderr.write(f"preflight: {sentence}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
