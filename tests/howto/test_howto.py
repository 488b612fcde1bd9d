"""The pages that say how to do something: each line typed, on the stack that `make demo` leaves.

What a page leaves open (an id, a version, a time) is filled in; all else is typed as it stands. A
stack of its own, since its definitions and dead letters are those of the pages.
"""

import asyncio
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from backbone_command import Answer
from demo import billing_database
from guides import Guide, Terminal
from pages import blocks

from devstack import ports
from devstack.infrastructure import SHORT_LIVED
from devstack.infrastructure.endpoints import Endpoints
from devstack.suite import Extra, Suite

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAYMENT = "billing.payment.received"
PASSWORD = "b111"  # of generated data, for as long as the tests last

LOOKING = {"type": "human", "title": "'Look'", "assignees": {"groups": ["howto"]}}

Open = Callable[[str, str], Guide]
Document = dict[str, Any]

pytestmark = pytest.mark.timeout(300)


def worker_of_the_examples() -> Extra:
    listen = f"127.0.0.1:{ports.unused()}"
    return Extra(
        name="task-worker",
        argv=(sys.executable, "-m", "handlers"),
        env={
            "PYTHONPATH": str(EXAMPLES / "handlers"),
            "BACKBONE_ENVIRONMENT": "local",
            "BACKBONE_HTTP_LISTEN": listen,
        },
        health=f"http://{listen}/readyz",
    )


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """What `make demo KEEP=1` leaves running."""
    variables: dict[str, str] = {}

    def prepare(endpoints: Endpoints) -> None:
        postgres = endpoints.postgres
        asyncio.run(
            billing_database.prepare(
                postgres.dsn(),
                billing_dsn=postgres.dsn(database=billing_database.DATABASE),
                script=(EXAMPLES / "billing.sql").read_text(encoding="utf-8"),
                password=PASSWORD,
            )
        )
        variables["BILLING_DB_DSN"] = (
            f"postgresql://{billing_database.ROLE}:{PASSWORD}"
            f"@{postgres.host}:{postgres.port}/{billing_database.DATABASE}"
        )

    suite = Suite(
        tmp_path_factory.mktemp("howto") / "stack",
        catalogue=EXAMPLES / "catalogue.yaml",
        extra=[worker_of_the_examples()],
        env={"orchestrator-worker": variables},
        prepare=prepare,
        durable=False,
        server_env=SHORT_LIVED,
    )
    try:
        yield suite.start()
    finally:
        suite.stop()


