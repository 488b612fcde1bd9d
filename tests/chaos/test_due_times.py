"""Every policy after every cause of lateness, on the whole suite, with a due time each 3 seconds.

One definition for each policy goes through all outages: its schedule is created while nobody can
tick; Temporal, the worker, the ledger and the registry are killed and stay away; it is disabled
and enabled. Afterwards each due time has one row, with the outcome that the policy asks for, and
Temporal has exactly the runs that the rows name. What an open run holds back is judged alike.
"""

import asyncio
import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import due_times
import observing
import pytest
import yaml
from due_times import PERIOD, Policy
from history import DueTime
from temporalio.client import Client, WorkflowExecutionStatus
from waiting import until

TEMPLATE = Path(__file__).parent / "definitions" / "ticking.yaml"
PATIENCE = 90.0  # seconds that everything has to be accounted for once all is back

SKIP = {"policy": "skip", "tolerance": "5s"}
WINDOW = {"policy": "catchUp", "window": "8s", "limit": 1000}
LIMIT = {"policy": "catchUp", "window": "1h", "limit": 2}
COMPRESS = {"policy": "compress", "window": "1h"}
POLICIES: dict[str, tuple[dict[str, Any], Policy]] = {
    "skip": (SKIP, Policy(tolerance=timedelta(seconds=5))),
    "window": (WINDOW, Policy(window=timedelta(seconds=8), limit=1000)),
    "limit": (LIMIT, Policy(window=timedelta(hours=1), limit=2)),
    "compress": (COMPRESS, Policy(window=timedelta(hours=1), compress=True)),
}
OUTCOMES = {"skip": "skipped", "window": "dropped", "limit": "dropped", "compress": "coalesced"}
"""What late due times come to, besides runs."""
AWAY = 4
"""Due times of an outage: more than any of the policies lets run."""


class Ticking:
    """Definitions that are due all the time, and what the ledger says of them."""

    def __init__(self, suite, backbone, connection, folder: Path) -> None:
        self.suite, self.backbone, self.connection = suite, backbone, connection
        self._folder = folder

    def apply(self, documents: list[dict[str, Any]]) -> None:
        words = []
        for one in documents:
            file = self._folder / f"{one['metadata']['id']}.yaml"
            file.write_text(yaml.safe_dump(one))
            words += ["-f", str(file)]
        self.backbone("apply", *words, "--reason", "test of due times")

    def end(self, documents: list[dict[str, Any]]) -> None:
        """Put versions in force that have no schedule."""
        for document in documents:
            document["spec"]["triggers"] = [{"name": "by-hand", "manual": {}}]
        self.apply(documents)

    async def pass_due_times(self, count: int) -> None:
        """Wait until so many more instants have come at which the definitions are due."""
        last = datetime.now(UTC) + count * PERIOD

        async def come() -> bool:
            return datetime.now(UTC) > last

        assert await until(come, seconds=PATIENCE)

    async def accounted(self, definition_ids: list[str], since: datetime) -> None:
        """Wait until the rows of each definition reach beyond an instant, its runs started."""

        async def all_are() -> bool:
            for one in definition_ids:
                rows = await observing.due_times(self.connection, one)
                late = [row for row in rows if row.outcome == "run" and not row.acknowledged]
                if late or not rows or rows[-1].due_at <= since:
                    return False
            return True

        assert await until(all_are, seconds=PATIENCE), f"not accounted for since {since}"

    async def stopped(self, definition_ids: list[str]) -> None:
        """Wait until the ledger knows that the definitions are disabled."""

        async def known() -> bool:
            found = [await due_times.epochs(self.connection, one) for one in definition_ids]
            return not any(epochs[-1].enabled for epochs in found)

        assert await until(known, seconds=PATIENCE), "the ledger has not heard of it"

    async def settled(self, definition_ids: list[str]) -> None:
        """Wait until all that was due has an outcome, and every run has ended.

        Runs behind an open one follow each other, as many as a slow machine has let wait: the
        patience begins again with each that ends.
        """
        open_before: dict[str, int] = {}

        async def fewer_are_open() -> bool:
            now = {one: await self._open(one) for one in definition_ids}
            fewer = not any(now.values()) or now != open_before
            open_before.update(now)
            return fewer

        while await until(fewer_are_open, seconds=PATIENCE) and any(open_before.values()):
            continue

    async def _open(self, definition_id: str) -> int:
        """Count due times without an outcome, or whose run has not ended."""
        rows = await observing.due_times(self.connection, definition_id)
        found = await due_times.epochs(self.connection, definition_id)
        if found[-1].due:
            return len(rows) + 1
        due = set(due_times.due_times(rows, found)) ^ {row.due_at for row in rows}
        waiting = sum(row.outcome == "waiting" for row in rows)
        runs = {row.run_id for row in rows if row.outcome == "run"}
        return len(due) + waiting + len(runs ^ await self._completed(definition_id))

    async def _completed(self, definition_id: str) -> set[str]:
        rows = await self.connection.fetch(
            "SELECT run_id FROM ledger.runs WHERE definition_id = $1 AND status = 'completed'",
            definition_id,
        )
        return {row["run_id"] for row in rows}

    async def judge(self, definition_id: str, policy: Policy) -> list[DueTime]:
        """Return the due times, once they are what the policy asks for, and so are the runs."""
        rows = await observing.due_times(self.connection, definition_id)
        found = await due_times.epochs(self.connection, definition_id)
        assert due_times.wrong(policy, rows, found) == []
        runs = sorted(row.run_id for row in rows if row.outcome == "run")
        assert sorted(await self._completed(definition_id)) == runs
        temporal = await Client.connect(self.suite.endpoints.temporal_address, namespace="dev")
        executions = [
            (one.id, one.status)
            async for one in temporal.list_workflows("WorkflowType = 'RunActivity'")
            if one.id.startswith(f"{definition_id}:")
        ]
        completed = WorkflowExecutionStatus.COMPLETED
        assert sorted(executions) == [(run_id, completed) for run_id in runs]
        return rows


