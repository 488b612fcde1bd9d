"""Named places, one each side of an external call, where a test lets the process die.

A crash between two external calls is the only kind of crash that anybody can tell from another; so
killing at every fault point covers every crash.

Each call has a pair, `service.before_what` and `service.after_what`, beside the call itself and
nowhere else. The call of a transaction is its commit: `before` stands after its last statement, and
`after` after the block. A transaction's own statements have no points: a crash undoes them.

`BACKBONE_FAULTPOINT` arms one: `name` at its first hit, `name:n` at hit n of each life of the
process, `name:n:/path` at hit n unless the file is there, which is made first. So a process that is
started again dies once and not for ever.
"""

import os
import signal
from pathlib import Path
from typing import NamedTuple

_VARIABLE = "BACKBONE_FAULTPOINT"
_hits = 0


class _Armed(NamedTuple):
    name: str
    hit: int
    marker: Path | None


def _armed() -> _Armed | None:
    value = os.environ.get(_VARIABLE)
    if not value:
        return None
    name, hit, marker = (*value.split(":", 2), "", "")[:3]
    if marker and Path(marker).exists():
        return None
    return _Armed(name, int(hit or 1), Path(marker) if marker else None)


_ARMED = _armed()


def faultpoint(name: str) -> None:
    """Kill this process with SIGKILL when `name` is armed and this is the hit asked for."""
    if _ARMED is not None and name == _ARMED.name:
        _hit(_ARMED)


def _hit(armed: _Armed) -> None:
    global _hits  # noqa: PLW0603 - one counter for the process
    _hits += 1
    if _hits != armed.hit:
        return
    if armed.marker is not None:
        with armed.marker.open("x") as file:
            file.write(f"{os.getpid()}\n")
            file.flush()
            os.fsync(file.fileno())
    os.kill(os.getpid(), signal.SIGKILL)
