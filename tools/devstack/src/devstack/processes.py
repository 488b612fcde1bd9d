"""Knows processes by pid and start time, so that a reused pid is never taken for ours."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_POLL = 0.02  # seconds between two looks at a process that is ending


@dataclass(frozen=True)
class Identity:
    """A process of this machine: the pid, and when that pid began."""

    pid: int
    began: str


def identify(pid: int) -> Identity | None:
    """Return the identity of the process that has `pid` now, None if there is none."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        if Path("/proc/self/stat").exists():
            # Ticks since boot, which no change of the clock moves; the fields follow the name.
            fields = stat.read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return None if fields[0] in "ZX" else Identity(pid, f"{boot}:{fields[19]}")
        return Identity(pid, repr(psutil.Process(pid).create_time()))
    except (OSError, psutil.Error):
        return None


def alive(identity: Identity) -> bool:
    """Return whether exactly this process is still running."""
    return identify(identity.pid) == identity


def end(identity: Identity, *, stop_signal: signal.Signals, grace: float) -> bool:
    """End a process and the group it leads; return whether it was still there.

    Args:
        identity: The process; another one that got its pid is left alone.
        stop_signal: The polite signal.
        grace: Seconds until SIGKILL.
    """
    if not alive(identity):
        return False
    _signal(identity, stop_signal)
    deadline = time.monotonic() + grace
    while alive(identity) and time.monotonic() < deadline:
        time.sleep(_POLL)
    if alive(identity):
        _signal(identity, signal.SIGKILL)
        while alive(identity):
            time.sleep(_POLL)
    return True


def _signal(identity: Identity, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if number == signal.SIGKILL and os.getpgid(identity.pid) == identity.pid:
            os.killpg(identity.pid, number)
        else:
            os.kill(identity.pid, number)
