"""The suite on real servers, with stand-ins that take the services' package names."""

import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack.errors import NotReadyError
from devstack.infrastructure import SHORT_LIVED, Endpoints, create_database, provide
from devstack.state import StateFolder
from devstack.suite import SERVICES, Extra, Service, Suite

STAND_IN = '''
"""Serves what it was told by its environment, ready after a moment."""

import http.server, json, os, pathlib, sys

NAME = __package__
if sys.argv[1] == "migrate":
    if os.environ.get("REFUSE"):
        sys.exit("the schema is newer than this release")
    print("migrated", NAME)
    sys.exit(0)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        own = {k: v for k, v in os.environ.items() if k.startswith("BACKBONE_")}
        body = json.dumps({"pid": os.getpid(), "env": own}).encode()
        ready = self.path == "/env" or not pathlib.Path(os.environ.get("UNREADY", "-")).exists()
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object):
        pass


host, _, port = os.environ["BACKBONE_HTTP_LISTEN"].rpartition(":")
print("serving", NAME, flush=True)
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
'''


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    infrastructure = provide(
        tmp_path_factory.mktemp("servers"),
        durable=False,
        server_env=SHORT_LIVED,
        provider="local",
    )
    yield infrastructure.start()
    infrastructure.stop()


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("stand-ins")
    for service in SERVICES:
        package = folder / service.replace("-", "_")
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "__main__.py").write_text(STAND_IN)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def suite(tmp_path: Path, endpoints: Endpoints, stand_ins: dict[str, str]) -> Iterator[Suite]:
    suite = Suite(
        tmp_path / "state",
        endpoints=endpoints,
        task_queues=("billing-tq", "orders-tq"),
        catalogue=tmp_path / "catalogue.yaml",
        env=dict.fromkeys(SERVICES, stand_ins),
    )
    yield suite
    suite.stop()


def told(suite: Suite, service: Service) -> Any:
    with urllib.request.urlopen(f"http://{suite.addresses[service].http}/env") as answer:
        return json.load(answer)


def test_every_service_runs_in_its_own_environment(
    suite: Suite, endpoints: Endpoints, tmp_path: Path
) -> None:
    suite.start()
    seen = {service: told(suite, service)["env"] for service in SERVICES}

    for service, env in seen.items():
        assert env["BACKBONE_ENVIRONMENT"] == "local"
        assert json.loads(env["BACKBONE_NAMESPACES"]) == ["dev"]
        assert env["BACKBONE_KAFKA_BOOTSTRAP_SERVERS"] == endpoints.kafka_bootstrap_servers
        assert env["BACKBONE_LEDGER_ADDRESS"] == seen["ledger"]["BACKBONE_GRPC_LISTEN"]
        assert env["BACKBONE_REGISTRY_ADDRESS"] == seen["registry"]["BACKBONE_GRPC_LISTEN"]
        assert ("BACKBONE_POSTGRES_DSN" in env) == (service in {"ledger", "registry"})
        with_catalogue = service in {"registry", "orchestrator-worker"}
        assert env.get("BACKBONE_CATALOGUE") == (
            str(tmp_path / "catalogue.yaml") if with_catalogue else None
        )
    assert seen["ledger"]["BACKBONE_POSTGRES_DSN"] == endpoints.postgres.dsn("ledger")
    assert [
        outbox["schema"] for outbox in json.loads(seen["outbox-relay"]["BACKBONE_OUTBOXES"])
    ] == [
        "ledger",
        "registry",
    ]
    assert json.loads(seen["router"]["BACKBONE_TOPICS"]) == ["dev.events"]
    assert json.loads(seen["orchestrator-worker"]["BACKBONE_TASK_QUEUES"]) == [
        "billing-tq",
        "orders-tq",
    ]


def test_the_env_file_lets_a_command_find_the_stack_and_is_private(
    suite: Suite, tmp_path: Path
) -> None:
    suite.start()
    path = tmp_path / "state" / "env"
    variables = dict(line.split("=", 1) for line in path.read_text().splitlines())

    assert path.stat().st_mode & 0o077 == 0
    assert variables["BACKBONE_NAMESPACE"] == "dev"
    assert variables["BACKBONE_ROUTER_ADDRESS"] == suite.addresses["router"].grpc
    assert not [name for name, value in variables.items() if "postgresql://" in value]


def test_schemas_are_migrated_before_anything_serves(suite: Suite, tmp_path: Path) -> None:
    suite.start()

    for service in ("ledger", "registry"):
        assert suite.log(f"{service}-migrate").read_text() == f"migrated {service}\n"


