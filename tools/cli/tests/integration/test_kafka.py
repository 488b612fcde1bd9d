import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner, Result

from cli import kafka
from cli.__main__ import app
from contracts import names
from contracts.names import Header, Topic
from devstack import ports
from devstack.infrastructure import ensure_topics

Backbone = Callable[..., Result]


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"e-{number}",
        "type": "test.happened",
        "source": "test",
        "occurred_at": "2026-03-02T12:00:00Z",
        "payload": {"number": number},
        **more,
    }


@pytest.fixture
def backbone(
    kafka_bootstrap_servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Backbone:
    for name in list(os.environ):
        if name.startswith("BACKBONE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKBONE_KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap_servers)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin)

    return run


@pytest.fixture
def topic(kafka_bootstrap_servers: str, unique_name: str) -> str:
    name = f"{unique_name}.events"
    ensure_topics(kafka_bootstrap_servers, {name: 2})
    return name


@pytest.fixture
def tail(kafka_bootstrap_servers: str, topic: str) -> Iterator[kafka.Tail]:
    following = kafka.Tail(kafka_bootstrap_servers, [topic], from_beginning=False)
    yield following
    following.close()


def test_published_lines_are_acknowledged_and_read_back_byte_for_byte(
    backbone: Backbone, topic: str
) -> None:
    lines = [json.dumps(event(n, subject="thing-1"), indent=None) for n in range(20)]
    published = backbone("publish", topic, "-f", "-", "-o", "json", stdin="\n".join(lines))
    assert published.exit_code == 0, published.stderr
    acknowledged = [json.loads(line) for line in published.stdout.splitlines()]
    assert [one["event_id"] for one in acknowledged] == [f"e-{n}" for n in range(20)]

    read = backbone(
        *("events", "tail", "--topic", topic, "--from-beginning"),
        *("--count", "20", "--timeout", "30", "-o", "json"),
    )
    assert read.exit_code == 0, read.stderr
    records = [json.loads(line) for line in read.stdout.splitlines()]
    # One subject is one key is one partition: in the order of the file.
    assert [record["value"] for record in records] == [json.loads(line) for line in lines]
    assert {record["key"] for record in records} == {"thing-1"}
    assert [(one["partition"], one["offset"]) for one in acknowledged] == [
        (record["partition"], record["offset"]) for record in records
    ]
    assert records[0]["headers"][Header.EVENT_TYPE] == "test.happened"


def test_nothing_is_published_when_one_event_is_wrong(
    backbone: Backbone, topic: str, tail: kafka.Tail
) -> None:
    lines = f"{json.dumps(event(1))}\n{json.dumps(event(2, occurred_at='yesterday'))}\n"
    result = backbone("publish", topic, "-f", "-", stdin=lines)
    assert result.exit_code == 2
    assert "line 2" in result.stderr
    assert list(tail.records(timeout_s=1.0)) == []


def test_tail_sees_what_is_published_after_it_began(
    backbone: Backbone, topic: str, kafka_bootstrap_servers: str
) -> None:
    backbone("publish", topic, "-f", "-", stdin=json.dumps(event(1)))
    following = kafka.Tail(kafka_bootstrap_servers, [topic], from_beginning=False)
    try:
        backbone("publish", topic, "-f", "-", stdin=json.dumps(event(2)))
        record = next(following.records(timeout_s=30))
    finally:
        following.close()
    assert json.loads(record.value or b"")["event_id"] == "e-2"


def test_publish_to_an_absent_topic_says_so(backbone: Backbone, unique_name: str) -> None:
    result = backbone("publish", f"{unique_name}.absent", "-f", "-", stdin=json.dumps(event(1)))
    assert result.exit_code == 1
    assert f"there is no topic {unique_name}.absent" in result.stderr


def test_publish_without_a_broker_says_where_it_looked(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr(kafka, "_METADATA_TIMEOUT_S", 1.0)
    result = backbone("publish", "dev.events", "-f", "-", stdin=json.dumps(event(1)))
    assert result.exit_code == 1
    assert "Kafka is not reachable at 127.0.0.1:1: start it with `make up`" in result.stderr


def test_tail_that_counts_fails_when_too_few_come(backbone: Backbone, topic: str) -> None:
    result = backbone("events", "tail", "--topic", topic, "--count", "3", "--timeout", "0.5")
    assert result.exit_code == 1
    assert "0 of 3 records came within 0.5 s" in result.stderr


def test_tail_without_topics_follows_the_namespaces_own(
    backbone: Backbone, kafka_bootstrap_servers: str, unique_name: str
) -> None:
    out = {names.topic(unique_name, one): 1 for one in Topic if one is not Topic.DEAD_LETTERS}
    ensure_topics(kafka_bootstrap_servers, out)
    for number, topic in enumerate(out):
        backbone("publish", topic, "-f", "-", stdin=json.dumps(event(number)))
    result = backbone(
        *("-n", unique_name, "events", "tail", "--from-beginning", "--count", "3"),
        *("--timeout", "30", "-o", "json"),
    )
    assert {json.loads(line)["topic"] for line in result.stdout.splitlines()} == set(out)


def test_tail_shows_what_is_no_json_without_obeying_it(
    backbone: Backbone, topic: str, kafka_bootstrap_servers: str
) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": kafka_bootstrap_servers})
    producer.produce(topic, value=b"\x1b[2Jnot json")
    assert producer.flush(30) == 0
    words = ("events", "tail", "--topic", topic, "--from-beginning", "--count", "1")
    shown = backbone(*words, "--timeout", "30").stdout
    assert "12 bytes that are no envelope" in shown
    assert "\x1b" not in shown
    record = json.loads(backbone(*words, "--timeout", "30", "-o", "json").stdout)
    assert (record["value"], record["value_base64"]) == (None, "G1sySm5vdCBqc29u")


@pytest.mark.usefixtures("backbone")
def test_tail_ends_with_130_on_ctrl_c(topic: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "events", "tail", "--topic", topic],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(60, process.kill)
    killer.start()
    try:
        assert process.stderr is not None
        assert "following" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    finally:
        killer.cancel()
    assert process.returncode == 130
    assert "Traceback" not in error


def findings(result: Result) -> dict[str, list[str]]:
    """Return by finding where it was found."""
    found: dict[str, list[str]] = {}
    for one in json.loads(result.stdout)["findings"]:
        found.setdefault(one["finding"], []).append(one["where"])
    return found


def test_the_doctor_tells_of_topics_and_readers_that_are_not_there(
    backbone: Backbone, kafka_bootstrap_servers: str, unique_name: str
) -> None:
    namespace = unique_name.replace("_", "-")[:63]
    there = names.topic(namespace, Topic.RUN_EVENTS)
    ensure_topics(kafka_bootstrap_servers, {there: 1})
    found = findings(backbone("doctor", "-n", namespace, "-o", "json"))
    absent = [names.topic(namespace, one) for one in Topic if one is not Topic.RUN_EVENTS]
    assert found["topic-missing"] == absent
    assert found.get("nobody-routes") == [names.router_group(namespace)], found


def test_the_doctor_counts_the_records_that_are_not_routed(
    backbone: Backbone, kafka_bootstrap_servers: str, topic: str, unique_name: str
) -> None:
    namespace = unique_name.replace("_", "-")[:63]
    settings = {"bootstrap.servers": kafka_bootstrap_servers}
    producer = Producer(settings)
    for number in range(1010):
        producer.produce(topic, key=b"same", value=str(number).encode())
    assert producer.flush(30) == 0
    group = names.router_group(namespace)
    committed = [TopicPartition(topic, partition, 5) for partition in range(2)]
    consumer = Consumer({**settings, "group.id": group})
    consumer.commit(offsets=committed, asynchronous=False)
    consumer.close()
    result = backbone("doctor", "-n", namespace, "-o", "json")
    (lag,) = (
        one for one in json.loads(result.stdout)["findings"] if one["finding"] == "consumer-lag"
    )
    assert (lag["where"], lag["count"], lag["severity"]) == (topic, 1005, "warning")


def test_the_doctor_tells_that_kafka_does_not_answer(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{ports.unused()}")
    result = backbone("doctor", "--timeout", "3s", "-o", "json")
    assert findings(result)["unreachable"] == ["kafka"]
    assert "topic-missing" not in findings(result)
