"""What the tests of crash points share."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import crashpoints
import pytest
from history import HistoryFile

from devstack.suite import Suite

DEFINITIONS = Path(__file__).parent / "definitions"


@pytest.fixture(scope="session")
def crashing(suite: Suite, backbone, request: pytest.FixtureRequest) -> Suite:
    """The suite with the definitions and the connector that crash points are reached by."""
    chosen = ", ".join(point.name for point in crashpoints.to_crash_at())
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\ncrash points: {chosen}")  # noqa: T201 - which of them it is today
    names = ("order-placed", "orders", "shares", "stranded")
    words = [word for name in names for word in ("-f", str(DEFINITIONS / f"{name}.yaml"))]
    backbone("apply", *words, "--reason", "crash points")
    catalogue = {
        "BACKBONE_CATALOGUE": str(DEFINITIONS / "catalogue.yaml"),
        "SUMS_DSN": suite.endpoints.postgres.dsn(),
        "BACKBONE_SWEEP_INTERVAL": "PT1S",
        "BACKBONE_SWEEP_MIN_AGE": "PT0S",
    }
    suite.restart("orchestrator-worker", env=catalogue)
    suite.restart("ledger", env={"BACKBONE_EVENT_RETENTION": "P365D"})
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
