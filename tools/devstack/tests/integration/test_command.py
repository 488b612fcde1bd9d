"""The command, as people run it: in processes of its own, on stand-ins for the services."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devstack import processes
from devstack.state import StateFolder
from devstack.suite import SERVICES
from devstack.supervision import read_status

STAND_IN = """
import http.server, os, sys
if sys.argv[1] == "migrate":
    sys.exit(int(os.environ.get("REFUSE", "0")))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
host, _, port = os.environ["BACKBONE_HTTP_LISTEN"].rpartition(":")
print("serving", __package__, flush=True)
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    for service in SERVICES:
        package = tmp_path / "stand-ins" / service.replace("-", "_")
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "__main__.py").write_text(STAND_IN)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "stand-ins"), "COLUMNS": "200"}


@pytest.fixture
def devstack(folder: StateFolder, environment: dict[str, str]) -> Iterator[Run]:
    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(folder, *arguments),
            env={**environment, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    yield run
    run("down")


def command(folder: StateFolder, *arguments: str) -> list[str]:
    argv = [sys.executable, "-m", "devstack", *arguments, "--state", str(folder.path)]
    return [*argv, "--provider", "local"] if arguments[0] == "up" else argv


def pids(folder: StateFolder) -> dict[str, int]:
    return {status.name: status.pid for status in read_status(folder) if status.pid}


def test_a_stack_goes_up_once_is_seen_and_goes_down(devstack: Run, folder: StateFolder) -> None:
    up = devstack("up")
    assert (up.returncode, up.stderr) == (0, "")
    before = pids(folder)

    again = devstack("up")
    assert again.returncode == 0
    assert "already up; nothing changed" in again.stdout
    assert pids(folder) == before

    status = devstack("status")
    assert status.returncode == 0
    rows = {line.split()[0]: line.split()[1:] for line in status.stdout.splitlines()[1:]}
    assert set(rows) == {*SERVICES, "postgres", "redis", "kafka", "temporal"}
    assert all(row[0] == "ready" for row in rows.values())
    assert rows["router"][1] == str(before["router"])

    assert "serving router" in devstack("logs", "router").stdout
    missing = devstack("logs", "rooter")
    assert missing.returncode == 1
    assert missing.stderr.startswith("devstack: there is no log of 'rooter' (there are: ")
    assert "BACKBONE_ROUTER_ADDRESS=127.0.0.1:" in devstack("env").stdout

    down = devstack("down")
    assert (down.returncode, down.stdout) == (0, "The stack is down.\n")
    assert not [pid for pid in before.values() if processes.identify(pid)]
    assert "No stack is running" in devstack("down").stdout
    assert devstack("status").stderr.startswith("devstack: no stack is running in ")


def test_a_killed_supervisor_leaves_nothing_that_stops_the_next(
    devstack: Run, folder: StateFolder
) -> None:
    assert devstack("up").returncode == 0
    before = pids(folder)
    supervisor = folder.holder()
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while processes.alive(supervisor):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    up = devstack("up")
    assert up.returncode == 0, up.stderr
    assert set(pids(folder)) == set(before)
    assert not set(pids(folder).values()) & set(before.values())
    assert not [pid for pid in before.values() if processes.identify(pid)]


def test_a_start_that_fails_says_why_and_leaves_nothing(devstack: Run, folder: StateFolder) -> None:
    up = devstack("up", REFUSE="3")

    assert up.returncode == 1
    assert "devstack: ledger migrate failed with exit code 3" in up.stderr
    assert "Traceback" not in up.stderr
    assert folder.holder() is None
    assert not [status for status in read_status(folder) if status.pid]


def test_of_two_started_at_once_one_runs_and_both_wait_for_it(
    devstack: Run, folder: StateFolder, environment: dict[str, str]
) -> None:
    both = [
        subprocess.Popen(
            command(folder, "up"), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for up in both:
        up.communicate(timeout=200)

    assert [up.returncode for up in both] == [0, 0]
    assert devstack("status").returncode == 0
    assert devstack("up").stdout.endswith("is already up; nothing changed.\n")


def test_an_unknown_provider_is_one_sentence(
    folder: StateFolder, environment: dict[str, str]
) -> None:
    argv = [*command(folder, "up")[:-1], "podman"]
    up = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    assert up.returncode == 1
    assert up.stderr == (
        "devstack: there is no provider 'podman'; there are local and containers\n"
    )


def test_an_interrupted_start_leaves_nothing(
    devstack: Run, folder: StateFolder, environment: dict[str, str]
) -> None:
    up = subprocess.Popen(
        command(folder, "up"), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not pids(folder).get("kafka"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    up.send_signal(signal.SIGINT)
    said, errors = up.communicate(timeout=120)

    assert (up.returncode, said) == (130, b"")
    assert errors == b"Interrupted: stopping what was started.\n"
    assert folder.holder() is None
    assert not [status for status in read_status(folder) if status.pid]


def test_following_a_log_ends_cleanly_on_ctrl_c(devstack: Run, folder: StateFolder) -> None:
    folder.create()
    folder.log("router").write_text("one\n")
    follow = subprocess.Popen(
        command(folder, "logs", "router", "-f"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert follow.stdout is not None
    assert follow.stdout.readline() == b"one\n"
    with folder.log("router").open("a") as log:
        log.write("two\n")
    assert follow.stdout.readline() == b"two\n"
    follow.send_signal(signal.SIGINT)

    assert follow.communicate(timeout=20) == (b"", b"")
    assert follow.returncode == 0
