"""The suite can fail: each known bug, planted in one process, breaks the invariant it should.

Each scenario forces the order of events in which its bugs show, and is green without them.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import observing
import pytest
import scenario
import workload
from checker import ORDERS
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from history import HistoryFile, Intents
from planted import planted_bugs
from planted.planted_bugs import BUGS, Bug
from redis.asyncio import Redis
from temporalio.client import Client
from waiting import until

from contracts.events import RunCompleted
from devstack.suite import Service, Suite
from eventstore import events, store
from runtime.postgres import Postgres

HERE = Path(__file__).parent
PLANTED = HERE / "planted"
EVENTS = 6
VISITS, VISITS_AGAIN = 6, 2  # of one visitor, who leaves after every third
SECONDS = 1.0
PATIENCE = 60.0  # seconds for what has to happen
NOTHING_MORE = 4.0  # seconds for what must not be missing, once all else has happened


@dataclass(frozen=True)
class Stage:
    """The suite, and where one scenario of it is played."""

    suite: Suite
    source: str
    history: HistoryFile
    folder: Path
    is_set: asyncio.Event = field(default_factory=asyncio.Event)  # the events may come

    async def play(
        self, scene: Callable[["Stage", Intents], Awaitable[None]], *, settle_s: float
    ) -> scenario.Outcome:
        """Send some events while `scene` is played, and judge what came of them."""
        planned = workload.plan(1, self.source, events=EVENTS, duplicates=0)
        records = [one for one in planned if one.starts]
        if scene is comes_back:
            records = workload.with_visits(records, 1, self.source, visitors=1, each=VISITS)

        async def begin(_number: int) -> None:
            await self.is_set.wait()

        return await scenario.run(
            self.suite,
            source=self.source,
            records=records,
            seconds=SECONDS,
            history=self.history,
            during=begin,
            alongside=lambda intents: scene(self, intents),
            settle_s=settle_s,
        )

    async def all_decided(self, intents: Intents, *, records: int = EVENTS) -> None:
        """Return once every event is sent and committed, and every run that began has ended."""
        temporal = await Client.connect(self.suite.endpoints.temporal_address, namespace="dev")
        bootstrap = self.suite.endpoints.kafka_bootstrap_servers
        looks = 0

        async def decided() -> bool:
            nonlocal looks
            quiet = (
                len(intents.sent) == records
                and await asyncio.to_thread(observing.uncommitted, bootstrap) == 0
                and await observing.open_executions(temporal) == 0
            )
            looks = looks + 1 if quiet else 0
            return looks >= scenario.AT_REST

        assert await until(decided, seconds=PATIENCE), "the events are not decided"


async def dies_before_a_start(stage: Stage, intents: Intents) -> None:
    """The router dies after it has read an event and before it starts the run."""
    suite = stage.suite
    stage.is_set.set()

    async def died() -> bool:
        return stage.folder.joinpath("died").exists()

    assert await until(died, seconds=PATIENCE), "the router never came to its end"
    await asyncio.to_thread(suite.wait_ready, "router")
    await stage.all_decided(intents)


async def reads_again(stage: Stage, intents: Intents) -> None:
    """The events come again when their runs have ended and Redis has forgotten them."""
    suite = stage.suite
    stage.is_set.set()
    await stage.all_decided(intents)
    await asyncio.to_thread(suite.stop, "router")
    first: dict[int, int] = {}
    for sent in intents.sent:
        first[sent.partition] = min(sent.offset, first.get(sent.partition, sent.offset))
    places = [TopicPartition(observing.INPUT, partition, at) for partition, at in first.items()]
    admin = AdminClient({"bootstrap.servers": suite.endpoints.kafka_bootstrap_servers})
    again = ConsumerGroupTopicPartitions(observing.GROUP, places)
    await asyncio.to_thread(admin.alter_consumer_group_offsets([again])[observing.GROUP].result)
    async with Redis.from_url(suite.endpoints.redis_url) as redis:
        await redis.flushall()
    suite.start_process("router")
    await stage.all_decided(intents)


async def commits_late(stage: Stage, intents: Intents) -> None:
    """A transaction takes its position in the outbox before others, and commits after them."""
    dsn = stage.suite.endpoints.postgres.dsn("ledger")
    postgres = await Postgres.connect(dsn, application="late", schema="ledger", size=2)
    run_id = f"{stage.source}:late"
    fact = events.Fact(
        RunCompleted(run_id=run_id, definition_id="e2e.late", definition_version=1), key=run_id
    )
    try:
        async with postgres.transaction("dev") as late:
            (event,) = await store.EventStore(service="ledger").append(
                late,
                stream=store.run_stream(run_id),
                facts=[fact],
                expected=store.NEW,
                occurred_at=datetime.now(UTC),
                cause=events.Cause(correlation_id=stage.source),
            )
            stage.is_set.set()

            async def later_ones_are_published() -> bool:
                async with postgres.transaction("dev") as transaction:
                    return await transaction.fetchval(
                        "SELECT EXISTS (SELECT FROM events WHERE position > $1"
                        " AND position NOT IN (SELECT position FROM outbox_pending))",
                        event.position,
                    )

            assert await until(later_ones_are_published, seconds=PATIENCE), "nothing is published"
        await stage.all_decided(intents)
    finally:
        await postgres.close()


async def comes_back(stage: Stage, intents: Intents) -> None:
    """Somebody visits, leaves, and visits again."""
    stage.is_set.set()
    await stage.all_decided(intents, records=EVENTS + VISITS + VISITS_AGAIN)


SCENES = (dies_before_a_start, reads_again, commits_late, comes_back)


@dataclass(frozen=True)
class Red:
    """A bug, the process it is planted in, the scene that shows it and the violation that does."""

    bug: str
    process: Service
    scene: Callable[[Stage, Intents], Awaitable[None]]
    violation: str

    def __str__(self) -> str:
        return self.bug


REDS = (
    Red("commit_first", "router", dies_before_a_start, r"I2: the run .* is not there"),
    Red("mark_first", "router", dies_before_a_start, r"I2: the run .* is not there"),
    Red("allow_duplicate", "router", reads_again, r"I2: the run .* has 2 executions"),
    Red("random_ids", "ledger", commits_late, r"I5: version \d+ of run:.* has the id .*"),
    Red(
        "no_end", "ledger", comes_back, r"I8: .* has the place \(1, \d+\) of .*, expected \(2, 1\)"
    ),
    Red("cursor", "outbox-relay", commits_late, r"I4: version 1 of run:.*:late is not on .*"),
)


@pytest.fixture(scope="module")
def definitions(suite, backbone):
    names = ("order-placed", "orders", "visit", "visits")
    words = [word for name in names for word in ("-f", str(HERE / "definitions" / f"{name}.yaml"))]
    backbone("apply", *words, "--reason", "planted bugs")


@pytest.fixture
def stage(suite, definitions, source, history, tmp_path):
    return Stage(suite, source, history, tmp_path)


@pytest.fixture
def processes(suite):
    """Return what restarts a process with other variables, which it loses in the end."""
    changed: dict[str, dict[str, str]] = {}

    def restart(process: Service, env: dict[str, str]) -> None:
        changed.setdefault(process, {}).update({name: os.environ.get(name, "") for name in env})
        suite.restart(process, env=env)
        suite.wait_ready(process)

    yield restart
    for process, env in changed.items():
        suite.restart(process, env=env)
        suite.wait_ready(process)


def fault(scene, folder):
    """Return the fault point that a scene needs, for the router."""
    if scene is not dies_before_a_start:
        return {}
    return {"BACKBONE_FAULTPOINT": f"router.before_start:1:{folder / 'died'}"}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_without_a_bug_nothing_is_wrong(stage, processes, scene):
    if env := fault(scene, stage.folder):
        processes("router", env)
    outcome = await stage.play(scene, settle_s=PATIENCE)
    assert outcome.violations == []
    assert sum(run.definition_id == ORDERS for run in outcome.seen.runs) == EVENTS
    assert len(outcome.seen.instances) == (2 if scene is comes_back else 0)


@pytest.mark.parametrize("red", REDS, ids=str)
async def test_a_known_bug_is_found(stage, processes, red):
    planted = {"PYTHONPATH": str(PLANTED), "BACKBONE_PLANTED_BUG": red.bug}
    processes(red.process, planted | fault(red.scene, stage.folder))
    assert f"planted: {red.bug}\n" in stage.suite.log(red.process).read_text()
    outcome = await stage.play(red.scene, settle_s=NOTHING_MORE)
    found = [one for one in outcome.violations if re.fullmatch(red.violation, one)]
    assert found, outcome.violations


def test_every_bug_is_looked_for():
    assert {red.bug for red in REDS} == BUGS.keys()


def start(bug: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(PLANTED), "BACKBONE_PLANTED_BUG": bug}
    return subprocess.run(
        [sys.executable, "-c", "print('started')"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_process_does_not_start_without_the_bug_it_is_to_have():
    assert start("").stdout == "started\n"
    process = start("no_such_bug")
    assert process.returncode != 0
    assert process.stdout == ""
    assert "cannot plant no_such_bug" in process.stderr


@contextmanager
def instead(name: str, bug: Bug) -> Iterator[None]:
    original, BUGS[name] = BUGS[name], bug
    try:
        yield
    finally:
        BUGS[name] = original


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("contracts.gone:emitted_event_id", ImportError),
        ("contracts.identifiers:gone", AttributeError),
        ("contracts.identifiers:run_id", TypeError),
    ],
)
def test_a_bug_cannot_be_planted_where_the_code_has_changed(target, problem):
    with instead("random_ids", Bug(target, BUGS["random_ids"].make)), pytest.raises(problem):
        planted_bugs.plant("random_ids")
