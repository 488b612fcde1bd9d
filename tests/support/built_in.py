"""A worker of the built-in handlers beside a suite, what its calls reach, and what came of them."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from devstack.suite import Suite

DEFINITIONS = Path(__file__).parents[1] / "e2e" / "definitions"
FILES = ("chained-done", "looped-again", "chained", "chained-next", "looped")
SERVE = ("-m", "sdk.builtins", "serve")


class Rates:
    """An HTTP API that remembers under which keys it was asked."""

    def __init__(self) -> None:
        asked: list[tuple[str, str]] = []
        self.asked = asked

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                asked.append((self.path, self.headers["Idempotency-Key"]))
                body = b'{"accepted": true}'
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def served(self) -> Iterator["Rates"]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def environment(suite: Suite, rates: Rates, directory: Path) -> dict[str, str]:
    """Return the settings of the worker; its catalogue is put into `directory`."""
    file = directory / "catalogue.yaml"
    text = (DEFINITIONS / "built-in-catalogue.yaml").read_text()
    file.write_text(text.replace("http://127.0.0.1:8080", rates.url))
    return {
        **suite.environment("router"),
        "BACKBONE_CATALOGUE": str(file),
        "BACKBONE_HTTP_LISTEN": "127.0.0.1:0",
    }


@contextlib.contextmanager
def worker(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the worker, and end it."""
    with subprocess.Popen([sys.executable, *SERVE], env=env) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def apply(backbone: Callable[..., str]) -> None:
    """Apply the definitions."""
    words = [word for name in FILES for word in ("-f", str(DEFINITIONS / f"{name}.yaml"))]
    backbone("apply", *words, "--reason", "built-in handlers")


def runs_of(backbone: Callable[..., str], definition: str) -> list[dict[str, Any]]:
    """Return the runs of a definition."""
    lines = backbone("runs", "--definition", definition, "--limit", "500", "-o", "json")
    return [json.loads(line) for line in lines.splitlines()]