def test_a_migration_that_fails_stops_the_start_and_says_why(
    tmp_path: Path, endpoints: Endpoints, stand_ins: dict[str, str]
) -> None:
    refusing = {**stand_ins, "REFUSE": "1"}
    env = {"ledger": stand_ins, "registry": refusing}
    suite = Suite(tmp_path / "state", endpoints=endpoints, env=env)

    with pytest.raises(NotReadyError, match=r"(?s)registry migrate failed .*newer than this"):
        suite.start()
    assert StateFolder(tmp_path / "state").holder() is None


def test_a_killed_service_returns_and_only_it(suite: Suite) -> None:
    suite.start()
    before = {service: told(suite, service)["pid"] for service in SERVICES}
    suite.kill("router")
    suite.wait_ready("router")
    after = {service: told(suite, service)["pid"] for service in SERVICES}

    assert after.pop("router") != before.pop("router")
    assert after == before
    assert suite.crashes() == []


def test_a_crash_is_recorded_with_the_last_lines(suite: Suite) -> None:
    suite.start()
    os.kill(told(suite, "ledger")["pid"], signal.SIGSEGV)
    deadline = time.monotonic() + 20
    while not suite.crashes("ledger"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    suite.wait_ready("ledger")

    [crash] = suite.crashes()
    assert (crash.name, crash.signal, crash.last_lines) == (
        "ledger",
        "SIGSEGV",
        ("serving ledger",),
    )


def test_a_service_can_be_stopped_and_started_by_itself(suite: Suite) -> None:
    suite.start()
    suite.stop("router")
    assert {s.name: s.state for s in suite.status()}["router"] == "stopped"
    with pytest.raises(OSError, match="refused"):
        told(suite, "router")

    suite.start_process("router")
    suite.wait_ready("router")


def test_a_restarted_process_has_the_variables_it_is_given_from_then_on(
    suite: Suite, tmp_path: Path
) -> None:
    suite.start()
    before = told(suite, "router")["env"]
    suite.restart("router", env={"BACKBONE_FAULTPOINT": "router.before_start"})
    suite.wait_ready("router")
    assert told(suite, "router")["env"] == {**before, "BACKBONE_FAULTPOINT": "router.before_start"}
    suite.restart("router", env={"BACKBONE_FAULTPOINT": ""})
    suite.wait_ready("router")
    suite.kill("router")
    suite.wait_ready("router")
    assert told(suite, "router")["env"]["BACKBONE_FAULTPOINT"] == ""


def test_what_is_not_ready_in_time_is_named(
    tmp_path: Path, endpoints: Endpoints, stand_ins: dict[str, str]
) -> None:
    unready = tmp_path / "unready"
    env = {"ledger": {**stand_ins, "UNREADY": str(unready)}}
    with Suite(tmp_path / "state", endpoints=endpoints, services=("ledger",), env=env) as suite:
        unready.write_text("")
        with pytest.raises(
            NotReadyError, match=r"ledger was not ready after 1 s; see .*ledger.log"
        ):
            suite.wait_ready(timeout=1)


def test_extra_processes_run_with_the_addresses_of_the_stack(
    tmp_path: Path, endpoints: Endpoints, stand_ins: dict[str, str]
) -> None:
    fresh = create_database(endpoints, "extras")
    code = (
        "import os, time\n"
        "print(os.environ['BACKBONE_LEDGER_ADDRESS'], os.environ['MINE'], flush=True)\n"
        "time.sleep(600)"
    )
    extra = Extra("producer", (sys.executable, "-c", code), {"MINE": "yes"})
    with Suite(
        tmp_path / "state",
        endpoints=replace(endpoints, postgres=fresh),
        env=dict.fromkeys(SERVICES, stand_ins),
        extra=[extra],
    ) as suite:
        deadline = time.monotonic() + 20
        while not suite.log("producer").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert suite.log("producer").read_text() == f"{suite.addresses['ledger'].grpc} yes\n"
        assert told(suite, "ledger")["env"]["BACKBONE_POSTGRES_DSN"].endswith("/extras")


def test_what_prepares_knows_the_addresses_and_may_still_say_more(
    tmp_path: Path, endpoints: Endpoints, stand_ins: dict[str, str]
) -> None:
    env: dict[str, dict[str, str]] = {}

    def prepare(seen: Endpoints) -> None:
        assert seen == endpoints
        env["ledger"] = stand_ins
        env["router"] = {
            "BACKBONE_LEDGER_ADDRESS": f"proxy-of-{suite.addresses['ledger'].grpc}",
            **stand_ins,
        }

    suite = Suite(
        tmp_path / "state",
        endpoints=endpoints,
        services=("ledger", "router"),
        env=env,
        prepare=prepare,
    )
    with suite:
        said = told(suite, "router")["env"]["BACKBONE_LEDGER_ADDRESS"]
        assert said == f"proxy-of-{suite.addresses['ledger'].grpc}"
