"""The consumer on a real Kafka and a real PostgreSQL, killed where it hurts."""

import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from psycopg import connect
from pydantic import BaseModel

from contracts import names
from contracts.events import TaskCompleted, TaskCreated
from contracts.names import Topic
from devstack import ports
from devstack.infrastructure import drop_database, ensure_topics
from devstack.infrastructure.endpoints import Endpoints
from devstack.state import StateFolder
from eventstore import events
from eventstore.events import Cause, Fact, Rendered

RUNS = 4
TASKS = 3
GROUP = "examples.tally"
PARTITIONS = 2

# One hit of a fault point kills the process with SIGKILL, at once.
KILLED_AT = [
    "sdk.before_inbox_commit:4",
    "sdk.after_inbox_commit:3",
    "sdk.before_offset_commit:1",
    "sdk.after_offset_commit:1",
]


@pytest.fixture
def published(unique_name: str) -> list[Rendered]:
    """The task events of some runs, as the relay publishes them; version 1 is on another topic."""
    records = []
    for run in range(RUNS):
        run_id = f"billing.example-{run % 2}:manual:{run}"
        task = {
            "run_id": run_id,
            "definition_id": f"billing.example-{run % 2}",
            "rule": "remind",
            "type": "automated",
        }
        payloads: list[BaseModel] = []
        for number in range(TASKS):
            identity = {
                "task_id": f"00000000-0000-5000-8000-{run:06}{number:06}",
                "key": str(number),
            }
            created = {**task, **identity, "definition_version": 1, "input": {}}
            payloads.append(TaskCreated.model_validate(created))
            payloads.append(TaskCompleted.model_validate({**task, **identity}))
        for version, payload in enumerate(payloads, 2):
            records.append(
                events.render(
                    Fact(payload, key=run_id),
                    source=names.source("ledger"),
                    namespace=unique_name,
                    stream=f"run:{run_id}",
                    version=version,
                    previous_hash=events.GENESIS,
                    occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
                    cause=Cause(correlation_id="order-1"),
                )
            )
    return records


def publish(bootstrap_servers: str, records: Sequence[Rendered]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "partitioner": "murmur2_random"})
    for record in records:
        producer.produce(record.topic, record.body, key=record.key, headers=[*record.headers])
    assert producer.flush(30) == 0


