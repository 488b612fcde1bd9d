"""Processor time and memory of the processes that work on a run."""

import contextlib
from collections import defaultdict
from collections.abc import Mapping

import psutil


class Processes:
    """Processes by the part they have, and PostgreSQL's by whom they serve."""

    def __init__(
        self, members: Mapping[str, psutil.Process], *, postmaster: psutil.Process
    ) -> None:
        self._members = members
        self._postmaster = postmaster

    def cpu_s(self) -> dict[str, float]:
        """Return the processor time so far of each part, in seconds.

        A connection of PostgreSQL is a process: `postgres-temporal` are those of Temporal,
        `postgres-ledger` those of the ledger, `postgres` all others (writers of its log, vacuum).
        """
        used: dict[str, float] = defaultdict(float)
        for name, process in self._members.items():
            used[name] += _cpu_s(process)
        used["postgres"] += _cpu_s(self._postmaster)
        for process in self._postmaster.children(recursive=True):
            # One may end meanwhile.
            with contextlib.suppress(psutil.NoSuchProcess):
                used[_part(process)] += _cpu_s(process)
        return dict(used)

    def rss_mib(self, name: str) -> float:
        """Return the memory that is resident in a process, by the part it has."""
        return float(self._members[name].memory_info().rss) / 2**20


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _part(process: psutil.Process) -> str:
    # Its title: "postgres: <role> <database> <host>(<port>) <what it does>".
    words = " ".join(process.cmdline()).split()
    role = words[1] if len(words) > 1 else ""
    return f"postgres-{role}" if role in {"temporal", "ledger"} else "postgres"