@pytest.fixture(scope="module")
def terminal(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A terminal in a folder as the clone is, where the examples are applied."""
    terminal = Terminal(suite, tmp_path_factory.mktemp("clone"))
    terminal.backbone("apply", "-f", "examples/definitions", "--reason", "the demo")
    return terminal


@pytest.fixture
def guide(terminal: Terminal) -> Iterator[Open]:
    """Opens a section of a page: by the end each of its lines was performed."""
    opened: list[Guide] = []

    def open_(page: str, section: str) -> Guide:
        opened.append(Guide(terminal, page, section))
        return opened[-1]

    yield open_
    assert [one.left for one in opened] == [[] for _ in opened], "not every line was performed"


class Case:
    """What there is on the stack for a page to be about."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.began = datetime.now(UTC) - timedelta(seconds=1)

    def apply(self, *documents: Document) -> None:
        names = [self.file(f"{uuid.uuid4().hex}.yaml", one) for one in documents]
        words = [word for name in names for word in ("-f", name)]
        self._terminal.backbone("apply", *words, "--reason", "the case of a page")

    def file(self, name: str, document: Document) -> str:
        path = self._terminal.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(document))
        return name

    def may_emit(self, event_type: str) -> Document:
        """A producer, since those of the examples may not emit what the pages are about."""
        producer = self.definition("howto-" + event_type.replace(".", "-"))
        spec = {"sources": [f"howto/{event_type}"], "types": [event_type]}
        return {**producer, "kind": "Producer", "spec": spec}

    def large_payment(self, limit: int) -> Document:
        """The example, with another limit."""
        text = (EXAMPLES / "definitions" / "large-payment.yaml").read_text()
        document: Document = yaml.safe_load(text)
        document["spec"]["rules"][1]["when"] = f"event.payload.amount >= {limit}"
        return document

    def definition(self, name: str, *rules: Document, **spec: Any) -> Document:
        """A definition that starts with each payment and needs nobody, unless told otherwise."""
        never = {"name": "never", "when": "false", "task": LOOKING}
        trigger = {"name": "paid", "event": {"type": PAYMENT}}
        return {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": name, "namespace": "dev", "owner": "howto"},
            "spec": {
                "taskQueue": "billing-tq",
                "triggers": [trigger],
                "rules": [*rules] or [never],
                **spec,
            },
        }

    def publish(self, event_type: str = PAYMENT, **payload: Any) -> str:
        """Publish a payment, or another event that somebody `may_emit`, and return its id."""
        event: Document = json.loads((EXAMPLES / "payment.json").read_text())
        now = datetime.now(UTC).isoformat()
        event |= {"type": event_type, "event_id": uuid.uuid4().hex, "occurred_at": now}
        if event_type == PAYMENT:
            payload = event["payload"] | payload
        else:
            event["source"] = f"howto/{event_type}"
        event["payload"] = payload
        path = self._terminal.folder / "an-event.json"
        path.write_text(json.dumps(event))
        self._terminal.backbone("publish", "dev.events", "-f", path.name)
        return str(event["event_id"])

    def listed(self, *words: str) -> list[Document]:
        return list(self._terminal.backbone.ask(*words, "-o", "json").lines)

    def document(self, *words: str) -> Document:
        found: Document = self._terminal.backbone.ask(*words, "-o", "json").document
        return found

    def soon(self, what: Callable[[], Any]) -> Any:
        """Ask until there is an answer, and return it."""
        deadline = datetime.now(UTC) + timedelta(seconds=60)
        while not (found := what()):
            assert datetime.now(UTC) < deadline, "it did not come"
        return found

    def run_of(self, definition: str, status: str = "") -> Document:
        """Return the newest run of a definition, once there is one."""
        words = ("--definition", definition, *(("--status", status) if status else ()))
        found: Document = self.soon(lambda: self.listed("runs", *words))[0]
        return found

    def known(self, definition: str) -> None:
        """Publish payments until the router has the newest version of a definition."""
        version = self.document("get", definition)["version"]

        def decided() -> bool:
            event = self.publish(amount=2000)
            said = self.soon(lambda: self.listed("decisions", "--event", event))
            return (definition, version) in {
                (one["definition_id"], one["definition_version"]) for one in said
            }

        self.soon(decided)


@pytest.fixture
def case(terminal: Terminal) -> Case:
    return Case(terminal)


def shown(page: str, section: str) -> list[Document]:
    """Return the documents that a section shows."""
    return [
        yaml.safe_load(one.text)
        for one in blocks(ROOT / page)
        if (one.section, one.language) == (section, "yaml")
    ]


def says(*words: str) -> Callable[[Answer], bool]:
    return lambda answer: all(word in answer.printed for word in words)


def test_ten_lines_of_ones_own(guide: Open) -> None:
    readme = guide("README.md", "Ten lines of your own")
    readme.step(".")
    readme.step("backbone apply")
    readme.step("backbone publish")
    readme.step("backbone inbox", until=says("Thank customer-1@example.com"))


def test_the_examples_of_the_readme(guide: Open) -> None:
    readme = guide("examples/nightly-report/README.md", "Try the schedule")
    # In this folder there is nothing to make: the clone is set up.
    assert readme.left.pop(0) == "make setup && . .venv/bin/activate"
    assert readme.step("backbone schedules next").printed.count("nightly") == 1
    assert "7 tests passed" in readme.step("backbone test").said


