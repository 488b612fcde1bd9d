"""Records as they stand in a topic, checked against the contract."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner, Result

from cli.__main__ import app
from devstack.infrastructure import ensure_topics

Backbone = Callable[..., Result]


@pytest.fixture
def backbone(
    kafka_bootstrap_servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Backbone:
    for name in list(os.environ):
        if name.startswith("BACKBONE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKBONE_KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap_servers)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return run


@pytest.fixture
def topic(kafka_bootstrap_servers: str, unique_name: str) -> str:
    """A topic with a sound event, one without a zone, a tombstone and a sound event."""
    name = f"{unique_name}.events"
    ensure_topics(kafka_bootstrap_servers, {name: 1})
    producer = Producer({"bootstrap.servers": kafka_bootstrap_servers})
    for value in (_event(0), _event(1, occurred_at="2026-03-02T12:00:00"), None, _event(3)):
        producer.produce(name, value=value)
    assert producer.flush(30) == 0
    return name


def _event(number: int, **more: Any) -> bytes:
    document = {
        "event_id": f"e-{number}",
        "type": "test.happened",
        "source": "test",
        "occurred_at": "2026-03-02T12:00:00Z",
        "payload": {},
    }
    return json.dumps(document | more).encode()


def _verify(backbone: Backbone, topic: str, *words: str) -> Result:
    return backbone("contract", "verify", "producer", "--topic", topic, "-o", "json", *words)


def test_records_of_a_topic_are_named_by_their_offset(backbone: Backbone, topic: str) -> None:
    result = _verify(backbone, topic, "--from-beginning", "--count", "4")
    assert result.exit_code == 1, result.stderr
    problems = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(one["record"], one["reason"]) for one in problems] == [
        (f"{topic}[0] at 1", "naive_time"),
        (f"{topic}[0] at 2", "empty"),
    ]
    assert "2 of 4 records do not keep to the contract" in result.stderr


def test_so_many_records_are_read_and_no_more(backbone: Backbone, topic: str) -> None:
    result = _verify(backbone, topic, "--from-beginning", "--count", "1")
    assert result.exit_code == 0, result.stderr
    assert "all 1 records keep to the contract" in result.stderr


def test_topic_to_which_nothing_comes_fails(backbone: Backbone, topic: str) -> None:
    result = _verify(backbone, topic, "--count", "1", "--timeout", "0.5")
    assert result.exit_code == 1
    assert "there was no record to check" in result.stderr


def test_no_consumer_group_is_joined(
    backbone: Backbone, topic: str, kafka_bootstrap_servers: str
) -> None:
    _verify(backbone, topic, "--from-beginning", "--count", "4")
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap_servers})
    listed = admin.list_consumer_groups(request_timeout=30).result()
    assert not listed.errors
    groups = {group.group_id for group in listed.valid}
    assert not {group for group in groups if group.startswith("backbone-cli")}
