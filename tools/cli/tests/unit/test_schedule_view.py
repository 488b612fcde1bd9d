import json
from pathlib import Path
from typing import Any

import pytest

from backbone.registry.v1 import registry_pb2, schedules_pb2


@pytest.fixture
def drifted() -> Any:
    """A schedule whose times somebody has changed."""
    return schedules_pb2.ScheduleDrift(
        definition_id="a.b",
        kind=schedules_pb2.SCHEDULE_DRIFT_KIND_DIFFERENT,
        differences=[
            schedules_pb2.ScheduleDifference(
                path="spec.intervals", wanted="[every 3600s]", found="[every 7s]"
            ),
            schedules_pb2.ScheduleDifference(path="state.note", found="by \x1b[31mhand"),
        ],
        revision=7,
    )


def test_list_pages_and_filters(backbone: Any, stack: Path, services: Any) -> None:
    services.schedule_states.schedules = [
        schedules_pb2.Schedule(
            definition_id=f"a.b{number}",
            state=schedules_pb2.SCHEDULE_STATE_REFUSED,
            version=1,
            revision=number,
            detail="the ledger refuses it",
        )
        for number in range(1, 6)
    ]
    result = backbone("schedules", "list", "--state", "refused", "--limit", "5", "-o", "json")
    assert result.exit_code == 0
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["definition_id"] for one in found] == [f"a.b{number}" for number in range(1, 6)]
    assert found[0] == {
        "definition_id": "a.b1",
        "state": "refused",
        "version": 1,
        "revision": 1,
        "attempted_at": None,
        "detail": "the ledger refuses it",
    }
    asked = {request.state for request in services.schedule_states.listed}
    assert asked == {schedules_pb2.SCHEDULE_STATE_REFUSED}


def test_show_tells_what_stands_what_differs_and_when_it_is_due(
    backbone: Any, stack: Path, services: Any, drifted: Any
) -> None:
    full = services.schedule_states.full
    full.schedule.definition_id = "a.b"
    full.schedule.state = schedules_pb2.SCHEDULE_STATE_DRIFTED
    full.found["spec.intervals"] = "[every 7s]"
    full.differences.extend(drifted.differences)
    full.next_due.add().FromJsonString("2026-03-02T12:00:00Z")
    full.drifts.append(drifted)
    result = backbone("schedules", "show", "a.b")
    assert result.exit_code == 0
    assert "2026-03-02T12:00:00Z" in result.stdout
    assert "spec.intervals: [every 7s] instead of [every 3600s]" in result.stdout
    assert "\x1b[31m" not in result.stdout
    assert "not put back yet" in result.stdout
    found = json.loads(backbone("schedules", "show", "a.b", "-o", "json").stdout)
    assert (found["state"], found["wanted"]) == ("drifted", None)
    assert found["differences"][1] == {
        "path": "state.note",
        "wanted": None,
        "found": "by \x1b[31mhand",
    }


def test_show_of_what_is_not_there_is_a_failure(backbone: Any, stack: Path) -> None:
    result = backbone("schedules", "show", "no.such")
    assert result.exit_code == 1
    assert "no.such" in result.stderr


def test_drift_is_a_check_that_passes_when_what_was_changed_is_put_back(
    backbone: Any, stack: Path, services: Any, drifted: Any
) -> None:
    drifted.found_at.FromJsonString("2026-03-02T12:00:00Z")
    drifted.repaired_at.FromJsonString("2026-03-02T12:00:01Z")
    services.schedule_states.drifts = [drifted]
    result = backbone("schedules", "drift")
    assert result.exit_code == 0
    assert "found 2026-03-02T12:00:00Z, put back 2026-03-02T12:00:01Z" in result.stdout
    assert "no drift: 3 definitions with schedules are as applied" in result.stderr
    found = json.loads(backbone("schedules", "drift", "-o", "json").stdout)
    assert (found["drifts"], found["scheduled_definitions"]) == ([], 3)
    assert found["reconciler"] == {"leader": "one", "term": 7, "compared_at": None}
    assert found["recorded"][0]["repaired_at"] == "2026-03-02T12:00:01Z"


@pytest.mark.parametrize("by", ["the list", "the record"])
def test_drift_fails_when_anything_is_not_as_applied(
    backbone: Any, stack: Path, services: Any, drifted: Any, by: str
) -> None:
    if by == "the list":
        missing = registry_pb2.Drift(
            definition_id="a.b",
            kind=registry_pb2.DRIFT_KIND_MISSING,
            detail="there is no Temporal Schedule",
            revision=7,
        )
        missing.attempted_at.FromJsonString("2026-03-02T12:00:00Z")
        services.registry.drifts = [missing]
    else:
        services.schedule_states.drifts = [drifted]
    result = backbone("schedules", "drift")
    assert result.exit_code == 1
    assert "1 definition is not as applied" in result.stderr


def test_drift_tells_what_differs_now_and_knows_no_newer_word_for_it(
    backbone: Any, stack: Path, services: Any
) -> None:
    kind: Any = 99
    missing = registry_pb2.Drift(definition_id="a.b", detail="something new", revision=7)
    missing.kind = kind
    missing.attempted_at.FromJsonString("2026-03-02T12:00:00Z")
    services.registry.drifts = [missing]
    result = backbone("schedules", "drift", "-o", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["drifts"] == [
        {
            "definition_id": "a.b",
            "drift": "99",
            "detail": "something new",
            "revision": 7,
            "attempted_at": "2026-03-02T12:00:00Z",
        }
    ]