def test_definitions_at_the_command_line(guide: Open, case: Case) -> None:
    page = guide("docs/definitions.md", "At the command line")
    page.step(".")
    assert "unchanged" in page.step("backbone plan").printed
    page.step("backbone get")
    page.step("backbone get")
    page.step("backbone history")
    page.step("backbone disable")
    page.step("backbone enable")
    page.step("backbone schedules drift", until=lambda _: True)
    page.step("backbone publish")
    page.step("backbone trigger")
    page.step("backbone runs", until=says("billing.large-payment:event:"))
    run = case.run_of("billing.large-payment", "waiting")
    page.step("backbone run show", instead={"RUN_ID": run["run_id"]})
    page.step("backbone tasks", until=says("Review payment"))
    tasks = case.listed("inbox", "--group", "accounting")
    page.step("backbone tasks complete", instead={"TASK_ID": tasks[0]["task_id"]})
    page.step("backbone ticks")
    page.step("backbone decisions", until=says("started"))
    events = case.listed("decisions", "--definition", "billing.large-payment")
    page.step("backbone explain event", instead={"EVENT_ID": events[0]["event_id"]})
    page.step("backbone events tail")
    for line in ("pending", "queues", "dlq list"):
        page.step(f"backbone {line}")
    page.step("backbone doctor", until=lambda _: True)


def test_the_doctor(guide: Open) -> None:
    # Warnings are those of a stack on one machine: that nothing is replicated, and the like.
    page = guide("docs/doctor.md", "What is wrong: `backbone doctor`")
    page.step("backbone doctor", until=lambda _: True)
    assert page.step("backbone doctor -o json").document["looks"]
    page.step("backbone doctor --strict")
    page.step("backbone doctor --patience")
    readme = guide("tools/cli/README.md", "What is wrong")
    readme.step("backbone doctor")
    readme.step("backbone doctor --strict")


def test_versions_before_they_count(guide: Open, case: Case) -> None:
    versions = case.document("get", "billing.large-payment")["version"]
    case.file("large-payment.yaml", case.large_payment(11_000))
    case.file("definitions/large-payment.yaml", case.large_payment(11_000))
    (case._terminal.folder / "payment.json").write_text((EXAMPLES / "payment.json").read_text())
    case.publish()
    run = case.run_of("billing.large-payment")
    case.apply(case.large_payment(11_000))
    which = {"v7": f"v{versions}", "v8": f"v{versions + 1}"}

    page = guide("docs/backtest.md", "Simulate")
    for _ in range(3):
        page.step("backbone simulate")
    page = guide("docs/backtest.md", "Over what is there now")
    page.step("backbone simulate -f")
    page.step("backbone simulate billing.overdue-invoices", instead={"v8": "v1"})

    page = guide("docs/backtest.md", "Backtest")
    page.step("backbone backtest", instead=which)
    page.step("backbone backtest")
    page.step("backbone plan", instead={"prod": "dev"})
    page.step("backbone backtest", instead={"prod": "dev"})

    page = guide("docs/backtest.md", "Shadow")
    page.step("backbone shadow start")
    page.step("backbone shadow list")
    case.known("billing.large-payment")
    page.step("backbone shadow report", until=lambda _: True)
    page.step("backbone shadow stop")

    readme = guide("tools/cli/README.md", "Before a version counts")
    readme.step("backbone explain run", instead={"billing.large-payment:event:…": run["run_id"]})
    task = case.listed("tasks", "list")[0]["task_id"]
    readme.step("backbone explain task", instead={"6f1d…": task})
    readme.step("backbone simulate")
    readme.step("backbone simulate")
    readme.step("backbone backtest", instead=which)
    readme.step("backbone backtest")
    readme.step("backbone shadow start")
    case.known("billing.large-payment")
    readme.step("backbone shadow report", until=lambda _: True)
    readme.step("backbone shadow stop")


def test_what_is_not_kept(guide: Open, case: Case) -> None:
    overdue = yaml.safe_load((EXAMPLES / "definitions" / "overdue-invoices.yaml").read_text())
    customer = {"name": "customer", "lastRun": {}}
    context = [*overdue["spec"]["context"], customer]
    case.apply(case.definition("howto.looks", context=context))
    case.known("howto.looks")
    run = case.run_of("howto.looks", "completed")["run_id"]
    page = guide("docs/context.md", "What is not kept")
    page.step("backbone run redact", instead={"RUN_ID": run})
    assert "@example.com" not in json.dumps(case.document("run", "show", run)["snapshot"])


