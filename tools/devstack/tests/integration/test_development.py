"""`backbone dev` as people run it: a new project, an edit of its definition and of its handler."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from devstack.state import StateFolder
from devstack.supervision import read_status

PATIENCE = 120.0  # seconds
START = 300.0  # seconds: on a busy machine


class Screen:
    """What a running `backbone dev` prints, line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.printed: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, *texts: str, seconds: float = PATIENCE) -> str:
        """Return the next line that has all of `texts`."""
        while True:
            try:
                line = self._lines.get(timeout=seconds)
            except queue.Empty:
                line = None
            assert line is not None, f"{texts} did not come:\n" + "\n".join(self.printed)
            self.printed.append(line)
            if all(text in line for text in texts):
                return line


@pytest.fixture
def project(tmp_path: Path) -> Path:
    backbone("new", "parts", "--folder", str(tmp_path / "parts"), "-n", "depot")
    return tmp_path / "parts"


def backbone(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env=without_settings(),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def without_settings() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("BACKBONE_")}


@pytest.fixture
def screen(project: Path) -> Iterator[Screen]:
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "dev", str(project)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=without_settings(),
        start_new_session=True,
    ) as process:
        try:
            yield Screen(process)
        finally:
            process.kill()


def edit(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))


@pytest.mark.timeout(600)
def test_what_changes_in_a_project_is_in_force_and_ctrl_c_ends_everything(
    project: Path, screen: Screen
) -> None:
    definition = project / "definitions" / "process-item.yaml"

    def publish() -> None:
        backbone("publish", "depot.events", "-f", "event.json", "--fill", cwd=project)

    screen.wait_for("dev  create", "parts.process-item", seconds=START)
    screen.wait_for("Ctrl-C ends everything")
    publish()
    screen.wait_for("TaskCompleted", "parts.process-item  event:", "process, ITEM-1", "processed")

    # What is wrong is told with its place, and what was applied goes on.
    edit(definition, lambda text: text.replace("handler: process_item", "handler: process_itm"))
    told = screen.wait_for("unknown handler 'process_itm'")
    assert "definitions/process-item.yaml:18:18:" in told
    screen.wait_for("nothing was applied")
    publish()
    screen.wait_for("TaskCompleted", "process, ITEM-1")

    edit(
        definition,
        lambda text: text.replace("process_itm", "process_item").replace(
            "- name: process", "- name: do"
        ),
    )
    screen.wait_for("dev  update", "parts.process-item version 2")
    edit(project / "handlers.py", lambda text: text.replace('f"processed ', 'f"done with '))
    screen.wait_for("handlers was restarted")
    publish()
    screen.wait_for("TaskCompleted", "do, ITEM-1", "done with ITEM-1")

    state = StateFolder(project / ".backbone")
    running = [psutil.Process(one.pid) for one in read_status(state) if one.pid is not None]
    assert len(running) > 8
    screen.process.send_signal(signal.SIGINT)
    assert screen.process.wait(PATIENCE) == 130
    assert [one for one in running if one.is_running()] == []
    assert state.holder() is None
    assert "Traceback" not in "\n".join(screen.printed)
    assert "\x1b" not in "\n".join(screen.printed)


def test_folder_without_definitions_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "dev", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"devstack: there is no folder definitions in {tmp_path}")
