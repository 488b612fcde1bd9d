import json
from pathlib import Path
from typing import Any

from backbone.registry.v1 import registry_pb2


def test_no_drift_is_a_success(backbone: Any, stack: Path) -> None:
    result = backbone("drift")
    assert result.exit_code == 0
    assert result.stderr == "no drift: 3 definitions with schedules are as applied\n"


def test_drift_is_a_failure_that_says_what_differs(
    backbone: Any, stack: Path, services: Any
) -> None:
    missing = registry_pb2.Drift(
        definition_id="a.b",
        kind=registry_pb2.DRIFT_KIND_MISSING,
        detail="there is no Temporal Schedule",
        revision=7,
    )
    missing.attempted_at.FromJsonString("2026-03-02T12:00:00Z")
    unexpected = registry_pb2.Drift(
        definition_id="c.d", kind=registry_pb2.DRIFT_KIND_UNEXPECTED, detail="nobody asks for it"
    )
    services.registry.drifts = [missing, unexpected]
    result = backbone("drift", "-o", "json")
    assert result.exit_code == 1
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {
            "definition_id": "a.b",
            "drift": "missing",
            "detail": "there is no Temporal Schedule",
            "revision": 7,
            "attempted_at": "2026-03-02T12:00:00Z",
        },
        {
            "definition_id": "c.d",
            "drift": "unexpected",
            "detail": "nobody asks for it",
            "revision": None,
            "attempted_at": None,
        },
    ]
    assert "2 definitions are not as applied" in result.stderr


def test_kind_that_is_newer_than_the_command_is_shown_by_its_number(
    backbone: Any, stack: Path, services: Any
) -> None:
    drift = registry_pb2.Drift(definition_id="a.b", detail="something new")
    drift.kind = 99  # type: ignore[assignment]
    services.registry.drifts = [drift]
    result = backbone("drift", "-o", "json")
    assert json.loads(result.stdout)["drift"] == "99"
