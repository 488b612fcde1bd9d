"""The command against the registry's own process on PostgreSQL; its neighbours are away."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from cli.__main__ import app
from devstack import ports
from devstack.infrastructure import create_database, drop_database
from devstack.infrastructure.endpoints import Endpoints

ROOT = Path(__file__).parents[4]
README = ROOT / "tools" / "cli" / "README.md"
EXAMPLES = ROOT / "examples" / "definitions"
COUNT = len(list(EXAMPLES.iterdir()))
"""Of the resources there, of which every file has one."""

# One for each test that changes something, besides that of the README.
NAMESPACES = [f"test-{number}" for number in range(10)]


def nowhere() -> str:
    """An address where nothing listens."""
    return f"127.0.0.1:{ports.unused()}"


@pytest.fixture(scope="module")
def environment(endpoints: Endpoints) -> Iterator[dict[str, str]]:
    """Settings of a registry whose ledger and Temporal are away."""
    database = f"t{uuid.uuid4().hex[:10]}"
    yield {
        **{name: value for name, value in os.environ.items() if not name.startswith("BACKBONE_")},
        "BACKBONE_ENVIRONMENT": "local",
        "BACKBONE_POSTGRES_DSN": create_database(endpoints, database).dsn(),
        "BACKBONE_LEDGER_ADDRESS": nowhere(),
        "BACKBONE_TEMPORAL_ADDRESS": nowhere(),
        "BACKBONE_CATALOGUE": str(ROOT / "examples" / "catalogue.yaml"),
        "BACKBONE_GRPC_LISTEN": nowhere(),
        "BACKBONE_NAMESPACES": json.dumps(["dev", *NAMESPACES]),
    }
    drop_database(endpoints, database)


class Registry:
    """A registry's process, which can be ended and started again."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.address = environment["BACKBONE_GRPC_LISTEN"]
        self._environment = environment
        self._words = [sys.executable, "-m", "registry"]

    def migrate(self) -> None:
        subprocess.run([*self._words, "migrate"], env=self._environment, check=True, timeout=60)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self._words, "serve"], env=self._environment, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        told = []
        for line in self.process.stderr:
            told.append(line)
            if json.loads(line)["event"] == "ready":
                break
        else:
            pytest.fail(f"the registry ended before it was ready: {told}")
        self._rest = threading.Thread(target=self.process.stderr.read)
        self._rest.start()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        finally:
            self.process.kill()
            self.process.wait()
            self._rest.join(timeout=30)
            assert self.process.stderr is not None
            self.process.stderr.close()


@pytest.fixture(scope="module")
def registry(environment: dict[str, str]) -> Iterator[Registry]:
    running = Registry(environment)
    running.migrate()
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def unused_namespaces() -> list[str]:
    return list(NAMESPACES)


