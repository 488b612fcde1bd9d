"""Finds event-ruler, Amazon's engine for event patterns: a peer that a benchmark compares with."""

from dataclasses import dataclass
from pathlib import Path

from devstack.tools import kafka, maven

VERSION = "2.1.0"


@dataclass(frozen=True)
class EventRuler:
    """A Java virtual machine and the folder of the engine's jars."""

    java: Path
    libraries: Path

    @property
    def classpath(self) -> str:
        """The class path of the engine."""
        return str(self.libraries / "*")


def find_event_ruler() -> EventRuler:
    """Return Java and the engine, installing what is missing.

    Raises:
        ToolMissingError: One of them is missing and cannot be installed.
    """
    java = kafka.find_java()
    entry = maven.install(
        f"event-ruler-{VERSION}",
        lock="event-ruler-jars",
        projects={"libs": (f"software.amazon.event.ruler:event-ruler:{VERSION}",)},
        what=f"event-ruler {VERSION}",
        usual="5-30 s",
    )
    return EventRuler(java=java, libraries=entry / "libs")
