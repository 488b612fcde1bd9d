import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backbone.registry.v1 import registry_pb2 as pb
from cli.watching import Following


class Running:
    """`backbone watch` as a process; its output is read as it comes."""

    def __init__(self, address: str, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", "watch", *words],
            env=os.environ | {"BACKBONE_REGISTRY_ADDRESS": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.notes: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.notes)),
        ]
        for reader in self._readers:
            reader.start()

    def until(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.lines} {self.notes}"
            time.sleep(0.01)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.kill()
        code = self.process.wait(timeout=30)
        for reader in self._readers:
            reader.join(timeout=30)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def _read(self, stream: Any, into: list[str]) -> None:
        for line in stream:
            into.append(line.rstrip("\n"))


@pytest.fixture
def watching(nowhere: Path, services: Any) -> Iterator[Callable[..., Running]]:
    """Starts `backbone watch` and waits until it follows."""
    started: list[Running] = []

    def start(*words: str) -> Running:
        running = Running(services.address, *words)
        started.append(running)
        running.until(lambda: any("following" in note for note in running.notes), "it follows")
        return running

    yield start
    for running in started:
        running.end()


def put(services: Any, document: Any, name: str, **more: Any) -> None:
    services.registry.put(json.loads(document(name, **more)), actor="ada", reason="why not")


def ids(running: Running) -> list[str]:
    return [json.loads(line)["resource_id"] for line in running.lines]


def test_watch_prints_changes_as_they_come(watching: Any, services: Any, document: Any) -> None:
    put(services, document, "was.there")
    running = watching()
    put(services, document, "x.y")
    running.until(lambda: running.lines, "the change comes")
    assert running.lines == [
        "2026-03-02T12:00:02Z  applied  definition x.y version 1 active  by ada: why not"
    ]


def test_watch_begins_with_what_is_there_when_asked(
    backbone: Any, stack: Path, services: Any, document: Any
) -> None:
    put(services, document, "x.y")
    put(services, document, "crm", kind="Producer")
    result = backbone("watch", "--snapshot", "--count", "2", "--timeout", "30", "-o", "json")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["kind"], line["resource_id"]) for line in lines] == [
        ("definition", "x.y"),
        ("producer", "crm"),
    ]
    assert lines[0]["content"]["metadata"]["owner"] == "me"


def test_watch_resumes_after_a_revision(
    backbone: Any, stack: Path, services: Any, document: Any
) -> None:
    for number in range(3):
        put(services, document, f"x.y{number}")
    words = ("watch", "--after-revision", "1", "--count", "2", "--timeout", "30", "-o", "json")
    lines = backbone(*words).stdout.splitlines()
    assert [json.loads(line)["latest"]["revision"] for line in lines] == [2, 3]


def test_watch_of_a_kind_prints_only_that(watching: Any, services: Any, document: Any) -> None:
    running = watching("-k", "event-type", "-k", "producer", "-o", "json")
    put(services, document, "x.y")
    put(services, document, "crm.changed", kind="EventType")
    put(services, document, "crm", kind="Producer")
    running.until(lambda: len(running.lines) == 2, "both come")
    assert ids(running) == ["crm.changed", "crm"]


@pytest.mark.parametrize("after", ["a resumption", "a new snapshot"])
def test_watch_tells_each_change_once_across_reconnects(
    watching: Any, services: Any, document: Any, after: str
) -> None:
    registry = services.registry
    put(services, document, "a.first")
    put(services, document, "b.second")
    running = watching("-o", "json")
    put(services, document, "c.third")
    running.until(lambda: len(running.lines) == 1, "the first change comes")
    registry.away = True
    registry.forgets = after == "a new snapshot"
    registry.cut_watches()
    running.until(lambda: any("connecting again" in note for note in running.notes), "the cut")
    put(services, document, "b.second", more=1)
    with registry.changed:
        key = ("dev", pb.RESOURCE_KIND_ACTIVITY_DEFINITION, "a.first")
        registry.record(
            key,
            pb.CHANGE_KIND_RETIRED,
            version=1,
            state=pb.RESOURCE_STATE_RETIRED,
            actor="ada",
            reason="unused",
        )
    registry.away = False
    running.until(lambda: len(running.lines) == 3, "what was missed comes")
    put(services, document, "d.fourth")
    running.until(lambda: len(running.lines) >= 4, "what comes next comes")
    assert ids(running) == ["c.third", "b.second", "a.first", "d.fourth"]
    states = [json.loads(line)["state"] for line in running.lines]
    assert states == ["active", "active", "retired", "active"]


def test_watch_of_a_registry_that_is_away_from_the_start_is_one_sentence(
    backbone: Any, stack: Path, services: Any
) -> None:
    services.registry.away = True
    result = backbone("watch", "--timeout", "30")
    assert result.exit_code == 1
    assert result.stderr.startswith("backbone: the registry cannot answer now")


def test_watch_ends_on_ctrl_c(watching: Any) -> None:
    running = watching()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(timeout=30) == 130
    running.end()
    assert not any("Traceback" in note for note in running.notes)


def test_fewer_changes_than_asked_for_are_a_failure(backbone: Any, stack: Path) -> None:
    result = backbone("watch", "--count", "1", "--timeout", "0.5")
    assert result.exit_code == 1
    assert "0 of 1 changes came within 0.5 s" in result.stderr
    assert backbone("watch", "--timeout", "0.5").exit_code == 0


def test_snapshot_and_revision_exclude_each_other(backbone: Any, stack: Path) -> None:
    assert backbone("watch", "--snapshot", "--after-revision", "3").exit_code == 2


def resource(name: str, revision: int) -> pb.WatchResourcesResponse:
    return pb.WatchResourcesResponse(
        resource=pb.Resource(
            kind=pb.RESOURCE_KIND_PRODUCER, resource_id=name, latest=pb.Change(revision=revision)
        )
    )


def bookmark(revision: int) -> pb.WatchResourcesResponse:
    return pb.WatchResourcesResponse(bookmark=pb.Bookmark(revision=revision))


SNAPSHOT = pb.WatchResourcesResponse(snapshot_start=pb.SnapshotStart())


def told(following: Following, *messages: pb.WatchResourcesResponse) -> list[str]:
    return [one.resource_id for message in messages for one in following.take(message)]


def test_snapshot_that_breaks_off_is_neither_told_twice_nor_taken_for_the_whole() -> None:
    following = Following()
    assert following.begin() == 0
    assert told(following, SNAPSHOT, resource("a", 1), resource("b", 2), bookmark(2)) == []
    assert following.begin() == 2
    assert told(following, SNAPSHOT, resource("a", 5)) == ["a"]
    # Resumed this time: what the broken snapshot left out is still there.
    assert following.begin() == 2
    assert told(following, resource("a", 5), resource("c", 6), bookmark(6)) == ["c"]
    assert following.revision == 6


def test_snapshot_in_place_of_a_resumption_tells_what_is_newer() -> None:
    following = Following(after_revision=3)
    assert following.begin() == 3
    assert told(following, SNAPSHOT, resource("a", 2), resource("b", 4), bookmark(4)) == ["b"]


def test_registry_that_was_set_back_is_followed_from_where_it_is() -> None:
    following = Following()
    assert told(following, SNAPSHOT, resource("a", 9), bookmark(9)) == []
    following.begin()
    assert told(following, SNAPSHOT, resource("a", 3), bookmark(3)) == ["a"]
    assert following.revision == 3
