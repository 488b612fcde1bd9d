"""Runs programs and keeps them running: a crash is seen, named, and the program started again.

Programs end with the supervisor on Linux (see `launch`), and what one left behind is ended by the
next one in the same state folder, known by pid and start time.
"""

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from devstack import launch, processes
from devstack.errors import NotReadyError, UnknownProcessError
from devstack.processes import Identity
from devstack.state import StateFolder

_FIRST_DELAY = 0.2  # seconds before a crashed program is started again, doubled each time
_LONGEST_DELAY = 10.0  # seconds
_STEADY = 30.0  # seconds of uptime after which earlier crashes are forgiven
_LEFTOVER_GRACE = 5.0  # seconds
_TAIL_LINES = 8
_LOG_LIMIT = 20 * 1024 * 1024  # bytes after which a log begins anew, keeping one generation

State = Literal["running", "restarting", "stopped"]


@dataclass(frozen=True)
class Program:
    """What to run, under which name, and how it is asked to end."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    address: str | None = None
    health: str | None = None  # a URL that answers 200 once it is ready
    cwd: Path | None = None
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    grace: float = 10.0  # seconds between the stop signal and SIGKILL
    prepare: Callable[[], None] | None = None  # runs before every start


@dataclass(frozen=True)
class Crash:
    """An end nobody asked for."""

    name: str
    at: datetime
    exit_code: int | None
    signal: str | None
    last_lines: tuple[str, ...]

    def __str__(self) -> str:
        how = f"killed by {self.signal}" if self.signal else f"exited with code {self.exit_code}"
        said = "".join(f"\n    {line}" for line in self.last_lines)
        return f"{self.name} {how}{said}"


@dataclass(frozen=True)
class Status:
    """How one process stands."""

    name: str
    state: State
    pid: int | None
    began: str | None
    started_at: str | None
    restarts: int
    address: str | None
    health: str | None
    stop_signal: int


@dataclass
class _Process:
    program: Program
    wanted: bool = False
    popen: subprocess.Popen[bytes] | None = None
    identity: Identity | None = None
    started_at: datetime | None = None
    started: float = 0.0
    log_offset: int = 0
    delay: float = _FIRST_DELAY
    due: float = 0.0
    starts: int = 0
    deliberate: bool = False
    crashes: list[Crash] = field(default_factory=list)


class Supervisor:
    """Supervises the programs of one state folder from a thread of this process."""

    def __init__(self, state: StateFolder, *, tell: Callable[[str], None] | None = None) -> None:
        self._state = state
        self._tell_caller = tell
        self._changed = threading.Condition()
        self._processes: dict[str, _Process] = {}
        self._thread: threading.Thread | None = None
        self._closing = False
        self._abandoned = False

    def open(self) -> Self:
        """Take the state folder, end what an earlier supervisor left, and begin to supervise.

        Raises:
            StackRunningError: Another supervisor holds the folder.
        """
        self._state.acquire()
        self._end_leftovers()
        self._closing = self._abandoned = False
        # Programs are told of the death of the *thread* that started them: one thread starts
        # them all and lives as long as the supervisor.
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        return self

    @property
    def is_open(self) -> bool:
        """Whether it holds its folder and supervises."""
        return self._thread is not None

    def close(self) -> None:
        """Stop every program, the newest first, and release the folder."""
        if self._thread is None:
            return
        for name in reversed(list(self._processes)):
            self.stop(name)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._thread = None
        self._state.release()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell(self, text: str) -> None:
        """Note an event in the supervisor's log and tell the caller of it."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._state.log("supervisor").open("a") as log:
            log.write(f"{stamp} {text}\n")
        if self._tell_caller:
            self._tell_caller(text)

    def add(self, program: Program) -> None:
        """Know a program, or know it anew, its crashes forgiven; it runs once started."""
        with self._changed:
            known = self._processes.get(program.name)
            if known is None:
                self._processes[program.name] = _Process(program)
            else:
                known.program = program
                known.delay = _FIRST_DELAY

    def start(self, name: str) -> None:
        """Have the program run from now on; nothing happens when it does already."""
        with self._changed:
            process = self._find(name)
            process.wanted = True
            process.due = 0.0
            self._changed.notify_all()

    def stop(self, name: str) -> None:
        """End the program politely, by force after its grace, and leave it so."""
        with self._changed:
            process = self._find(name)
            process.wanted = False
            process.deliberate = True
            popen = process.popen
            if popen is not None:
                popen.send_signal(process.program.stop_signal)
                if not self._changed.wait_for(
                    lambda: process.popen is not popen, process.program.grace
                ):
                    self.tell(f"{name} did not end in {process.program.grace:.0f} s: killing it")
                    self._kill_group(popen)
                    self._changed.wait_for(lambda: process.popen is not popen)
            self._save()

    def restart(self, name: str) -> None:
        """Stop the program and start it again."""
        self.stop(name)
        self.start(name)

    def kill(self, name: str) -> None:
        """End the program by SIGKILL and return once it is gone; it is then started again.

        Raises:
            NotReadyError: It is not running.
        """
        with self._changed:
            process = self._find(name)
            popen = process.popen
            if popen is None:
                message = f"{name} is not running"
                raise NotReadyError(message)
            process.deliberate = True
            popen.kill()
            self._changed.wait_for(lambda: process.popen is not popen)

    def status(self) -> list[Status]:
        """Return how each process stands."""
        with self._changed:
            return [self._status(process) for process in self._processes.values()]

    def crashes(self, name: str | None = None) -> list[Crash]:
        """Return the crashes so far, of one process or of all, oldest first."""
        with self._changed:
            found = [
                crash
                for process in self._processes.values()
                for crash in process.crashes
                if name is None or process.program.name == name
            ]
        return sorted(found, key=lambda crash: crash.at)

    def abandon(self) -> None:
        """Have whoever waits for a process give up: all is about to be stopped."""
        # No lock: signal handlers call this.
        self._abandoned = True

    def wait_until(self, name: str, ready: Callable[[], bool], *, timeout: float) -> None:
        """Wait until `ready` says so.

        Args:
            name: The process that is waited for.
            ready: Asks it; False means not yet.
            timeout: Seconds.

        Raises:
            NotReadyError: It was not ready in time, or crashed three times meanwhile, or the wait
                was abandoned.
        """
        before = len(self.crashes(name))
        deadline = time.monotonic() + timeout
        while not ready():
            crashes = self.crashes(name)[before:]
            if len(crashes) >= 3:
                message = f"{name} does not start: {crashes[-1]}"
                raise NotReadyError(message)
            if time.monotonic() > deadline:
                said = f": {crashes[-1]}" if crashes else f"; see {self._state.log(name)}"
                message = f"{name} was not ready after {timeout:.0f} s{said}"
                raise NotReadyError(message)
            with self._changed:
                if self._abandoned:
                    message = f"{name} is no longer waited for"
                    raise NotReadyError(message)
                self._changed.wait(0.1)

    def _find(self, name: str) -> _Process:
        try:
            return self._processes[name]
        except KeyError:
            known = ", ".join(self._processes) or "none"
            message = f"there is no process {name!r} (there are: {known})"
            raise UnknownProcessError(message) from None

    def _run(self) -> None:
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                waiting = [p for p in self._processes.values() if p.wanted and p.popen is None]
                for process in waiting:
                    if process.due <= now:
                        self._spawn(process)
                later = [p.due - now for p in waiting if p.popen is None]
                self._changed.wait(max(0.01, min(later)) if later else None)

    def _spawn(self, process: _Process) -> None:
        program = process.program
        try:
            if program.prepare:
                program.prepare()
            path = self._state.log(program.name)
            if path.exists() and path.stat().st_size > _LOG_LIMIT:
                path.replace(path.with_suffix(".log.1"))
            with path.open("ab") as log:
                process.log_offset = log.tell()
                popen = subprocess.Popen(  # noqa: S603 - the program this is asked to run
                    wrapped(program),
                    env=dict(program.env),
                    cwd=program.cwd or self._state.path,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C is for the supervisor, which stops them in order.
                    start_new_session=True,
                )
        except OSError as exc:
            self._crashed(process, exit_code=None, number=None, lines=(str(exc),))
            return
        process.popen = popen
        process.identity = processes.identify(popen.pid)
        process.started_at = datetime.now(UTC)
        process.started = time.monotonic()
        process.starts += 1
        process.deliberate = False
        threading.Thread(target=self._await_end, args=(process, popen), daemon=True).start()
        self._save()

    def _await_end(self, process: _Process, popen: subprocess.Popen[bytes]) -> None:
        code = popen.wait()
        with self._changed:
            process.popen = None
            process.identity = None
            if process.wanted and process.deliberate:
                process.due = 0.0
            elif process.wanted:
                self._crashed(
                    process,
                    exit_code=code if code >= 0 else None,
                    number=-code if code < 0 else None,
                    lines=tail(
                        self._state.log(process.program.name),
                        since=process.log_offset,
                        lines=_TAIL_LINES,
                    ),
                )
            self._save()
            self._changed.notify_all()

    def _crashed(
        self,
        process: _Process,
        *,
        exit_code: int | None,
        number: int | None,
        lines: tuple[str, ...],
    ) -> None:
        if process.started and time.monotonic() - process.started > _STEADY:
            process.delay = _FIRST_DELAY
        process.due = time.monotonic() + process.delay
        crash = Crash(
            name=process.program.name,
            at=datetime.now(UTC),
            exit_code=exit_code,
            signal=signal.Signals(number).name if number else None,
            last_lines=lines,
        )
        process.crashes.append(crash)
        self.tell(f"{crash}\n    starting it again in {process.delay:.1f} s")
        process.delay = min(process.delay * 2, _LONGEST_DELAY)

    def _kill_group(self, popen: subprocess.Popen[bytes]) -> None:
        if popen.poll() is None:
            os.killpg(popen.pid, signal.SIGKILL)

    def _status(self, process: _Process) -> Status:
        return Status(
            name=process.program.name,
            state=("running" if process.popen else "restarting" if process.wanted else "stopped"),
            pid=process.identity.pid if process.identity else None,
            began=process.identity.began if process.identity else None,
            started_at=process.started_at.isoformat() if process.started_at else None,
            restarts=max(0, process.starts - 1),
            address=process.program.address,
            health=process.program.health,
            stop_signal=process.program.stop_signal,
        )

    def _save(self) -> None:
        self._state.write("processes", [asdict(self._status(p)) for p in self._processes.values()])

    def _end_leftovers(self) -> None:
        # The newest first, as `close` does: services before the servers they use.
        for status in reversed(read_status(self._state)):
            if status.pid is None or status.began is None:
                continue
            identity = Identity(status.pid, status.began)
            number = signal.Signals(status.stop_signal or signal.SIGTERM)
            if processes.end(identity, stop_signal=number, grace=_LEFTOVER_GRACE):
                self.tell(f"ended {status.name} (pid {status.pid}), left by an earlier supervisor")
        self._state.remove("processes")


def wrapped(program: Program) -> list[str]:
    """Return the argument vector that runs `program` bound to this process."""
    return [
        *(sys.executable, "-I", "-S", str(Path(launch.__file__)), str(os.getpid())),
        *(str(int(program.orphan_signal)), program.user or "-"),
        *program.argv,
    ]


def read_status(state: StateFolder) -> list[Status]:
    """Return how the processes stood when their supervisor last wrote of them."""
    # Written by the devstack of that day, which may have known other fields.
    return [
        Status(**{known.name: document.get(known.name) for known in fields(Status)})
        for document in state.read("processes", [])
    ]


def tail(path: Path, *, since: int = 0, lines: int) -> tuple[str, ...]:
    """Return the last lines of a log, of what was written after the offset `since`."""
    window = 64 * 1024
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since, size - window))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ()
    return tuple(text.splitlines()[-lines:])
