"""Finds the Temporal CLI, which carries the development server: PATH, download, or build."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from devstack.tools import cache, golang

VERSION = "1.5.1"
_MODULE = f"github.com/temporalio/cli/cmd/temporal@v{VERSION}"
_STAMP = f"-X github.com/temporalio/cli/temporalcli.Version={VERSION}"
_DOWNLOAD_LIMIT = 10.0  # seconds; where the download is blocked it hangs much longer

_DOWNLOAD = f"""
import asyncio, sys
from temporalio.testing import WorkflowEnvironment
async def download():
    environment = await WorkflowEnvironment.start_local(
        download_dest_dir=sys.argv[1], dev_server_download_version="v{VERSION}"
    )
    await environment.shutdown()
asyncio.run(download())
"""


def find_temporal() -> Path:
    """Return the temporal program, installing it when the machine has none.

    Raises:
        ToolMissingError: None is there and none can be installed.
    """
    if (program := shutil.which("temporal")) and _answers(Path(program)):
        return Path(program)

    def fetch(target: Path) -> None:
        if not _download(target):
            _build(target)

    entry = cache.installed(
        f"temporal-{VERSION}",
        fetch,
        what=f"installing the Temporal server {VERSION} (download, else build with Go)",
        usual="10 s, or 5 min when built",
    )
    return entry / "temporal"


def _download(target: Path) -> bool:
    """Let the Temporal SDK download the program; return whether it came whole."""
    scratch = target / "download"
    scratch.mkdir()
    # In a session of its own, so that the server it starts once downloaded ends with it.
    process = subprocess.Popen(  # noqa: S603 - this package's own argument vector
        [sys.executable, "-c", _DOWNLOAD, str(scratch)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(_DOWNLOAD_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # A download cut short is no program that answers.
    for candidate in scratch.rglob("*"):
        if candidate.is_file() and _answers(candidate):
            candidate.rename(target / "temporal")
            break
    shutil.rmtree(scratch)
    return (target / "temporal").is_file()


def _build(target: Path) -> None:
    golang.build(
        _MODULE,
        target,
        ldflags=_STAMP,
        failure=(
            f"the Temporal server {VERSION} can neither be downloaded nor built; "
            "put a `temporal` program on PATH"
        ),
    )


def _answers(program: Path) -> bool:
    if not os.access(program, os.X_OK):
        return False
    try:
        said = subprocess.run(  # noqa: S603 - the program looked for
            [program, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return "temporal" in said.lower()