@pytest.fixture
async def ticking(suite, backbone, tmp_path):
    connection = await asyncpg.connect(suite.endpoints.postgres.dsn())
    yield Ticking(suite, backbone, connection, tmp_path)
    await connection.close()


def document(name: str, missed: dict[str, Any]) -> dict[str, Any]:
    found = yaml.safe_load(TEMPLATE.read_text())
    found["metadata"]["id"] = f"e2e.ticking-{name}"
    found["spec"]["triggers"][0]["schedule"]["missedRuns"] = missed
    return found


def between(rows: list[DueTime], away: tuple[datetime, datetime]) -> set[str]:
    return {row.outcome for row in rows if away[0] < row.due_at <= away[1]}


@pytest.mark.timeout(600)
async def test_each_policy_decides_after_each_outage_and_no_due_time_is_lost_or_runs_twice(
    suite, backbone, ticking
):
    documents = [document(name, missed) for name, (missed, _) in POLICIES.items()]
    ids = [one["metadata"]["id"] for one in documents]
    outages: dict[str, tuple[datetime, datetime]] = {}

    async def away(name: str) -> None:
        """Kill a process, leave it away for some due times, and wait until all is made up for."""
        suite.kill(name)
        suite.stop(name)
        if name == "orchestrator-worker" and not outages:
            ticking.apply(documents)
        begin = datetime.now(UTC)
        await ticking.pass_due_times(AWAY)
        end = datetime.now(UTC)
        suite.start_process(name)
        await asyncio.to_thread(suite.wait_ready)
        await ticking.accounted(ids, end)
        outages["created late" if not outages else name] = (begin, end)

    for name in ("orchestrator-worker", "temporal", "orchestrator-worker", "ledger", "registry"):
        await away(name)
    for one in ids:
        backbone("disable", one, "--reason", "an outage of the test's")
    # What is due until the ledger has heard of it runs.
    await ticking.stopped(ids)
    begin = datetime.now(UTC)
    await ticking.pass_due_times(AWAY)
    end = datetime.now(UTC)
    for one in ids:
        backbone("enable", one, "--reason", "the outage is over")
    await ticking.accounted(ids, datetime.now(UTC))
    outages["disabled"] = (begin, end)
    ticking.end(documents)
    await ticking.settled(ids)

    for (name, (_, policy)), definition_id in zip(POLICIES.items(), ids, strict=True):
        rows = await ticking.judge(definition_id, policy)
        for cause, span in outages.items():
            if cause == "registry":
                # The schedules go on without it.
                continue
            late = OUTCOMES[name]
            if cause == "disabled" and late != "coalesced":
                late = "disabled"
            assert late in between(rows, span), f"{definition_id}: {cause}: {between(rows, span)}"


BLOCKED = {
    "skip": POLICIES["skip"],
    "compress": POLICIES["compress"],
    "catch-up": (
        {"policy": "catchUp", "window": "1h", "limit": 1000},
        Policy(window=timedelta(hours=1), limit=1000),
    ),
}


