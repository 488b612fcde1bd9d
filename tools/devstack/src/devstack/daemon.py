"""The process behind `devstack up`: it holds a suite until it is told to end.

Run as `python -m devstack.daemon STATE-FOLDER OPTIONS-AS-JSON`.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from devstack.errors import DevstackError, StackRunningError
from devstack.state import StateFolder
from devstack.suite import Suite

PHASE = "phase"


class _EndedError(BaseException):
    """Somebody asked this process to end."""


def main(arguments: list[str]) -> int:
    """Run the suite; return once it is stopped again."""
    folder, options = arguments
    state = StateFolder(Path(folder))

    def tell(phase: str, message: str = "") -> None:
        state.write(PHASE, {"phase": phase, "message": message, "pid": os.getpid()})

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _hold(Suite(state.path, **_arguments(json.loads(options))), lambda: tell("up"))
    except StackRunningError:
        # The phase is that of the one that runs; `up` goes on to wait for it.
        return 1
    except DevstackError as exc:
        tell("failed", str(exc))
        return 1
    except Exception as exc:  # noqa: BLE001 - nobody is above to see what this process cannot do
        traceback.print_exc()
        tell("failed", f"{type(exc).__name__}: {exc}; see {state.log('daemon')}")
        return 1
    state.remove(PHASE)
    return 0


def _hold(suite: Suite, started: Callable[[], None]) -> None:
    """Start the suite and stop it again when SIGTERM comes, also while it is starting."""

    def end(_number: int, _frame: FrameType | None) -> None:
        # Once: what follows is the stopping, which is not to be interrupted.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        suite.abandon()
        raise _EndedError

    signal.signal(signal.SIGTERM, end)
    try:
        suite.start()
        started()
        while True:
            signal.pause()
    except _EndedError:
        suite.stop()


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    if options.get("catalogue"):
        options["catalogue"] = Path(options["catalogue"])
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