def refused(case: Case, count: int) -> list[str]:
    """Have the router refuse events, and return the places of their dead letters."""

    def open_() -> list[str]:
        return [one["place"] for one in case.listed("dlq", "list", "--code", "expression_error")]

    def enough() -> bool:
        if len(open_()) < count:
            case.publish(amount=7)
        return len(open_()) >= count

    case.soon(enough)
    return open_()


def test_dead_letters(guide: Open, case: Case) -> None:
    def divides(by: str) -> Document:
        # Of an own type of cause: only what the test publishes has this amount.
        match = {"payload": {"amount": [7]}}
        event = {"type": PAYMENT, "match": match, "when": f"1 / ({by}) >= 0"}
        return case.definition("howto.divides", triggers=[{"name": "paid", "event": event}])

    broken = divides("int(event.payload.amount) - 7")
    mended = divides("int(event.payload.amount)")

    def started() -> bool:
        return bool(case.listed("runs", "--definition", "howto.divides"))

    case.apply(broken)
    place = refused(case, 2)[0]
    page = guide("docs/dead-letters.md", "Working dead letters off")
    page.step("backbone dlq list")
    since = {"2026-11-29T00:00:00Z": case.began.isoformat()}
    assert place in page.step("backbone dlq list --code", instead=since).printed
    page.step("backbone dlq show", instead={"0:42": place})
    revealed = page.step("backbone dlq show", instead={"0:42": place})
    assert '"amount": 7' in revealed.printed
    assert "the producer asks" in page.step("backbone dlq openings").printed
    assert page.step("backbone dlq redrive", "-o", "json").printed
    case.apply(mended)
    page.step("backbone dlq redrive --code", until=lambda _: started())
    case.apply(broken)
    one, other, third, *_ = refused(case, 3)
    case.apply(mended)
    page.step(
        "backbone dlq redrive",
        instead={"0:42": one, "0:43": other},
        until=lambda _: one not in {left["place"] for left in case.listed("dlq", "list")},
    )
    page.step("backbone dlq discard", instead={"0:44": third})

    readme = guide("tools/cli/README.md", "Dead letters")
    case.apply(broken)
    place = refused(case, 1)[0]
    assert place in readme.step("backbone dlq list", instead=since).printed
    readme.step("backbone dlq show", "--reveal", "--reason", "test", instead={"0:42": place})
    assert b"7" in (case._terminal.folder / "value.json").read_bytes()
    readme.step("backbone dlq redrive")
    case.apply(mended)
    readme.step("backbone dlq redrive", until=lambda _: not case.listed("dlq", "list"))
    case.apply(broken)
    place = refused(case, 1)[0]
    readme.step("backbone dlq discard", instead={"0:44": place})
    case.apply(mended)


def test_routing_past_events_again(guide: Open, case: Case) -> None:
    for _ in range(8):
        case.publish(amount=10)
    last = case.publish(amount=10)
    case.soon(lambda: case.document("explain", "event", last))
    case.apply(case.definition("howto.late"))
    until = datetime.now(UTC) + timedelta(seconds=1)
    page = guide("docs/event-replay.md", "Routing past events again")
    planned = page.step(
        "backbone replay plan",
        *("--rate", "1", "-o", "json"),
        instead={
            "billing.large-payment": "howto.late",
            "2026-11-28T00:00:00Z": case.began.isoformat(),
            "2026-11-29T00:00:00Z": until.isoformat(),
        },
    ).document
    assert planned["starts"] >= 9
    replay = {"ID": planned["replay_id"]}
    page.step("backbone replay starts", instead=replay)
    page.step("backbone replay apply", instead={"ID@HASH": planned["plan"]})
    page.step("backbone replay show", instead=replay)
    page.step("backbone replay pause", instead=replay)
    page.step("backbone replay resume", instead=replay)
    page.step("backbone replay cancel", instead=replay)
    assert planned["replay_id"] in page.step("backbone replay list").printed


