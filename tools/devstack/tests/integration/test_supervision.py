"""Supervision of real processes: small Python programs standing in for services."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack import processes
from devstack.errors import NotReadyError, UnknownProcessError
from devstack.processes import Identity
from devstack.state import StateFolder
from devstack.supervision import Program, Status, Supervisor, read_status

SLEEP = "import time; time.sleep(600)"
STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text("")
time.sleep(600)
"""


def program(name: str, code: str, *arguments: object, **options: Any) -> Program:
    argv = (sys.executable, "-c", code, *map(str, arguments))
    return Program(name=name, argv=argv, env=dict(os.environ), **options)


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def supervisor(state: StateFolder, told: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(state, tell=told.append).open()
    yield supervisor
    supervisor.close()


def running(supervisor: Supervisor, one: Program) -> int:
    supervisor.add(one)
    supervisor.start(one.name)
    wait_for(lambda: status(supervisor, one.name).pid is not None)
    pid = status(supervisor, one.name).pid
    assert pid is not None
    return pid


def status(supervisor: Supervisor, name: str) -> Status:
    return next(status for status in supervisor.status() if status.name == name)


def test_a_crash_is_named_with_its_last_lines_and_the_process_returns(
    supervisor: Supervisor, tmp_path: Path, told: list[str]
) -> None:
    flag = tmp_path / "crashed"
    code = (
        "import pathlib, sys, time; flag = pathlib.Path(sys.argv[1])\n"
        "if not flag.exists(): flag.write_text(''); print('out of luck'); sys.exit(7)\n"
        "time.sleep(600)"
    )
    running(supervisor, program("router", code, flag))
    wait_for(lambda: status(supervisor, "router").restarts == 1)

    [crash] = supervisor.crashes("router")
    assert (crash.exit_code, crash.signal, crash.last_lines) == (7, None, ("out of luck",))
    assert any("router exited with code 7\n    out of luck" in line for line in told)
    assert status(supervisor, "router").state == "running"


def test_a_process_killed_from_outside_is_a_crash_named_by_the_signal(
    supervisor: Supervisor,
) -> None:
    pid = running(supervisor, program("router", SLEEP))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: status(supervisor, "router").restarts == 1)

    assert [crash.signal for crash in supervisor.crashes()] == ["SIGKILL"]
    assert status(supervisor, "router").pid != pid


def test_a_kill_that_was_asked_for_is_no_crash(supervisor: Supervisor) -> None:
    pid = running(supervisor, program("router", SLEEP))
    supervisor.kill("router")
    wait_for(lambda: status(supervisor, "router").pid not in {None, pid})

    assert supervisor.crashes() == []
    assert status(supervisor, "router").restarts == 1


def test_restarts_of_what_crashes_on_and_on_are_spread(supervisor: Supervisor) -> None:
    supervisor.add(program("router", "raise SystemExit(1)"))
    supervisor.start("router")
    wait_for(lambda: len(supervisor.crashes()) == 4)

    at = [crash.at.timestamp() for crash in supervisor.crashes()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert pauses[0] >= 0.2
    assert pauses[1] >= 0.4
    assert pauses[2] >= 0.8


def test_waiting_for_what_does_not_start_names_the_reason(supervisor: Supervisor) -> None:
    supervisor.add(program("router", "raise SystemExit('no such topic')"))
    supervisor.start("router")

    with pytest.raises(NotReadyError, match=r"router does not start: .*code 1\n    no such topic"):
        supervisor.wait_until("router", lambda: False, timeout=30)


def test_a_program_that_is_not_there_is_a_crash_that_says_so(supervisor: Supervisor) -> None:
    supervisor.add(Program(name="router", argv=("/no/such/program",), env={}))
    supervisor.start("router")
    wait_for(supervisor.crashes)

    assert supervisor.crashes()[0].last_lines == ("/no/such/program: No such file or directory",)


def test_a_stopped_process_stays_stopped_until_it_is_started(supervisor: Supervisor) -> None:
    pid = running(supervisor, program("router", SLEEP))
    supervisor.stop("router")
    assert not processes.identify(pid)
    assert status(supervisor, "router").state == "stopped"
    assert supervisor.crashes() == []

    supervisor.start("router")
    wait_for(lambda: status(supervisor, "router").state == "running")


def test_a_process_that_ignores_the_polite_signal_is_killed_after_its_grace(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    running(supervisor, program("router", STUBBORN, ready, grace=0.3))
    wait_for(ready.exists)

    supervisor.stop("router")
    assert status(supervisor, "router").state == "stopped"
    log = (tmp_path / "state" / "logs" / "supervisor.log").read_text()
    assert "router did not end in 0 s: killing it" in log


def test_closing_stops_the_newest_first(state: StateFolder, tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    with open(sys.argv[1], 'a') as file: file.write(sys.argv[2] + '\\n')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path(sys.argv[1] + sys.argv[2]).write_text('')\n"
        "time.sleep(600)"
    )
    with Supervisor(state).open() as supervisor:
        for name in ("postgres", "ledger"):
            running(supervisor, program(name, code, order, name))
            wait_for((tmp_path / f"order{name}").exists)

    assert order.read_text().split() == ["ledger", "postgres"]


def test_an_unknown_process_is_told_which_there_are(supervisor: Supervisor) -> None:
    supervisor.add(program("router", SLEEP))
    with pytest.raises(UnknownProcessError, match=r"no process 'rooter' \(there are: router\)"):
        supervisor.stop("rooter")


SUPERVISE = """
import os, sys, time
from pathlib import Path
from devstack.processes import Identity
from devstack.state import StateFolder
from devstack.supervision import Program, Supervisor
supervisor = Supervisor(StateFolder(Path(sys.argv[1]))).open()
argv = (sys.executable, "-c", sys.argv[2])
supervisor.add(Program("router", argv, dict(os.environ)))
supervisor.start("router")
time.sleep(600)
"""


def killed_supervisor(state: StateFolder, code: str) -> Identity:
    """Return the identity of a process whose supervisor has just been killed."""
    owner = subprocess.Popen([sys.executable, "-c", SUPERVISE, state.path, code])
    try:
        wait_for(lambda: any(status.pid for status in read_status(state)))
    finally:
        owner.kill()
        owner.wait()
    [left] = read_status(state)
    assert left.pid is not None
    assert left.began is not None
    return Identity(left.pid, left.began)


@pytest.mark.skipif(sys.platform != "linux", reason="only the Linux kernel tells children")
def test_processes_end_with_a_killed_supervisor(state: StateFolder) -> None:
    identity = killed_supervisor(state, SLEEP)

    wait_for(lambda: not processes.alive(identity))


def test_what_a_killed_supervisor_left_is_ended_by_the_next_one(
    state: StateFolder, told: list[str]
) -> None:
    # A process of its own making, as if the kernel had not told it of the death.
    left = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)
    identity = processes.identify(left.pid)
    assert identity is not None
    state.create()
    document = {"name": "router", "state": "running", "pid": left.pid, "began": identity.began}
    state.write("processes", [document])

    with Supervisor(state, tell=told.append).open():
        assert left.wait(10) == -signal.SIGTERM

    assert told == [f"ended router (pid {left.pid}), left by an earlier supervisor"]


def test_a_stranger_that_got_the_pid_is_left_alone(state: StateFolder) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)
    state.create()
    document = {"name": "router", "pid": stranger.pid, "began": "another life of this pid"}
    state.write("processes", [document])

    with Supervisor(state).open():
        assert stranger.poll() is None

    stranger.kill()
    stranger.wait()
