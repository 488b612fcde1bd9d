"""The demo's view of its stack: start it, hear what happens to it, stop it or leave it."""

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import holder

from cli import settings
from devstack import processes
from devstack.state import StateFolder
from devstack.suite import answers_ok
from devstack.supervision import read_status, tail

_SILENCE_S = 300.0  # the first start on a machine may build a server for long, and tells so
_STOP_S = 90.0
_REMIND_S = 15.0
_LINES = 15


class StackError(Exception):
    """The stack cannot be had; the message is for people."""


class Stack:
    """Everything the demo needs, in one state folder."""

    def __init__(self, folder: Path, *, tell: Callable[[str], None]) -> None:
        """Use `folder`; `tell` is called from another thread with every event (a crash)."""
        self._state = StateFolder(folder)
        self._tell = tell
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._heard = 0.0
        self.temporal_ui = self.console = ""

    def settings(self) -> settings.Settings:
        """Return the addresses, as the command reads them."""
        return settings.load(self._state.path / "env")

    def end_earlier(self) -> bool:
        """Stop the stack that holds the folder, if any does; return whether there was one."""
        earlier = self._state.holder()
        if earlier is None:
            return False
        return processes.end(earlier, stop_signal=signal.SIGTERM, grace=_STOP_S)

    def start(self, waiting: Callable[[float], None]) -> None:
        """Start everything; `waiting` is called with the seconds so far while nothing is told.

        Raises:
            StackError: something does not start.
        """
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, holder.__file__, str(self._state.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the demo, which then stops the stack in order.
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        began = self._heard = time.monotonic()
        while True:
            try:
                answer = self._answers.get(timeout=_REMIND_S)
            except queue.Empty:
                now = time.monotonic()
                silence = now - self._heard
                if silence > _REMIND_S:
                    waiting(now - began)
                if silence > _SILENCE_S:
                    raise StackError(f"nothing was told of it for {silence:.0f} s") from None
                continue
            if "ready" in answer:
                self.temporal_ui = answer["ready"]["temporal_ui"]
                self.console = answer["ready"]["console"]
                return
            raise StackError(answer["failed"])

    def keep(self) -> None:
        """Let the stack run on after the demo."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(f"{holder.KEEP}\n")
                self._process.stdin.flush()
            self._process = None

    def stop(self) -> None:
        """Stop everything, by force if it takes too long."""
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            # What it started is told of its death by the kernel.
            self._process.kill()
            self._process.wait()
        self._process = None

    def runs(self, name: str) -> bool:
        """Say whether a process runs and, where it can be asked, is ready."""
        return any(
            status.state == "running" and (status.health is None or answers_ok(status.health))
            for status in read_status(self._state)
            if status.name == name
        )

    def last_lines(self, name: str) -> tuple[str, ...]:
        """Return the last lines of the log of a process."""
        return tail(self._state.log(name), lines=_LINES)

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            document = json.loads(line)
            if "tell" in document:
                self._heard = time.monotonic()
                self._tell(document["tell"])
            else:
                self._answers.put(document)
        self._answers.put({"failed": f"the stack ended by itself (exit code {process.wait()})"})