@pytest.fixture
def definitions(
    registry: Registry,
    unused_namespaces: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The examples, in a namespace in which there is nothing yet and which commands mean."""
    namespace = unused_namespaces.pop()
    for name in list(os.environ):
        if name.startswith("BACKBONE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKBONE_REGISTRY_ADDRESS", registry.address)
    monkeypatch.setenv("BACKBONE_NAMESPACE", namespace)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "definitions"
    folder.mkdir()
    for file in EXAMPLES.iterdir():
        text = file.read_text().replace("namespace: dev", f"namespace: {namespace}")
        (folder / file.name).write_text(text)
    return Path("definitions")


Backbone = Callable[..., Result]


@pytest.fixture
def backbone(definitions: Path) -> Backbone:
    """The command: `backbone("get crm.changed --kind event-type").stdout`."""

    def run(words: str, *, code: int = 0, stdin: str | None = None) -> Result:
        done = CliRunner().invoke(app, words.split(), input=stdin)
        assert done.exit_code == code, f"{words}\n{done.stdout}{done.stderr}"
        return done

    return run


def documented() -> list[str]:
    """Return the commands of the README's section on definitions."""
    section = README.read_text().partition("## Definitions, event types and producers\n")[2]
    section = section.split("```console\n")[1].split("```")[0]
    return [line.removeprefix("$ ") for line in section.splitlines()]


@pytest.fixture
def shell(registry: Registry, tmp_path: Path) -> Callable[..., str]:
    """A shell that knows the command `backbone`, in a folder that has the examples."""
    commands = tmp_path / "bin"
    commands.mkdir()
    backbone = commands / "backbone"
    backbone.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli "$@"\n')
    backbone.chmod(0o755)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BACKBONE_")}

    def run(line: str, *, code: int) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=tmp_path,
            env=inherited
            | {
                "PATH": f"{commands}:{os.environ['PATH']}",
                "BACKBONE_REGISTRY_ADDRESS": registry.address,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def test_documented_tour_does_what_it_says(shell: Callable[..., str]) -> None:
    printed = {}
    for line in documented():
        ends_with = re.search(r"# ends with (\d+)", line)
        told = shell(line, code=int(ends_with[1]) if ends_with else 0)
        printed[re.sub(r"\s+#.*", "", line)] = told

    planned = printed["backbone plan -f definitions/"]
    assert planned.endswith(f"{COUNT} to create\n")
    assert printed['backbone apply -f definitions/ --reason "first release"'].endswith(
        f"{COUNT} created\n"
    )
    listed = printed["backbone get"]
    assert "billing.large-payment" in listed
    assert "billing.overdue-invoices" in listed
    compared = printed["backbone diff -f definitions/large-payment.yaml"]
    assert "timeout" in compared
    assert "from 30s to 2m" in compared
    assert "from 30s to 2m" in printed["backbone diff billing.large-payment"]
    history = printed["backbone history billing.large-payment"].splitlines()
    assert history[1].endswith("the mail server is slow")
    assert history[2].endswith("first release")
    watched = printed["backbone watch --snapshot --count 5"]
    assert "definition billing.overdue-invoices version 1 active" in watched
    pruned = next(text for line, text in printed.items() if "--prune" in line)
    assert "prune      definition billing.overdue-invoices" in pruned
    assert pruned.endswith(f"1 updated, 1 retired, {COUNT - 2} unchanged\n")
    retired = printed["backbone get --retired"].splitlines()
    assert retired[2].split()[:3] == ["billing.overdue-invoices", "1", "retired"]
    assert "billing.large-payment" in printed['backbone get --as-of "$(date -u +%FT%TZ)"']


def test_get_as_yaml_is_what_apply_reads(backbone: Backbone) -> None:
    backbone("apply -f definitions")
    for words in (
        "billing.large-payment",
        "billing.overdue-invoices",
        "billing.payment.received --kind event-type",
        "billing-service --kind producer",
    ):
        text = backbone(f"get {words} -o yaml").stdout
        backbone("plan --exit-code -f -", stdin=text)


def test_every_problem_has_its_place_in_its_file_and_nothing_is_applied(
    backbone: Backbone, definitions: Path
) -> None:
    changed = definitions / "large-payment.yaml"
    lines = changed.read_text().splitlines()
    task_queue = next(n for n, line in enumerate(lines) if "taskQueue: billing-tq" in line)
    lines[task_queue] = lines[task_queue].replace("taskQueue", "taskQueu")
    when = next(n for n, line in enumerate(lines) if "when: event.payload.currency" in line)
    lines[when] = lines[when].replace("currency", "curency")
    changed.write_text("\n".join(lines))
    (definitions / "torn.yaml").write_text("kind: [\n")
    done = backbone("apply -f definitions", code=1)
    assert f"definitions/large-payment.yaml:{task_queue + 1}:" in done.stdout
    assert f"definitions/large-payment.yaml:{when + 1}:" in done.stdout
    assert "definitions/torn.yaml:" in done.stdout
    assert done.stderr.endswith("problems in 2 documents; nothing was applied\n")
    assert backbone("get").stdout == ""


def test_more_problems_than_fit_into_an_error_are_all_told(
    backbone: Backbone, definitions: Path
) -> None:
    document = yaml.safe_load((definitions / "large-payment.yaml").read_text())
    rule = document["spec"]["rules"][0]
    document["spec"]["rules"] = [
        {**rule, "name": f"rule-{number}", "when": f"event.payload.wrong_{number} == 1"}
        for number in range(100)
    ]
    Path("many.json").write_text(json.dumps(document, indent=1))
    backbone("apply -f definitions/payment-received.yaml")
    done = backbone("apply -f many.json -o json", code=1)
    problems = json.loads(done.stdout)["problems"]
    assert {f"spec.rules[{number}].when" for number in range(100)} <= {
        problem["path"] for problem in problems
    }
    assert all(problem["line"] for problem in problems)


def test_plan_that_is_out_of_date_is_refused(backbone: Backbone) -> None:
    plan = json.loads(backbone("plan -f definitions -o json").stdout)
    backbone("apply -f definitions/payment-received.yaml")
    words = f"apply -f definitions --plan {plan['plan_sha256']}"
    assert "not what was planned then" in backbone(words, code=1).stderr
    plan = json.loads(backbone("plan -f definitions -o json").stdout)
    words = f"apply -f definitions --plan {plan['plan_sha256']}"
    assert backbone(words).stdout.endswith(f"{COUNT - 1} created, 1 unchanged\n")
    assert backbone(words).stdout.endswith(f"{COUNT} unchanged\n")


def test_repeated_requests_change_once(backbone: Backbone) -> None:
    for _ in range(2):
        backbone("apply -f definitions --request-id r-1 --reason first")
    words = "disable billing.large-payment --reason loud --request-id r-2 -o json"
    first, again = (json.loads(backbone(words).stdout) for _ in range(2))
    assert (first["state"], again) == ("disabled", first)
    assert len(backbone("history -o json").stdout.splitlines()) == COUNT + 1


def test_event_type_that_is_listened_to_cannot_be_retired(backbone: Backbone) -> None:
    backbone("apply -f definitions")
    words = "retire billing.payment.received --kind event-type --reason unused"
    assert "billing.large-payment" in backbone(words, code=1).stderr
    backbone("retire billing.large-payment --reason unused")
    backbone("retire billing.small-payments --reason unused")
    backbone("retire billing-service --kind producer --reason unused")
    assert "retired" in backbone(words).stdout


def test_etag_of_what_was_changed_meanwhile_is_refused(backbone: Backbone) -> None:
    backbone("apply -f definitions")
    found = json.loads(backbone("get billing.large-payment -o json").stdout)
    backbone("disable billing.large-payment --reason loud")
    words = f"enable billing.large-payment --reason quiet --etag {found['etag']}"
    assert "get it again and change that" in backbone(words, code=1).stderr


def test_drift_without_its_neighbours_is_a_failure_that_says_so(backbone: Backbone) -> None:
    backbone("apply -f definitions")
    done = backbone("schedules drift", code=1)
    assert "the registry cannot answer now: Temporal does not answer" in done.stderr


def test_watch_goes_on_after_the_registry_was_away(backbone: Backbone, registry: Registry) -> None:
    backbone("apply -f definitions")
    words = "watch --count 2 --timeout 60 -o json"
    watching = subprocess.Popen(
        [sys.executable, "-m", "cli", *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert "following" in watching.stderr.readline()
        backbone("disable billing.large-payment --reason before")
        before: dict[str, Any] = json.loads(watching.stdout.readline())
        registry.stop()
        registry.start()
        backbone("enable billing.large-payment --reason after")
        after: dict[str, Any] = json.loads(watching.stdout.readline())
        assert watching.wait(timeout=60) == 0
    finally:
        watching.kill()
        watching.communicate()
    assert (before["latest"]["reason"], after["latest"]["reason"]) == ("before", "after")


def test_outbox_holds_what_no_relay_has_published(
    backbone: Backbone, registry: Registry, definitions: Path
) -> None:
    backbone(f"apply -f {definitions} --reason first")
    mine = "--service registry -o json"
    status = json.loads(backbone(f"outbox status {mine}").stdout)
    assert (status["pending"], status["parked"], status["more"]) == (COUNT, 0, False)
    assert status["oldest_queued_at"] is not None
    always = "--from 2020-01-01T00:00:00Z --to 2100-01-01T00:00:00Z"
    planned = json.loads(backbone(f"outbox republish {always} --dry-run {mine}").stdout)
    done = json.loads(backbone(f"outbox republish {always} --reason lost {mine}").stdout)
    for counts in (planned, done):
        assert (counts["republished"], counts["pending"]) == (0, COUNT)
    assert "nothing is parked" in backbone("outbox parked --service registry").stderr
    refused = backbone("outbox retry 4711 --service registry --reason why", code=1)
    assert refused.stderr == "backbone: no event is parked at position 4711\n"
