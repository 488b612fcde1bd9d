"""Chooses ports that are free and keeps them, so that addresses survive a restart of the stack."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from devstack.errors import DevstackError
from devstack.state import StateFolder

# Below the range from which systems take the ports of outgoing connections.
_RANGE = range(20_000, 32_000)
_ATTEMPTS = 200


class Ports:
    """The ports of one stack, leased against the other stacks of this user while it runs."""

    def __init__(self, state: StateFolder, tell: Callable[[str], None]) -> None:
        self._state = state
        self._tell = tell
        self._leases: dict[int, int] = {}

    def port(self, name: str) -> int:
        """Return the port of `name`: the one it had, unless a stranger has taken it.

        Raises:
            DevstackError: No free port was found.
        """
        chosen: dict[str, int] = self._state.read("ports", {})
        before = chosen.get(name)
        if before is not None and (before in self._leases or self._take(before)):
            return before
        for candidate in random.sample(_RANGE, _ATTEMPTS):
            if candidate not in chosen.values() and self._take(candidate):
                if before is not None:
                    self._tell(f"port {before} of {name} is taken; using {candidate}")
                self._state.write("ports", {**chosen, name: candidate})
                return candidate
        message = f"found no free port for {name}"
        raise DevstackError(message)

    def release(self) -> None:
        """Give up the leases; the choice is remembered."""
        for descriptor in self._leases.values():
            os.close(descriptor)
        self._leases.clear()

    def _take(self, port: int) -> bool:
        descriptor = _lease(port)
        if descriptor is None:
            return False
        self._leases[port] = descriptor
        return True


def unused() -> int:
    """Return a port of 127.0.0.1 that is this process's own until it ends.

    Neither a stack nor another process that asks here gets it, nor an outgoing connection.

    Raises:
        DevstackError: No free port was found.
    """
    for candidate in random.sample(_RANGE, _ATTEMPTS):
        # The descriptor stays open, and holds the lease.
        if _lease(candidate) is not None:
            return candidate
    message = "found no free port"
    raise DevstackError(message)


def _lease(port: int) -> int | None:
    """Return the descriptor that holds `port` while it is open, None if it is taken."""
    folder = Path(tempfile.gettempdir()) / f"backbone-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not free(port):
        os.close(descriptor)
        return None
    return descriptor


def free(port: int) -> bool:
    """Return whether nobody listens on `port` of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that are only waiting out their time do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True
