"""Fuzzes each target for a time: `python tests/fuzz/run.py [--seconds 60] [TARGET …]`."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import fuzzing

from devstack.errors import ToolMissingError
from devstack.tools import cache, wheels

HERE = Path(__file__).parent
LOCK = HERE / "atheris.txt"
MEMORY_MB = 1024


def atheris() -> Path:
    """Return the folder that atheris is in, installing it when it is absent.

    Raises:
        ToolMissingError: pip cannot fetch it, or has none for this Python.
    """
    version = wheels.pinned(LOCK.read_text(), "atheris")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"

    def install(target: Path) -> None:
        wheels.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-input"),
                *("--disable-pip-version-check", "--root-user-action=ignore", "--no-compile"),
                *("--only-binary", ":all:", "--no-deps", "--require-hashes"),
                *("--requirement", str(LOCK), "--target", str(target)),
            ],
            failure=f"pip cannot install atheris {version} for Python {python}",
        )

    name = f"atheris-{version}-python-{python}"
    return cache.installed(name, install, what=f"installing atheris {version}", usual="5-20 s")


def fuzz(target: str, seconds: int, library: Path) -> bool:
    """Fuzz one target; say whether nothing failed."""
    kept = fuzzing.CORPUS / target
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(library), str(HERE)])}
    with tempfile.TemporaryDirectory() as found:
        print(f"fuzz: {target}, {seconds} s", flush=True)
        result = subprocess.run(
            [
                *(sys.executable, str(HERE / "process.py"), target, found, str(kept)),
                *(f"-max_total_time={seconds}", f"-max_len={fuzzing.LONGEST}", "-timeout=20"),
                *(f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={kept}/", "-verbosity=1"),
                *("-print_final_stats=1", "-close_fd_mask=0"),
            ],
            env=environment,
            check=False,
        )
    if result.returncode != 0:
        print(f"fuzz: {target} FAILED; what failed is in {kept.relative_to(Path.cwd())}")
    return result.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("targets", nargs="*", default=list(fuzzing.TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args()
    try:
        library = atheris()
    except ToolMissingError as exc:
        print(f"fuzz: {exc}")
        return 2
    held = [fuzz(target, options.seconds, library) for target in options.targets]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
