"""Finds Kafka Connect with Debezium's PostgreSQL connector: a peer that benchmarks compare with."""

from dataclasses import dataclass
from pathlib import Path

from devstack.tools import kafka, maven

VERSION = "3.7.0.Final"
_CONNECT, _PLUGINS = "connect", "plugins"


@dataclass(frozen=True)
class Debezium:
    """A Java virtual machine, the folder of Kafka Connect's jars and that of its plugins."""

    java: Path
    libraries: Path
    plugins: Path

    @property
    def classpath(self) -> str:
        """The class path of Kafka Connect."""
        return str(self.libraries / "*")


def find_debezium() -> Debezium:
    """Return Java, Kafka Connect and the connector, installing what is missing.

    Raises:
        ToolMissingError: One of them is missing and cannot be installed.
    """
    java = kafka.find_java()
    entry = maven.install(
        f"debezium-{VERSION}",
        lock="debezium-jars",
        projects={
            _CONNECT: (f"org.apache.kafka:connect-runtime:{kafka.VERSION}", kafka.LOGGING),
            # Each plugin has a folder of its own on the plugin path.
            f"{_PLUGINS}/postgres": (f"io.debezium:debezium-connector-postgres:{VERSION}",),
        },
        what=f"Debezium {VERSION}",
        usual="20-60 s",
    )
    return Debezium(java=java, libraries=entry / _CONNECT, plugins=entry / _PLUGINS)
