"""Installs wheels that carry programs, pinned by hash, into the cache."""

import importlib.resources
import os
import re
import subprocess
import sys
from pathlib import Path

from devstack.errors import ToolMissingError
from devstack.tools import cache

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ \\]+)", re.MULTILINE)


def install(lock: str, *, distribution: str, usual: str) -> Path:
    """Return the folder in which the wheels of the lock file `lock` are unpacked.

    Raises:
        ToolMissingError: pip cannot fetch them.
    """
    resource = importlib.resources.files(__package__) / "locks" / f"{lock}.txt"
    version = pinned(resource.read_text(), distribution)

    def fetch(target: Path) -> None:
        with importlib.resources.as_file(resource) as requirements:
            run(
                [
                    *(sys.executable, "-m", "pip", "install", "--quiet", "--no-input"),
                    *("--disable-pip-version-check", "--root-user-action=ignore"),
                    *("--only-binary", ":all:", "--no-deps", "--no-compile"),
                    *("--require-hashes", "--requirement", str(requirements)),
                    *("--target", str(target)),
                ],
                failure=f"pip cannot install {distribution} {version}",
            )

    name = f"{distribution}-{version}"
    return cache.installed(name, fetch, what=f"installing {distribution} {version}", usual=usual)


def pinned(text: str, distribution: str) -> str:
    """Return the version at which the lock file `text` pins `distribution`."""
    for match in _PIN.finditer(text):
        if match["name"] == distribution:
            return match["version"]
    message = f"the lock file does not pin {distribution}"
    raise LookupError(message)


def run(argv: list[str], *, failure: str, env: dict[str, str] | None = None) -> None:
    """Run a command of an installation.

    Raises:
        ToolMissingError: It failed; the message ends with the last thing it said.
    """
    result = subprocess.run(  # noqa: S603 - the argument vector is this package's own
        argv, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        message = f"{failure}: {lines[-1] if lines else f'exit code {result.returncode}'}"
        raise ToolMissingError(message)