@dataclass
class Tally:
    """The consumer as a user runs it, and what it has counted."""

    folder: Path
    bootstrap_servers: str
    dsn: str
    namespace: str
    output: Path

    @property
    def topic(self) -> str:
        return names.topic(self.namespace, Topic.TASK_EVENTS)

    @contextmanager
    def running(self, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
        environment = {
            "BACKBONE_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "BACKBONE_NAMESPACE": self.namespace,
            "TALLY_DSN": self.dsn,
        }
        with (
            self.output.open("ab") as output,
            subprocess.Popen(
                [sys.executable, "-m", "tally"],
                cwd=self.folder,
                env=os.environ | environment | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def count_all(self, **variables: str) -> None:
        """Run until every record is settled, then stop it as an operator would."""
        with self.running(**variables) as process:
            self.settle(process)
            self.stop(process)

    def settle(self, process: "subprocess.Popen[bytes]") -> None:
        until(lambda: process.poll() is not None or self.all_committed())

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        process.terminate()
        assert process.wait(timeout=30) == 0, self.said()

    def said(self) -> str:
        return self.output.read_text()

    @contextmanager
    def _client(self) -> Iterator[tuple[Consumer, list[TopicPartition]]]:
        client = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": GROUP})
        try:
            yield client, [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
        finally:
            client.close()

    def all_committed(self) -> bool:
        with self._client() as (client, places):
            ends = [client.get_watermark_offsets(place, timeout=10)[1] for place in places]
            try:
                committed = client.committed(places, timeout=10)
            except KafkaException as exc:
                if exc.args[0].code() != KafkaError.NOT_COORDINATOR:
                    raise
                return False
            return [max(place.offset, 0) for place in committed] == ends

    def reset(self) -> bool:
        """Set the group to offset 0; False while a member that was killed is still in it."""
        with self._client() as (client, places):
            for place in places:
                place.offset = 0
            try:
                answers = client.commit(offsets=places, asynchronous=False)
            except KafkaException:
                return False
            return not any(answer.error for answer in answers or ())

    def counts(self) -> dict[tuple[str, str], int]:
        with connect(self.dsn) as connection:
            rows = connection.execute("SELECT definition_id, event_type, events FROM task_tally")
            return {
                (definition_id, event_type): events for definition_id, event_type, events in rows
            }

    def refused(self) -> int:
        with connect(self.dsn) as connection:
            row = connection.execute("SELECT count(*) FROM tally_inbox.inbox_refusals").fetchone()
        assert row is not None
        return int(row[0])


EXPECTED = {
    (f"billing.example-{number}", event_type): RUNS // 2 * TASKS
    for number in range(2)
    for event_type in ("backbone.TaskCreated", "backbone.TaskCompleted")
}


@pytest.fixture
def tally(
    examples: Path,
    kafka_bootstrap_servers: str,
    postgres_dsn: str,
    unique_name: str,
    tmp_path: Path,
) -> Tally:
    tally = Tally(
        folder=examples / "consumer",
        bootstrap_servers=kafka_bootstrap_servers,
        dsn=postgres_dsn,
        namespace=unique_name,
        output=tmp_path / "output",
    )
    ensure_topics(kafka_bootstrap_servers, {tally.topic: PARTITIONS})
    return tally


def until(condition: Callable[[], object], *, within_s: float = 150.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.1)


def shuffled(records: Sequence[Rendered], *, seed: int) -> list[Rendered]:
    """Every record twice, in any order."""
    return random.Random(seed).sample([*records, *records], 2 * len(records))


def figures(listen: str) -> Mapping[str, float]:
    """The number of records by outcome."""
    with urllib.request.urlopen(f"http://{listen}/metrics/", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for outcome, number in re.findall(
        r'^backbone_inbox_records_total{.*backbone_outcome="(\w+)".*} (\S+)$', text, re.MULTILINE
    ):
        found[outcome] = found.get(outcome, 0) + float(number)
    return found


def test_every_event_counts_once_though_the_consumer_is_killed_and_events_come_again(
    tally: Tally, published: list[Rendered]
) -> None:
    # Copies, as a relay leaves them that died between the broker's acknowledgement and its own.
    publish(tally.bootstrap_servers, shuffled(published, seed=0))

    for number, killed_at in enumerate(KILLED_AT, 1):
        with tally.running(BACKBONE_FAULTPOINT=killed_at) as process:
            # There is always more to do, so that each consumer comes to where it is killed.
            publish(tally.bootstrap_servers, shuffled(published, seed=number))
            assert process.wait(timeout=60) == -signal.SIGKILL, killed_at

    tally.count_all()
    assert tally.counts() == EXPECTED
    assert tally.refused() == 0


def test_group_that_reads_all_again_counts_nothing_again(
    tally: Tally, published: list[Rendered]
) -> None:
    publish(tally.bootstrap_servers, shuffled(published, seed=0))
    tally.count_all()
    assert tally.counts() == EXPECTED

    until(tally.reset)
    listen = f"127.0.0.1:{ports.unused()}"
    with tally.running(BACKBONE_HTTP_LISTEN=listen) as process:
        tally.settle(process)
        # Otherwise nothing came again, and this would show nothing.
        assert figures(listen) == {"duplicate": 2 * len(published)}
        tally.stop(process)
    assert tally.counts() == EXPECTED


def test_two_consumers_count_once_while_one_is_killed_and_the_other_hangs(
    tally: Tally, published: list[Rendered]
) -> None:
    seeds = itertools.count()

    def publish_more() -> None:
        publish(tally.bootstrap_servers, shuffled(published, seed=next(seeds)))

    def publish_until_one_is_dead() -> bool:
        # It comes to where it dies only when there is work left once it is in the group.
        publish_more()
        return dies.poll() is not None

    with tally.running() as hangs:
        # Until it has settled something it is perhaps still starting: the other two could do all.
        publish_more()
        tally.settle(hangs)
        with tally.running(BACKBONE_FAULTPOINT="sdk.after_inbox_commit:5") as dies:
            until(publish_until_one_is_dead)
            assert dies.wait(timeout=10) == -signal.SIGKILL
        hangs.send_signal(signal.SIGSTOP)
        with tally.running() as takes_over:
            publish_more()
            tally.settle(takes_over)
            # It wakes up with records that another has settled since.
            hangs.send_signal(signal.SIGCONT)
            publish_more()
            tally.settle(takes_over)
            tally.stop(takes_over)
        tally.settle(hangs)
        tally.stop(hangs)
    assert tally.counts() == EXPECTED
    assert tally.refused() == 0


class Wire:
    """A way to the database that can be cut; it begins cut."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self.port = ports.unused()
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        listener, self._listener = self._listener, None
        for connection in [listener, *self._open]:
            if connection is not None:
                with suppress(OSError):  # The other side may have hung up.
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._open += [near, far]
            threading.Thread(target=_pump, args=(near, far), daemon=True).start()
            threading.Thread(target=_pump, args=(far, near), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(postgres_dsn: str) -> Iterator[Wire]:
    parts = urlsplit(postgres_dsn)
    assert parts.hostname is not None
    assert parts.port is not None
    wire = Wire((parts.hostname, parts.port))
    yield wire
    wire.cut()


def test_database_that_is_away_is_said_in_lines_and_waited_for(
    tally: Tally, wire: Wire, published: list[Rendered]
) -> None:
    parts = urlsplit(tally.dsn)
    credentials = parts.netloc.rpartition("@")[0]
    through = urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{wire.port}"))
    half = len(published) // 2

    with tally.running(TALLY_DSN=through) as process:
        until(lambda: tally.said().count("database_away") >= 2)
        wire.mend()
        publish(tally.bootstrap_servers, published[:half])
        tally.settle(process)
        wire.cut()
        publish(tally.bootstrap_servers, published)
        until(lambda: "partition_held" in tally.said())
        wire.mend()
        tally.settle(process)
        tally.stop(process)

    assert tally.counts() == EXPECTED
    assert "Traceback" not in tally.said()


def test_variable_that_is_missing_is_said_in_a_line(tally: Tally) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TALLY_DSN"}
    done = subprocess.run(
        [sys.executable, "-m", "tally"],
        cwd=tally.folder,
        env=environment | {"BACKBONE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, "tally: set TALLY_DSN\n")


def test_commands_of_the_readme_work_as_they_are_written(
    tally: Tally,
    examples: Path,
    endpoints: Endpoints,
    published: list[Rendered],
    tmp_path: Path,
) -> None:
    """On a state folder that points at the servers of the tests, where `make demo` has none."""
    state = StateFolder(tmp_path / "state")
    state.create()
    state.write("ports", {"postgres": endpoints.postgres.port})
    state.write("secrets", {"postgres": endpoints.postgres.password})
    state.write_text("env", f"BACKBONE_KAFKA_BOOTSTRAP_SERVERS={tally.bootstrap_servers}\n")
    readme = (tally.folder / "README.md").read_text()
    commands = re.findall(r"^\$ (.+)$", readme, re.MULTILINE)
    assert commands[0] == "make demo KEEP=1"
    script = "\n".join(commands[1:]).replace("on_stack.py", f"on_stack.py --state {state.path}")
    # A person looks once there is something to see.
    script = script.replace("tally &\n", "tally &\nread -r\n")
    assert "read -r" in script
    publish(tally.bootstrap_servers, published)
    try:
        with subprocess.Popen(
            ["bash", "-eu", "-c", f"{script}\nwait"],
            cwd=examples.parent,
            env=os.environ | {"BACKBONE_NAMESPACE": tally.namespace},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            until(lambda: process.poll() is not None or tally.all_committed())
            said, _ = process.communicate("\n", timeout=180)
    finally:
        drop_database(endpoints, "tally")
    assert process.returncode == 0, said
    assert f"billing.example-0 backbone.TaskCreated {RUNS // 2 * TASKS}" in said
