"""Named places, one each side of an external call, where a test lets the process die.

A crash between two external calls is the only kind of crash that anybody can tell from another; so
killing at every fault point covers every crash.
"""

import os
import signal

_VARIABLE = "BACKBONE_FAULTPOINT"
_hits = 0


def _armed() -> tuple[str, int] | None:
    value = os.environ.get(_VARIABLE)
    if not value:
        return None
    name, _, hit = value.partition(":")
    return name, int(hit or 1)


_ARMED = _armed()


def faultpoint(name: str) -> None:
    """Kill this process with SIGKILL when `BACKBONE_FAULTPOINT` is `name:n` and this is hit n."""
    global _hits  # noqa: PLW0603 - one counter for the process
    if _ARMED is None or _ARMED[0] != name:
        return
    _hits += 1
    if _hits == _ARMED[1]:
        os.kill(os.getpid(), signal.SIGKILL)
