"""The demo as people run it, with what can happen to it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from devstack.infrastructure import certificates
from devstack.infrastructure.endpoints import Endpoints
from devstack.state import StateFolder
from devstack.suite import Suite
from devstack.supervision import read_status
from runtime import databases

Hook = Callable[[str, "subprocess.Popen[str]"], None]


def demo(
    examples: Path,
    folder: Path,
    *words: str,
    on_line: Hook = lambda _line, _process: None,
    told: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run the demo to its end; `on_line` may do something to it at each line it prints.

    `words` and the variables `told` are given to it beside its folder.
    """
    printed = []
    with subprocess.Popen(
        [sys.executable, str(examples / "demo" / "run.py"), "--state", str(folder), *words],
        env=os.environ | (told or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout or ():
                printed.append(line)
                on_line(line, process)
            return process.wait(), "".join(printed)
        finally:
            process.kill()


def at(text: str, act: Callable[["subprocess.Popen[str]"], None]) -> Hook:
    def hook(line: str, process: "subprocess.Popen[str]") -> None:
        if text in line:
            act(process)

    return hook


def kill_service(folder: Path, name: str) -> None:
    (status,) = [one for one in read_status(StateFolder(folder)) if one.name == name]
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)


def of_stack(folder: Path) -> list[psutil.Process]:
    """Return the processes of the stack that are there now."""
    pids = [status.pid for status in read_status(StateFolder(folder)) if status.pid]
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


def test_demo_ends_well_though_a_service_is_killed_and_the_demo_before_it_was(
    examples: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stack"
    code, _ = demo(
        examples, folder, on_line=at("An event is published", lambda process: process.kill())
    )
    assert code == -signal.SIGKILL

    code, printed = demo(
        examples,
        folder,
        on_line=at("An event is published", lambda _: kill_service(folder, "router")),
    )
    assert code == 0, printed
    assert "router killed by SIGKILL" in printed
    assert "router was restarted and is ready again" in printed
    assert "unchanged billing.large-payment version 1" in printed
    for event_type in ("backbone.TaskCreated", "backbone.TaskCompleted", "backbone.RunCompleted"):
        assert event_type in printed
    assert "review" in printed
    assert re.search(r"console +http://127\.0\.0\.1:\d+ \(open it, and watch\)", printed)
    assert re.search(r"console +http://\S+/dev/run\?id=billing\.large-payment%3Aevent%3A", printed)
    assert StateFolder(folder).holder() is None
    assert of_stack(folder) == []


def test_ctrl_c_stops_everything(examples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    running: list[psutil.Process] = []

    def interrupt(process: "subprocess.Popen[str]") -> None:
        running.extend(of_stack(folder))
        process.send_signal(signal.SIGINT)

    code, printed = demo(examples, folder, on_line=at("Three definitions", interrupt))
    assert code == 130, printed
    assert "Traceback" not in printed
    assert len(running) > 8
    assert [process for process in running if process.is_running()] == []


@pytest.fixture(params=[False, True], ids=["plain", "secure"])
def composed(request: pytest.FixtureRequest, examples: Path, tmp_path: Path) -> Iterator[Suite]:
    """A suite as docker-compose.yml has it: with the examples' catalogue, and nothing else of them.

    Its worker knows where the billing database will be, as there, before there is one.
    """
    connectors: dict[str, str] = {}

    def name(endpoints: Endpoints) -> None:
        at = f"{endpoints.postgres.host}:{endpoints.postgres.port}/billing"
        dsn = f"postgresql://context_ro:{PASSWORD}@{at}"
        if endpoints.certificates is not None:
            files = endpoints.certificates.files("orchestrator-worker")
            dsn = databases.secured(f"postgresql://context_ro@{at}", files)
        connectors["BILLING_DB_DSN"] = dsn

    suite = Suite(
        tmp_path / "suite",
        catalogue=examples / "catalogue.yaml",
        env={"orchestrator-worker": connectors},
        prepare=name,
        durable=False,
        secure=request.param,
    )
    try:
        suite.start()
        yield suite
    finally:
        suite.stop()


def given_out(suite: Suite, folder: Path) -> Path:
    """Return the folder that docker-compose.secure.yml has, for who works with a secure suite."""
    certified, ring = suite.endpoints.certificates, suite.data_keys
    token = suite.endpoints.temporal_token(certificates.member_name("dev"))
    assert certified is not None
    assert ring is not None
    assert token is not None
    for holder, files in {
        "developer": certified.member(),
        "devstack": certified.files("devstack"),
    }.items():
        own = folder / holder
        own.mkdir(parents=True)
        shutil.copy(files.certificate, own / "tls.crt")
        shutil.copy(files.private_key, own / "tls.key")
        shutil.copy(files.client_ca, own / "ca.crt")
    shutil.copy(ring, folder / "developer" / "data-keys.json")
    shutil.copy(token, folder / "developer" / "temporal-token")
    return folder


PASSWORD = "c0de"


@pytest.mark.timeout(600)
def test_on_a_suite_that_runs_the_same_is_shown_and_the_suite_is_left_as_it_was(
    examples: Path, tmp_path: Path, composed: Suite
) -> None:
    at = composed.endpoints
    told = {
        "BACKBONE_REGISTRY_ADDRESS": str(composed.addresses["registry"].grpc),
        "BACKBONE_LEDGER_ADDRESS": str(composed.addresses["ledger"].grpc),
        "BACKBONE_ROUTER_ADDRESS": str(composed.addresses["router"].grpc),
        "BACKBONE_KAFKA_BOOTSTRAP_SERVERS": at.kafka_bootstrap_servers,
        "BACKBONE_TEMPORAL_ADDRESS": at.temporal_address,
        "POSTGRES_ADDRESS": f"{at.postgres.host}:{at.postgres.port}",
        "POSTGRES_PASSWORD": at.postgres.password,
        "BILLING_DB_PASSWORD": PASSWORD,
    }
    if at.certificates is not None:
        told["SECURE_FOLDER"] = str(given_out(composed, tmp_path / "given"))
    before = [(status.name, status.pid) for status in composed.status()]

    code, printed = demo(examples, tmp_path / "none", "--stack", "compose", told=told)

    assert code == 0, printed
    for shown in ("send_reminder", "backbone.TaskCreated", "backbone.RunCompleted", "review"):
        assert shown in printed
    assert [(status.name, status.pid) for status in composed.status()] == before
    assert not (tmp_path / "none").exists(), "a stack of its own was begun"


def test_where_no_suite_runs_it_says_so_in_a_sentence(examples: Path, tmp_path: Path) -> None:
    nobody = {"POSTGRES_ADDRESS": "127.0.0.1:1"}
    code, printed = demo(examples, tmp_path, "--stack", "compose", told=nobody)
    assert code == 1
    assert "start the suite with `docker compose up --wait`" in printed
    assert "Traceback" not in printed