@pytest.mark.timeout(600)
async def test_what_an_open_run_held_back_is_judged_like_any_other_outage(suite, backbone, ticking):
    documents = []
    for name, (missed, _) in BLOCKED.items():
        one = document(f"held-{name}", missed)
        one["spec"]["triggers"][0]["schedule"]["overlap"] = "bufferAll"
        # Somebody has to look at the first run, which is open until then.
        one["spec"]["context"] = [{"name": "last", "lastRun": {}}]
        one["spec"]["rules"][0]["when"] = "context.last == null"
        documents.append(one)
    ids = [one["metadata"]["id"] for one in documents]
    ticking.apply(documents)

    async def first_runs() -> list[str]:
        """Return the one run of each definition behind which enough due times wait."""
        found = []
        for one in ids:
            rows = await observing.due_times(ticking.connection, one)
            runs = [number for number, row in enumerate(rows) if row.outcome == "run"]
            waiting = {row.outcome for row in rows[runs[0] + 1 :]} if runs else set()
            if waiting == {"waiting"} and len(rows) - runs[0] > AWAY:
                found.append(str(rows[runs[0]].run_id))
        return found

    async def all_held() -> bool:
        return len(await first_runs()) == len(ids)

    assert await until(all_held, seconds=PATIENCE), "nothing waits for the open run"
    for run_id in await first_runs():
        (task,) = backbone("tasks", "list", "--run", run_id, "-o", "json").splitlines()
        backbone("tasks", "complete", json.loads(task)["task_id"], "--answer", "{}")
    await ticking.accounted(ids, datetime.now(UTC))
    ticking.end(documents)
    await ticking.settled(ids)

    for (name, (_, policy)), definition_id in zip(BLOCKED.items(), ids, strict=True):
        rows = await ticking.judge(definition_id, policy)
        late = {OUTCOMES[name]} if name in OUTCOMES else set()
        assert {row.outcome for row in rows} == {"run", *late}
        spans = await ticking.connection.fetch(
            "SELECT recorded_at, closed_at FROM ledger.runs WHERE definition_id = $1"
            " ORDER BY recorded_at",
            definition_id,
        )
        for earlier, later in itertools.pairwise(spans):
            assert earlier["closed_at"] <= later["recorded_at"], "two runs were open at a time"


AT = datetime(2026, 3, 2, 12, 0, 10, tzinfo=UTC)
ENABLED = [
    due_times.Epoch(AT - timedelta(seconds=10), AT - timedelta(seconds=10), enabled=True, due=True),
    due_times.Epoch(AT, AT + timedelta(seconds=3), enabled=True, due=False),
]


def looked_at(*outcomes: str) -> list[DueTime]:
    """The three due times of that schedule, all looked at ten seconds after the first of them."""
    return [
        DueTime(AT + timedelta(seconds=3 * number - 7), outcome, None, decided_at=AT)
        for number, outcome in enumerate(outcomes)
    ]


def test_the_model_knows_what_each_policy_asks_for():
    asked = {
        "skip": ("skipped", "run", "run"),
        "window": ("run", "run", "run"),
        "limit": ("dropped", "run", "run"),
        "compress": ("coalesced", "coalesced", "run"),
    }
    for name, outcomes in asked.items():
        _, policy = POLICIES[name]
        assert due_times.wrong(policy, looked_at(*outcomes), ENABLED) == []
        for planted in itertools.product(("run", "skipped", "dropped", "coalesced"), repeat=3):
            if planted != outcomes:
                assert due_times.wrong(policy, looked_at(*planted), ENABLED), (name, planted)
        assert due_times.wrong(policy, looked_at(*outcomes)[1:], ENABLED), "one is missing"


def test_the_model_lets_stand_what_was_decided_before_the_ledger_knew_of_the_end():
    _, policy = POLICIES["window"]
    due = AT + timedelta(seconds=2)  # after the end
    for decided, wrong in ((2.5, False), (3.5, True)):
        last = DueTime(due, "run", None, decided_at=AT + timedelta(seconds=decided))
        rows = [*looked_at("run", "run", "run"), last]
        assert bool(due_times.wrong(policy, rows, ENABLED)) is wrong


def test_the_model_counts_towards_a_limit_what_fell_due_in_the_same_epoch():
    _, policy = POLICIES["limit"]
    enabled_again = due_times.Epoch(AT, AT, enabled=True, due=True)
    late = AT + timedelta(seconds=5)
    rows = [replace(row, decided_at=late) for row in looked_at("disabled", "run", "run")]
    rows += [
        DueTime(AT + timedelta(seconds=second), "run", None, decided_at=late) for second in (2, 5)
    ]
    found = [replace(ENABLED[0], enabled=False), enabled_again]
    found.append(due_times.Epoch(late, late, enabled=True, due=False))
    assert due_times.wrong(policy, rows, found) == []
    assert due_times.wrong(policy, [replace(rows[0], outcome="run"), *rows[1:]], found)
