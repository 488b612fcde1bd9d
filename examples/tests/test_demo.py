"""The demo as people run it, with what can happen to it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from devstack.state import StateFolder
from devstack.supervision import read_status

Hook = Callable[[str, "subprocess.Popen[str]"], None]


def demo(examples: Path, folder: Path, *, on_line: Hook) -> tuple[int, str]:
    """Run the demo to its end; `on_line` may do something to it at each line it prints."""
    printed = []
    with subprocess.Popen(
        [sys.executable, str(examples / "demo" / "run.py"), "--state", str(folder)],
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
