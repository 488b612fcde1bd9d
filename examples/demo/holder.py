"""Holds the demo's stack: everything up, until told to stop or until the demo is gone.

    python holder.py STATE-FOLDER

It is a process of its own so that `--keep` can leave it running, and so that a demo that is killed
leaves nothing: the end of its standard input stops the stack, unless the line `keep` came first.
It writes JSON lines: {"tell": …} for every event, then {"ready": …} or {"failed": …}.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import billing_database

from devstack import ports
from devstack.daemon import PHASE
from devstack.errors import DevstackError
from devstack.infrastructure.endpoints import Endpoints
from devstack.state import StateFolder
from devstack.suite import Extra, Suite

EXAMPLES = Path(__file__).resolve().parents[1]
KEEP = "keep"
HANDLERS = "task-worker"


class Holder:
    """The suite with the examples' worker and database."""

    def __init__(self, folder: Path) -> None:
        self._state = StateFolder(folder)
        self._state.create()
        # Filled before the worker starts: where its database is, is known only once it runs.
        self._worker_env: dict[str, str] = {}
        self._suite = Suite(
            self._state.path,
            catalogue=EXAMPLES / "catalogue.yaml",
            extra=[_handlers()],
            env={"orchestrator-worker": self._worker_env},
            prepare=self._prepare_billing,
            tell=lambda text: say(tell=text),
        )
        self._ending = threading.Event()

    def run(self) -> int:
        """Hold the stack until the end; return the exit code."""
        threading.Thread(target=self._read, daemon=True).start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end)
        try:
            self._suite.start()
        except DevstackError as exc:
            if not self._ending.is_set():
                say(failed=str(exc))
            self._suite.stop()
            return 1
        self._state.write(PHASE, {"phase": "up", "pid": os.getpid()})
        endpoints = self._suite.endpoints
        say(ready={"temporal_ui": endpoints.temporal_ui_url, "console": self._suite.console_url})
        # With a timeout, since a plain wait would keep signals from this thread.
        while not self._ending.wait(1.0):
            pass
        self._suite.stop()
        self._state.remove(PHASE)
        return 0

    def _prepare_billing(self, endpoints: Endpoints) -> None:
        postgres = endpoints.postgres
        password = self._state.secret(billing_database.ROLE)
        asyncio.run(
            billing_database.prepare(
                postgres.dsn(),
                billing_dsn=postgres.dsn(database=billing_database.DATABASE),
                script=(EXAMPLES / "billing.sql").read_text(encoding="utf-8"),
                password=password,
            )
        )
        self._worker_env["BILLING_DB_DSN"] = (
            f"postgresql://{billing_database.ROLE}:{password}"
            f"@{postgres.host}:{postgres.port}/{billing_database.DATABASE}"
        )

    def _read(self) -> None:
        for line in sys.stdin:
            if line.strip() == KEEP:
                _detach(self._state.log("holder"))
                return
        self._end()

    def _end(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        self._ending.set()
        self._suite.abandon()


def say(**document: Any) -> None:
    """Write a line to the demo; when it is gone there is nobody to tell."""
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()


def _handlers() -> Extra:
    listen = f"127.0.0.1:{ports.unused()}"
    return Extra(
        name=HANDLERS,
        argv=(sys.executable, "-m", "handlers"),
        env={
            "PYTHONPATH": str(EXAMPLES / "handlers"),
            "BACKBONE_ENVIRONMENT": "local",
            "BACKBONE_HTTP_LISTEN": listen,
        },
        health=f"http://{listen}/readyz",
    )


def _detach(log: Path) -> None:
    """Write to a log from now on: the terminal and the demo's pipe will be gone."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())


if __name__ == "__main__":
    sys.exit(Holder(Path(sys.argv[1])).run())
