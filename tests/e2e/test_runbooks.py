"""Each runbook on the whole suite: something happens, its commands are performed, it is over."""

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import observing
import pytest
import runbooks
import yaml
from confluent_kafka import Producer
from waiting import until

PATIENCE = 90.0  # seconds
# What these hold stands outside of the suite, or is taken from the page by a test of its own.
ELSEWHERE = {"README", "restore", "replace-a-build"}
ALERTS = {
    rule["alert"]
    for group in yaml.safe_load(Path("deploy/observability/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}


def rows(printed):
    """Return the documents of what a command printed, one a line."""
    return [json.loads(line) for line in printed.splitlines()]


class Case:
    """Something that happens: documents and events of its own on the suite."""

    def __init__(self, suite, backbone, folder):
        self.suite, self.backbone, self._folder = suite, backbone, folder
        self.mark = f"m{uuid.uuid4().hex[:6]}"  # digits alone, or 1e5678, are a number in YAML
        self.type, self.definition = f"e2e.case-{self.mark}.sent", f"e2e.case-{self.mark}"
        self.begun = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        self._sent = 0

    def resource(self, kind, name, spec):
        labels = {"case": self.mark}
        metadata = {"id": name, "namespace": "dev", "owner": "e2e", "labels": labels}
        return {
            "apiVersion": "backbone/v1",
            "kind": kind,
            "metadata": metadata,
            "spec": spec,
        }

    def event_type(self, schema):
        return self.resource(
            "EventType", self.type, {"schemas": [{"version": 1, "schema": schema}]}
        )

    def on_event(self, *, when="true", **spec):
        """A definition of the case's events; `spec` is what it has beside its trigger."""
        trigger = {"name": "sent", "event": {"type": self.type, "when": when}}
        return self.resource(
            "ActivityDefinition",
            self.definition,
            {"taskQueue": "e2e-tq", "triggers": [trigger], **spec},
        )

    def file(self, document):
        file = self._folder / f"{uuid.uuid4().hex}.yaml"
        file.write_text(yaml.safe_dump(document))
        return str(file)

    def mended(self, document):
        """Return what stands for MENDED in a runbook: a file without its ending."""
        return {"MENDED": self.file(document).removesuffix(".yaml")}

    def apply(self, *documents):
        words = [word for one in documents for word in ("-f", self.file(one))]
        self.backbone("apply", *words, "--reason", "a case")

    def document(self, *words):
        return json.loads(self.backbone(*words, "-o", "json"))

    def documents(self, *words):
        return rows(self.backbone(*words, "-o", "json"))

    async def known(self):
        """Wait until the router has the newest version of the definition."""
        shown = self.document("get", self.definition)

        async def routed():
            await self.send()
            said = self.documents("decisions", "--definition", self.definition, "--limit", "1")
            return bool(said) and said[0]["definition_version"] == shown["version"]

        assert await until(routed, seconds=PATIENCE), "the router does not know of it"

    async def send(self, *payloads):
        """Send an event for each payload, wait until they are decided, and return their ids."""
        producer = Producer({"bootstrap.servers": self.suite.endpoints.kafka_bootstrap_servers})
        ids = []
        for payload in payloads or ({},):
            self._sent += 1
            ids.append(f"{self.mark}-{self._sent}")
            event = {
                "event_id": ids[-1],
                "type": self.type,
                "source": f"e2e-{self.mark}",
                "occurred_at": datetime.now(UTC).isoformat(),
                "payload": payload,
            }
            producer.produce(observing.INPUT, value=json.dumps(event), key="case")
        assert await asyncio.to_thread(producer.flush, 30) == 0

        async def decided():
            bootstrap = self.suite.endpoints.kafka_bootstrap_servers
            return await asyncio.to_thread(observing.uncommitted, bootstrap) == 0

        assert await until(decided, seconds=PATIENCE)
        return ids

    async def statuses(self, *expected):
        """Wait until the definition's runs have these statuses, in any order; return their ids."""
        found = []

        async def as_expected():
            found[:] = self.documents("runs", "--definition", self.definition)
            return sorted(run["status"] for run in found) == sorted(expected)

        assert await until(as_expected, seconds=PATIENCE), found
        return [run["run_id"] for run in found]

    async def nothing_waits(self):
        """Wait until the outboxes are empty."""

        async def empty():
            return all(one["pending"] == 0 for one in self.documents("outbox", "status"))

        assert await until(empty, seconds=PATIENCE), self.backbone("outbox", "status")


@pytest.fixture
def case(suite, backbone, tmp_path):
    return Case(suite, backbone, tmp_path)


@pytest.fixture
def open_runbook(suite, backbone):
    """Opens a runbook: by the end each of its commands was performed."""
    opened = []

    def open_(name):
        opened.append(runbooks.Runbook(name, suite, backbone))
        return opened[-1]

    yield open_
    assert [book.left for book in opened] == [[]], "not every command was performed"


PACKING = {
    "type": "automated",
    "handler": "pack",
    "taskQueue": "e2e-handlers-tq",
    "input": {"line": "'case'", "order": "event.event_id"},
}
LOOKING = {"type": "human", "title": "'Look at it'", "assignees": {"groups": ["e2e"]}}


def test_every_runbook_is_performed():
    # Those of alerts have an alert's name, and are held to the alerts by a test of their own.
    pages = {page.stem for page in runbooks.FOLDER.glob("*.md") if page.stem not in ALERTS}
    index = (runbooks.FOLDER / "README.md").read_text()
    assert {page for page in pages | ALERTS if f"({page}.md)" in index} == (pages | ALERTS) - {
        "README"
    }
    text = Path(__file__).read_text()
    assert {page for page in pages if f'open_runbook("{page}")' in text} == pages - ELSEWHERE


async def test_repair_and_replay(case, open_runbook):
    book = open_runbook("replay-and-repair")
    rule = {"name": "pack", "when": "1 / event.payload.number > 0", "task": PACKING}
    case.apply(case.event_type({"type": "object"}), case.on_event(rules=[rule]))
    await case.known()
    before = case.documents("runs", "--definition", case.definition)
    # So many that a replay of one a second is not over before it is told to pause.
    event_id, *_ = await case.send(*[{"number": 0}] * 10, {"number": 1})
    await case.statuses(*["failed"] * (len(before) + 10), "completed")

    names = {"DEFINITION": case.definition}
    explained = book.step("backbone explain event", EVENT_ID=event_id, **names)
    assert case.definition in explained
    failed = rows(book.step("backbone runs", "-o", "json", **names))
    assert len(failed) == len(before) + 10
    mended = case.mended(case.on_event(rules=[{"name": "pack", "task": PACKING}]))
    assert "update" in book.step("backbone plan", **mended)
    book.step("backbone apply", **mended)

    async def router_has_it():
        shown = case.document("get", case.definition)
        return shown["version"] == 2

    assert await until(router_has_it, seconds=PATIENCE)
    window = {"FROM": case.begun, "TO": datetime.now(UTC).isoformat()}
    planned = json.loads(
        book.step("backbone replay plan", "-o", "json", TOPIC=observing.INPUT, **names, **window)
    )
    replay = {"REPLAY_ID": planned["replay_id"]}
    assert planned["starts"] == len(failed)
    assert book.step("backbone replay starts", **replay)
    book.step("backbone replay apply", PLAN=planned["plan"])
    book.step("backbone replay pause", **replay)
    book.step("backbone replay resume", **replay)

    async def finished():
        shown = case.document("replay", "show", planned["replay_id"])
        return shown["state"] == "finished"

    assert await until(finished, seconds=PATIENCE)
    assert "finished" in book.step("backbone replay show", **replay)
    await case.statuses(*["failed"] * len(failed), *["completed"] * (len(failed) + 1))


async def test_disable_a_definition(case, open_runbook):
    book = open_runbook("disable-a-definition")
    rules = [{"name": "look", "task": LOOKING}]
    case.apply(case.event_type({}), case.on_event(whileDisabled="hold", rules=rules))
    await case.known()
    opened = case.documents("runs", "--definition", case.definition)
    await case.statuses(*["waiting"] * len(opened))

    names = {"DEFINITION": case.definition}
    book.step("backbone disable", **names)
    listed = rows(book.step("backbone runs", "-o", "json", **names))
    assert len(listed) == len(opened)
    for number, run in enumerate(listed, start=1):
        last = number == len(listed)
        book.step("backbone runs cancel", RUN_ID=run["run_id"], last=last)
    await case.statuses(*["cancelled"] * len(opened))

    async def held():
        await case.send()
        return bool(case.documents("pending", "--definition", case.definition))

    assert await until(held, seconds=PATIENCE), "nothing is held"
    waiting = rows(book.step("backbone pending", "-o", "json", **names))
    assert waiting
    mended = case.on_event(whileDisabled="hold", rules=[{"name": "pack", "task": PACKING}])
    book.step("backbone apply", **case.mended(mended))
    book.step("backbone enable", **names)
    events = sum(one["events"] for one in waiting)
    await case.statuses(*["cancelled"] * len(opened), *["completed"] * events)
    assert book.step("backbone pending", **names) == ""
    assert "it writes to everybody" in book.step("backbone history", **names)


async def test_stop_many_definitions_at_once(case, open_runbook):
    book = open_runbook("kill-switch")
    case.apply(case.event_type({}), case.on_event(rules=[{"name": "pack", "task": PACKING}]))
    await case.known()
    before = case.documents("runs", "--definition", case.definition)

    label = {"LABEL": f"case={case.mark}"}
    thrown = json.loads(book.step("backbone switches throw", "-o", "json", **label))
    try:

        async def selected():
            return [
                one["definitions"]
                for one in case.documents("switches", "list")
                if one["switch_id"] == thrown["switch_id"]
            ] == [1]

        assert await until(selected, seconds=PATIENCE)
        assert thrown["switch_id"] in book.step("backbone switches list", "-o", "json")
        await case.send({}, {})
        waiting = book.step("backbone pending", "-o", "json", DEFINITION=case.definition)
        assert sum(one["events"] for one in rows(waiting)) == 2
        await case.statuses(*["completed"] * len(before))
    finally:
        book.step("backbone switches reset", **label)
    await case.statuses(*["completed"] * (len(before) + 2))
    assert book.step("backbone pending", DEFINITION=case.definition) == ""


async def test_backfill(case, open_runbook):
    book = open_runbook("backfill")
    schedule = {"cron": "0 12 * * *", "missedRuns": {"policy": "skip", "tolerance": "1h"}}
    task = {**PACKING, "input": {"line": "'page'", "order": "trigger.scheduled_for"}}
    spec = {
        "taskQueue": "e2e-tq",
        "triggers": [{"name": "noon", "schedule": schedule}],
        "rules": [{"name": "pack", "task": task}],
    }
    case.apply(case.resource("ActivityDefinition", case.definition, spec))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    due_at = today - timedelta(hours=12)

    names = {"DEFINITION": case.definition}
    book.step("backbone ticks", **names)
    assert book.step("backbone explain tick", DUE_AT=due_at.isoformat(), **names)
    window = {"FROM": (today - timedelta(days=3)).isoformat(), "TO": today.isoformat()}
    planned = json.loads(book.step("backbone backfill plan", "-o", "json", **names, **window))
    assert planned["starts"] == 3
    named = planned["plan"].partition("@")[0]
    book.step("backbone backfill apply", PLAN=planned["plan"])

    async def finished():
        shown = case.document("backfill", "show", named)
        return shown["state"] == "finished"

    assert await until(finished, seconds=PATIENCE)
    assert "finished" in book.step("backbone backfill show", BACKFILL=named)
    await case.statuses(*["completed"] * 3)


async def test_drain_dead_letters(case, open_runbook):
    book = open_runbook("dead-letters")
    rules = [{"name": "pack", "task": PACKING}]
    case.apply(case.event_type({}), case.on_event(when="event.payload.n > 0", rules=rules))

    async def refused():
        await case.send({"n": "one"})
        return bool(case.documents("dlq", "list", "--type", case.type))

    assert await until(refused, seconds=PATIENCE)
    hopeless, _ = await case.send({}, {"n": 1})

    names = {"TYPE": case.type}
    letters = rows(book.step("backbone dlq list", "-o", "json", **names))
    places = {one["place"]: one["event_id"] for one in letters}
    place = next(iter(places))
    assert "expression_error" in book.step("backbone dlq show", PLACE=place)
    assert "one" in book.step("backbone dlq show", PLACE=place)
    mended = case.on_event(when="string(event.payload.n) != ''", rules=rules)
    book.step("backbone apply", **case.mended(mended))
    book.step("backbone dlq redrive", **names)

    def still_open():
        return {one["event_id"] for one in case.documents("dlq", "list", "--type", case.type)}

    async def only_one_is_left():
        # A router that does not know the mended one yet refuses all once more.
        book.step("backbone dlq redrive", **names, last=False)
        return still_open() == {hopeless}

    assert await until(only_one_is_left, seconds=PATIENCE), still_open()
    book.step("backbone dlq redrive", **names)
    (last,) = (at for at, event_id in places.items() if event_id == hopeless)
    book.step("backbone dlq discard", PLACE=last)
    book.step("backbone dlq list", **names)
    assert still_open() == set()
    await case.statuses(*["completed"] * len(letters))


async def test_the_relay_lags(case, open_runbook):
    book = open_runbook("relay-lag")
    await case.nothing_waits()
    case.suite.stop("outbox-relay")
    try:
        case.apply(case.event_type({}))
        waiting = rows(book.step("backbone outbox status", "-o", "json"))
        assert sum(one["pending"] for one in waiting) > 0
        book.step("backbone outbox parked")
        assert book.step("kubectl logs")
    finally:
        case.suite.start_process("outbox-relay")
    case.suite.wait_ready("outbox-relay")
    book.step("kubectl rollout restart")
    await case.nothing_waits()
    book.step("backbone outbox status")


async def test_rotate_a_producers_key(case, open_runbook, tmp_path):
    book = open_runbook("rotate-keys")
    producer = f"e2e-producer-{case.mark}"
    mine = {"sources": [f"{producer}/*"], "types": [case.type]}
    case.apply(case.event_type({}), case.resource("Producer", producer, mine))
    try:
        case.backbone("keys", "new", producer, "2026-10", "-d", str(tmp_path))
        case.backbone("keys", "register", producer, str(tmp_path / f"{producer}.2026-10.pub.json"))

        names = {"PRODUCER": producer, "KEY": "2026-11", "FOLDER": str(tmp_path)}
        book.step("backbone keys new", **names)
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        book.step("backbone keys register", UNTIL=tomorrow, **names)
        old, new = rows(book.step("backbone keys list", "-o", "json", PRODUCER=producer))
        assert (old["id"], new["id"]) == ("2026-10", "2026-11")
        assert old["notAfter"] is not None
        book.step("backbone keys revoke", PRODUCER=producer, OLD_KEY="2026-10")
        old, new = rows(book.step("backbone keys list", "-o", "json", PRODUCER=producer))
        assert ("revokedAt" in old, new.get("revokedAt")) == (True, None)
        book.step("backbone dlq list")
    finally:
        # With a producer of its own, the namespace takes nothing of those it does not know.
        case.backbone("retire", producer, "--kind", "producer", "--reason", "the case is over")


async def test_upgrade_workers_with_open_runs(case, open_runbook):
    book = open_runbook("upgrade-workers")
    nobody = {**PACKING, "taskQueue": f"nobody-{case.mark}-tq"}
    case.apply(case.event_type({}), case.on_event(rules=[{"name": "wait", "task": nobody}]))
    await case.known()
    runs = case.documents("runs", "--definition", case.definition)
    ids = await case.statuses(*["running"] * len(runs))

    assert ids[0] in book.step("backbone runs", "-o", "json")
    book.step("backbone runs")
    book.step("kubectl rollout restart")
    book.step("kubectl rollout status")
    assert "running" in book.step("backbone run show", RUN_ID=ids[0])
    # The new process goes on with what the old one began.
    for run_id in ids:
        case.backbone("runs", "cancel", run_id, "--reason", "nobody packs it")
    await case.statuses(*["cancelled"] * len(ids))


async def test_lose_redis(case, open_runbook):
    book = open_runbook("lose-redis")
    case.apply(case.event_type({}), case.on_event(rules=[{"name": "pack", "task": PACKING}]))
    case.suite.stop("redis")
    try:
        await case.known()
        assert book.step("kubectl logs")
        assert case.definition in book.step("backbone decisions")
    finally:
        case.suite.start_process("redis")
    case.suite.wait_ready()


async def test_lose_a_broker(case, open_runbook):
    book = open_runbook("lose-a-broker")
    await case.nothing_waits()
    case.suite.stop("kafka")
    try:
        case.apply(case.event_type({}))
        waiting = rows(book.step("backbone outbox status", "-o", "json"))
        assert sum(one["pending"] for one in waiting) > 0
    finally:
        case.suite.start_process("kafka")
    case.suite.wait_ready()
    await case.nothing_waits()
    window = {"FROM": case.begun, "TO": datetime.now(UTC).isoformat()}
    book.step("backbone outbox republish", **window)
    await case.nothing_waits()
    book.step("backbone outbox status")
