"""Fault proxies: one toxiproxy server, with a proxy for each edge between two processes.

All of it listens on 127.0.0.1. The server is supervised, so that it ends with this process.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from devstack.ports import Ports
from devstack.state import StateFolder
from devstack.supervision import Program, Supervisor
from devstack.tools import find_toxiproxy

ANSWERED = 10.0  # seconds that the server has to answer, and to come up


class Proxies:
    """The proxies of one stack, by the names of their edges; each has its port from the start."""

    def __init__(self, folder: Path, edges: Sequence[str]) -> None:
        state = StateFolder(folder)
        state.create()
        self._supervisor = Supervisor(state)
        self._ports = Ports(state, self._supervisor.tell)
        self._api = self._ports.port("api")
        self.addresses: Mapping[str, str] = {
            edge: f"127.0.0.1:{self._ports.port(edge)}" for edge in edges
        }

    def start(self) -> Self:
        """Start the server; no edge leads anywhere yet."""
        self._supervisor.open()
        argv = (str(find_toxiproxy()), "-host", "127.0.0.1", "-port", str(self._api))
        self._supervisor.add(Program(name="toxiproxy", argv=argv, env={}))
        self._supervisor.start("toxiproxy")
        self._supervisor.wait_until("toxiproxy", self._answers, timeout=ANSWERED)
        return self

    def stop(self) -> None:
        """End the server, and with it every connection through it."""
        self._supervisor.close()
        self._ports.release()

    def lead(self, edge: str, upstream: str) -> None:
        """Have an edge lead to host:port."""
        document = {"name": edge, "listen": self.addresses[edge], "upstream": upstream}
        self._ask("POST", "/proxies", {**document, "enabled": True})

    def cut(self, edge: str) -> None:
        """Close every connection of an edge and refuse new ones."""
        self._ask("POST", f"/proxies/{edge}", {"enabled": False})

    def poison(self, edge: str, kind: str, *, stream: str, attributes: Mapping[str, int]) -> None:
        """Do to a direction of an edge (`upstream`, `downstream`) what toxiproxy calls a toxic."""
        document = {"type": kind, "stream": stream, "name": f"{kind}-{stream}", "toxicity": 1.0}
        self._ask("POST", f"/proxies/{edge}/toxics", {**document, "attributes": attributes})

    def heal(self, edge: str) -> None:
        """Undo everything that was done to an edge."""
        for toxic in self._ask("GET", f"/proxies/{edge}/toxics"):
            self._ask("DELETE", f"/proxies/{edge}/toxics/{toxic['name']}")
        self._ask("POST", f"/proxies/{edge}", {"enabled": True})

    def _answers(self) -> bool:
        try:
            self._ask("GET", "/version")
        except OSError:
            return False
        return True

    def _ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._api}{path}",
            method=method,
            data=None if document is None else json.dumps(document).encode(),
        )
        deadline = time.monotonic() + ANSWERED
        while True:
            try:
                with urllib.request.urlopen(request, timeout=ANSWERED) as answer:  # noqa: S310
                    said = answer.read()
            except urllib.error.HTTPError as exc:
                # An address is free again a moment after its proxy was disabled.
                said = exc.read()
                if exc.code < 500 or time.monotonic() > deadline:
                    message = f"toxiproxy: {method} {path}: {exc.code} {said.decode()}"
                    raise RuntimeError(message) from exc
                time.sleep(0.1)
                continue
            return json.loads(said) if said[:1] in (b"{", b"[") else said
