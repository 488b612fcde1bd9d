"""A contender: a process that has built its index, and matches or adds when it is told to."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import report
from devstack import launch
from devstack.errors import ToolMissingError
from devstack.tools.event_ruler import find_event_ruler

BUILD_S = 120.0
"""How long a contender may take to build its index."""
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Files:
    """What a contender reads: the rules, the events, and rules to add."""

    rules: Path
    events: Path
    more: Path


class Contender:
    """One process. It ends when its standard input does."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def events_per_s(self, seconds: float, *, expected: float) -> float:
        """Match for so long, and hold it to the matches per event that are expected."""
        took, count, matched = self._ask(f"match {seconds}", "matched")
        assert matched == expected * count, f"{matched} matches of {count} events"
        return count / took

    def add_one_ms(self) -> float:
        """Add some rules, and return the median of what one took."""
        [milliseconds] = self._ask("add", "added")
        return milliseconds

    @property
    def rss_mib(self) -> float:
        """Resident memory."""
        return float(psutil.Process(self._process.pid).memory_info().rss) / 2**20

    def built(self) -> float | None:
        """Wait for the index; return the seconds it took, None when it took too long."""
        # What waits for a line cannot be given a time, so the process is ended beneath it.
        timer = threading.Timer(BUILD_S, self._process.kill)
        timer.start()
        try:
            [seconds] = self._answer("built")
        except EOFError:
            return None
        finally:
            timer.cancel()
        return seconds

    def _ask(self, order: str, answer: str) -> list[float]:
        assert self._process.stdin is not None
        print(order, file=self._process.stdin, flush=True)
        return self._answer(answer)

    def _answer(self, answer: str) -> list[float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().split()
        if not line:
            raise EOFError
        assert line[0] == answer, line
        return [float(figure) for figure in line[1:]]


@contextlib.contextmanager
def running(command: Sequence[str], files: Files) -> Iterator[Contender]:
    """Run a contender; it is gone when this process is, however that ends."""
    launched = [sys.executable, launch.__file__, str(os.getpid()), str(int(signal.SIGKILL)), "-"]
    argv = [*launched, *command, str(files.rules), str(files.events), str(files.more)]
    with subprocess.Popen(  # noqa: S603 - a command of this benchmark
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Contender(process)
        finally:
            process.kill()


def ours() -> list[str]:
    """Return the command of our index."""
    return [sys.executable, str(_HERE / "process.py")]


def event_ruler() -> list[str] | None:
    """Return the command of event-ruler, None where it cannot be run."""
    try:
        ruler = find_event_ruler()
    except ToolMissingError as exc:
        report.note(f"LEFT OUT: event-ruler: {exc}")
        return None
    command = [str(ruler.java), "-cp", ruler.classpath, str(_HERE / "EventRuler.java")]
    # Java compiles the file as it starts, where it comes with a compiler.
    probe = subprocess.run(  # noqa: S603 - the machine's Java
        [str(ruler.java), "--list-modules"], capture_output=True, text=True, check=False
    )
    if "jdk.compiler" not in probe.stdout:
        report.note("LEFT OUT: event-ruler: this Java has no compiler; install a JDK")
        return None
    return command