def test_human_tasks(guide: Open, case: Case) -> None:
    task = shown("docs/human-tasks.md", "In a definition")[0]
    task["task"]["title"] = "'Call about ' + event.payload.invoice_id"
    case.apply(case.definition("howto.calls", {"name": "call", **task}))
    case.known("howto.calls")
    for _ in range(2):
        case.publish(amount=1)

    def open_() -> list[str]:
        tasks = case.listed("inbox", "--group", "collections")
        return [one["task_id"] for one in tasks if one["definition_id"] == "howto.calls"]

    first, second, third, *_ = case.soon(lambda: open_() if len(open_()) >= 3 else [])
    page = guide("docs/human-tasks.md", "At the command line")
    page.step("backbone inbox")
    assert "Call about INV-" in page.step("backbone inbox --group").printed
    this = {"6f1d…": first}
    for action in ("show", "claim", "comment", "release"):
        page.step(f"backbone tasks {action}", instead=this)
    version = str(case.document("tasks", "show", first)["version"])
    page.step("backbone tasks complete", instead={**this, "3": version})
    page.step("backbone tasks reassign", instead={"6f1d…": second})
    page.step("backbone tasks cancel", instead={"6f1d…": third})
    assert "he calls back tomorrow" in page.step("backbone tasks history", instead=this).printed


def test_runs_events_and_tasks(guide: Open, case: Case) -> None:
    (case._terminal.folder / "payment.json").write_text((EXAMPLES / "payment.json").read_text())
    case.publish()
    run = case.run_of("billing.large-payment", "waiting")
    event = {"e-4711": case.publish()}
    readme = guide("tools/cli/README.md", "Runs, events and tasks")
    readme.step("backbone trigger")
    readme.step("backbone publish")
    assert run["run_id"] in readme.step("backbone runs").printed
    readme.step("backbone run show", instead={"billing.large-payment:event:…": run["run_id"]})
    readme.step("backbone ticks")
    readme.step("backbone decisions", instead=event, until=says("started"))
    readme.step("backbone decisions --outcome")
    readme.step("backbone explain event", instead=event)
    readme.step("backbone explain event", instead=event)
    readme.step("backbone pending")
    readme.step("backbone inbox")
    task = case.soon(lambda: case.listed("inbox", "--group", "accounting"))[0]["task_id"]
    readme.step("backbone tasks claim", instead={"6f1d…": task})
    readme.step("backbone tasks complete", instead={"6f1d…": task})
    # It shows what comes from now on, and nobody else is here to have something happen.
    readme.step("backbone events tail", "--from-beginning")


def test_kill_switches(guide: Open, case: Case) -> None:
    page = guide("docs/kill-switch.md", "Kill switches")
    page.step("backbone switches throw --at run")
    try:
        page.step("backbone switches throw --at effect")
        thrown = page.step("backbone switches list", "-o", "json").lines
        (of_all,) = (one["switch_id"] for one in thrown if one["point"] == "run")
        page.step("backbone switches reset", instead={"SWITCH": of_all})
        page.step("backbone switches throw --at run --all-namespaces")
    finally:
        for one in case.listed("switches", "list"):
            case.document("switches", "reset", one["switch_id"], "--reason", "the page is read")
    assert case.listed("switches", "list") == []


def test_schedules(guide: Open) -> None:
    page = guide("docs/schedules.md", "Looking ahead")
    assert page.step("backbone schedules next -f").printed.count("\n") == 21
    assert page.step("backbone schedules next").printed.count("\n") == 21
    page = guide("docs/schedules.md", "Tests")
    assert "7 tests passed" in page.step("backbone test").said


def test_signatures(guide: Open, case: Case) -> None:
    producer = case.may_emit(PAYMENT)
    case.apply({**producer, "metadata": {**producer["metadata"], "id": "shop"}})
    page = guide("docs/signatures.md", "A producer that signs")
    page.step("backbone keys new")
    page.step("backbone keys register")
    page = guide("docs/signatures.md", "Rotate, revoke")
    page.step("backbone keys new")
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    page.step("backbone keys register", instead={"2026-12-01T12:00:00Z": later})
    page.step("backbone keys revoke")
    page = guide("docs/signatures.md", "What Backbone emits")
    for _ in range(3):
        page.step("backbone keys new")
    trusted = page.step("backbone keys trust").document
    assert "checkpoints" in json.dumps(trusted)


