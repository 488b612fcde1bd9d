"""Fetches jars by Maven's rules into the cache, checked against a list of hashes.

Whoever fetched them: the list says which jars there are, and what is in each.
"""

import hashlib
import importlib.resources
import os
import shutil
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from devstack.errors import ToolMissingError
from devstack.tools import cache, wheels

# Each project is resolved alone, because the resolver applies the versions that one project manages
# to the other's dependencies.
_RESOLVE = """
import pathlib, shutil, sys
import jgo
target, *projects = sys.argv[1:]
for project in projects:
    for artifact in jgo.resolve(project):
        path = pathlib.Path(artifact.resolve())
        shutil.copyfile(path, pathlib.Path(target) / path.name)
"""


def install(
    name: str, *, lock: str, projects: Mapping[str, Sequence[str]], what: str, usual: str
) -> Path:
    """Return the cache entry `name`, whose folders hold the jars of `projects` and what these need.

    Args:
        name: The entry, with the version in it.
        lock: The list of hashes.
        projects: By folder, as group:artifact:version.
        what: What is being installed, for messages.
        usual: How long it usually takes, for the progress line.

    Raises:
        ToolMissingError: They cannot be fetched, or are not what was locked.
    """

    def fetch(target: Path) -> None:
        resolver = wheels.install("kafka-resolver", distribution="jgo", usual="5-20 s")
        scratch = target / "home"  # the resolver's own cache, thrown away
        scratch.mkdir()
        for folder, wanted in projects.items():
            (target / folder).mkdir(parents=True)
            wheels.run(
                [sys.executable, "-c", _RESOLVE, str(target / folder), *wanted],
                env={"PYTHONPATH": str(resolver), "HOME": str(scratch), **_certificates()},
                failure=f"{what} cannot be fetched from Maven Central",
            )
        shutil.rmtree(scratch)
        verify(target, lock=lock, what=what)

    return cache.installed(name, fetch, what=f"installing {what}", usual=usual)


def verify(folder: Path, *, lock: str, what: str) -> None:
    """Check every jar's SHA-256 and that none is missing or too many.

    Raises:
        ToolMissingError: The folder is not what was locked.
    """
    expected = locked(lock)
    actual = {
        jar.relative_to(folder).as_posix(): hashlib.sha256(jar.read_bytes()).hexdigest()
        for jar in folder.rglob("*.jar")
    }
    wrong = sorted(
        name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name)
    )
    if wrong:
        message = f"{what}: {', '.join(wrong)} differ from what was locked"
        raise ToolMissingError(message)


def locked(lock: str) -> dict[str, str]:
    """Return the SHA-256 of each jar of the list `lock`."""
    text = (importlib.resources.files(__package__) / "locks" / f"{lock}.txt").read_text()
    lines = [line.split() for line in text.splitlines()]
    return {name: digest for digest, name in lines}


def _certificates() -> dict[str, str]:
    """Have the resolver trust whom the machine trusts: it looks for no SSL_CERT_FILE."""
    paths = ssl.get_default_verify_paths()
    trusted = paths.cafile or paths.capath
    if trusted is None or "REQUESTS_CA_BUNDLE" in os.environ or "CURL_CA_BUNDLE" in os.environ:
        return {}
    return {"REQUESTS_CA_BUNDLE": trusted}
