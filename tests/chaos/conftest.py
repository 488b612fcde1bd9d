"""What the tests of crash points share."""

import contextlib
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from history import HistoryFile

from devstack.suite import Suite

DEFINITIONS = Path(__file__).parent / "definitions"


class _Rates(BaseHTTPRequestHandler):
    """Answers what the worker asks of the connector `rates`."""

    def do_GET(self) -> None:
        body = b'{"rate": 0.5}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="package")
def rates() -> Iterator[str]:
    """The address of an HTTP API."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Rates)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="package")
def crashing(
    suite: Suite,
    backbone,
    rates: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Suite:
    """The suite with the definitions and the connector that crash points are reached by."""
    names = ("order-placed", "orders", "shares", "stranded")
    words = [word for name in names for word in ("-f", str(DEFINITIONS / f"{name}.yaml"))]
    backbone("apply", *words, "--reason", "crash points")
    file = tmp_path_factory.mktemp("catalogue") / "catalogue.yaml"
    text = (DEFINITIONS / "catalogue.yaml").read_text()
    file.write_text(text.replace("http://127.0.0.1:8080", rates))
    catalogue = {
        "BACKBONE_CATALOGUE": str(file),
        "SUMS_DSN": suite.endpoints.postgres.dsn(),
        "BACKBONE_SWEEP_INTERVAL": "PT1S",
        "BACKBONE_SWEEP_MIN_AGE": "PT0S",
    }
    suite.restart("orchestrator-worker", env=catalogue)
    suite.restart("ledger", env={"BACKBONE_EVENT_RETENTION": "P365D"})
    suite.restart("registry", env={"BACKBONE_RECONCILE_INTERVAL": "PT2S"})
    suite.wait_ready()
    return suite


@pytest.fixture
def history(tmp_path: Path) -> Iterator[HistoryFile]:
    """A file for the operations of one scenario."""
    with contextlib.closing(HistoryFile(tmp_path / "history.jsonl")) as file:
        yield file


@pytest.fixture
def source() -> str:
    """A source of events that nobody else has."""
    return f"c{uuid.uuid4().hex[:10]}"