def test_looking_at_instances(guide: Open, case: Case) -> None:
    due = "billing.reminder.due"
    case.apply(*shown("docs/stateful.md", "Stateful definitions"), case.may_emit(due))
    page = guide("docs/stateful.md", "Looking at instances")

    def begun() -> list[Document]:
        case.publish(due, invoice_id="INV-0001")
        return case.listed("instances", "list", "--definition", "billing.dunning")

    instance = case.soon(begun)[0]["instance_id"]
    assert instance in page.step("backbone instances list").printed
    page.step("backbone instances show", instead={"billing.dunning:instance:…:1": instance})
    page.step("backbone instances waiting")


def test_people_and_their_values(guide: Open, case: Case) -> None:
    event_type = shown("docs/erasure.md", "Mark fields")[0]
    name = event_type["metadata"]["id"]
    rules = shown("docs/erasure.md", "What definitions do with them")[0]["rules"]
    # Nobody serves the page's queue here, and the catalogue does not list its handler.
    rules[0]["task"] = {**LOOKING, "input": rules[0]["task"]["input"]}
    trigger = {"name": "signed-up", "event": {"type": name}}
    welcome = case.definition("shop.welcome", *rules, triggers=[trigger])
    case.apply(event_type, welcome, case.may_emit(name))

    def decided() -> list[Document]:
        case.publish(name, customer="c-4711", email="ana@example.org")
        return case.listed("runs", "--definition", "shop.welcome")

    run = {"RUN_ID": case.soon(decided)[0]["run_id"]}
    page = guide("docs/erasure.md", "Look at values")
    assert "ana@example.org" in page.step("backbone run show", instead=run).printed
    page.step("backbone backtest", instead={"v8": "v1"})
    assert "complaint 4711" in page.step("backbone subjects reveals").printed
    page = guide("docs/erasure.md", "Erase")
    page.step("backbone subjects show")
    page.step("backbone subjects erase")
    guide("docs/encryption.md", "Keys").step("backbone keys data add")
    page = guide("docs/erasure.md", "Keys of people and data keys")
    page.step("backbone keys data add")
    page.step("backbone subjects rewrap")


def test_outboxes_and_audit(guide: Open, case: Case) -> None:
    readme = guide("tools/cli/README.md", "Outboxes")
    times: Mapping[str, str] = {
        "2026-11-01T00:00:00Z": case.began.isoformat(),
        "2026-11-02T00:00:00Z": (case.began + timedelta(seconds=10)).isoformat(),
    }
    readme.step("backbone outbox status")
    readme.step("backbone outbox republish", instead=times)
    readme.step("backbone outbox republish", instead=times)
    readme.step("backbone outbox parked")
    # Nothing is parked here; the ledger's own tests park something.
    assert "4711" in readme.step("backbone outbox retry", ends=1).said
    assert "4712" in readme.step("backbone outbox discard", ends=1).said

    readme = guide("tools/cli/README.md", "Audit")
    anchors = readme.step("backbone audit checkpoint", until=says("ledger:")).printed
    (anchor,) = (word for word in anchors.split() if word.startswith("ledger:"))
    readme.step("backbone audit verify")
    readme.step("backbone audit verify --anchor", instead={"ledger:17:9f…": anchor})
    readme.step("backbone audit verify --service", instead={"17": "0"})


def test_in_a_pipeline(guide: Open, case: Case) -> None:
    case.file("definitions/divides.yaml", case.definition("howto.pipeline"))
    instead = {"prod": "dev --owner howto-pipeline"}
    readme = guide("tools/cli/README.md", "In a pipeline")
    readme.step("backbone plan", instead=instead, ends=2)
    readme.step("backbone apply", instead={**instead, "$COMMIT_MESSAGE": "a release"})
    readme.step("backbone schedules drift", instead={"prod": "dev"}, until=lambda _: True)


def test_certificates_and_a_project(guide: Open, terminal: Terminal) -> None:
    readme = guide("tools/cli/README.md", "Certificates for development")
    readme.step("backbone certs init")
    readme.step("backbone certs issue")
    readme.step("backbone certs issue --member")
    assert "ana" in readme.step("backbone certs show").printed
    readme = guide("tools/cli/README.md", "A project to begin with")
    assert "order-desk/handlers.py" in readme.step("backbone new").printed
    # tools/devstack runs it: a stack of its own, until Ctrl-C.
    assert readme.left.pop(0) == "backbone dev order-desk"
