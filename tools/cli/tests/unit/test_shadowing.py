import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from backbone.ledger.v1 import ledger_pb2, shadows_pb2
from contracts import canonical, definitions
from contracts.decisions import Decision
from contracts.definitions import ActivityDefinition

NAME = "billing.large-payment"


def content(handler: str = "send") -> dict[str, Any]:
    task = {"type": "automated", "handler": handler, "taskQueue": "mail-tq"}
    return {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": NAME, "namespace": "dev", "owner": "billing"},
        "spec": {"taskQueue": "billing-tq", "rules": [{"name": "review", "task": task}]},
    }


def decision(*handlers: str) -> bytes:
    tasks = [
        {
            "type": "automated",
            "task_id": "6f1d3a3e-6c53-5f0e-9f3d-0d2b8f3c1a11",
            "rule": "review",
            "key": "",
            "handler": handler,
            "task_queue": "mail-tq",
            "input": {},
            "timeout": "60s",
            "retry": {},
        }
        for handler in handlers
    ]
    return canonical.render(
        Decision.model_validate(
            {
                "definition_id": NAME,
                "definition_version": 1,
                "snapshot_sha256": "00",
                "tasks": tasks,
                "rules": [],
            }
        )
    )


@pytest.fixture
def shadowed(services: Any) -> Any:
    """Two versions, and a shadow that has decided two of three runs otherwise."""
    for one in (content(), content("other")):
        services.registry.put(one)
    made = [
        (shadows_pb2.SHADOW_OUTCOME_DECIDED, decision("send"), ""),
        (shadows_pb2.SHADOW_OUTCOME_DECIDED, decision("other"), ""),
        (shadows_pb2.SHADOW_OUTCOME_FAILED, b"", "no such field: tip"),
    ]
    for number, (outcome, body, reason) in enumerate(made):
        run = ledger_pb2.Run(run_id=f"{NAME}:manual:{number}", definition_version=1)
        run.recorded_at.FromJsonString("2026-03-02T12:00:00Z")
        services.ledger.recorded.append(
            ledger_pb2.GetRunResponse(run=run, decision=decision("send"))
        )
        told = shadows_pb2.ShadowDecision(
            run_id=run.run_id, outcome=outcome, decision=body, reason=reason
        )
        told.recorded_at.FromJsonString("2026-03-02T12:00:01Z")
        services.shadows.decisions.append(told)
    return services


def started(backbone: Any, *words: str) -> dict[str, Any]:
    result = backbone("shadow", "start", NAME, *words, "--reason", "try", "-o", "json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_stored_version_or_a_file_is_started_for_a_time(
    backbone: Any, stack: Path, shadowed: Any
) -> None:
    told = started(backbone, "--version", "v1", "--runs", "50", "--for", "2d")
    assert (told["definition_version"], told["active"], told["max_runs"]) == (1, True, 50)
    (request,) = shadowed.shadows.started
    assert definitions.load(request.content) == ActivityDefinition.model_validate(content())
    assert request.reason == "try"
    shadowed.shadows.shadows.clear()
    file = stack / "next.yaml"
    file.write_text(yaml.safe_dump(content("third")))
    told = started(backbone, "-f", str(file), "--request-id", "r-1")
    assert told["definition_version"] == 3
    assert shadowed.shadows.started[1].request_id == "r-1"
    lasting = (
        shadowed.shadows.started[1].expires_at.ToDatetime()
        - shadowed.shadows.started[0].expires_at.ToDatetime()
    )
    assert timedelta(days=4, hours=23) < lasting < timedelta(days=5, hours=1)


def test_another_one_is_refused_and_the_first_is_stopped_and_listed(
    backbone: Any, stack: Path, shadowed: Any
) -> None:
    started(backbone, "--version", "v1")
    refused = backbone("shadow", "start", NAME, "--version", "v1", "--reason", "me too")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "another shadow decides" in refused.stderr
    stopped = backbone("shadow", "stop", NAME, "--reason", "enough")
    assert stopped.exit_code == 0
    assert "2026-03-02T13:00:00Z" in stopped.stdout
    (line,) = backbone("shadow", "list", "-o", "json").stdout.splitlines()
    assert json.loads(line)["stop_reason"] == "enough"
    assert NAME in backbone("shadow", "list").stdout


def test_the_report_tells_the_differences_and_ends_as_a_backtest_does(
    backbone: Any, stack: Path, shadowed: Any
) -> None:
    started(backbone, "--version", "v2")
    result = backbone("shadow", "report", NAME, "-o", "json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["exit_code"]) == (1, 1)
    assert told["shadow"]["definition_version"] == 2
    assert (told["runs"]["same"], told["runs"]["different"]) == (1, 2)
    changed, failed = told["different"]
    assert changed["tasks"][0]["fields"] == [
        {"path": "handler", "before": "send", "after": "other"}
    ]
    assert failed["reason"] == "the shadow fails: no such field: tip"
    assert backbone("shadow", "report", NAME, "--allow", "2").exit_code == 0
    said = backbone("shadow", "report", NAME).stdout
    assert '        handler: "send" -> "other"' in said.splitlines()
    assert "decided again" not in said


def test_a_run_that_is_gone_is_not_comparable(backbone: Any, stack: Path, shadowed: Any) -> None:
    started(backbone, "--version", "v2")
    shadowed.ledger.gone |= {one.run_id for one in shadowed.shadows.decisions}
    result = backbone("shadow", "report", NAME, "-o", "json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["runs"]["not_comparable"] == 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("start", NAME, "--reason", "x"), 2, "either --version VERSION or -f FILE"),
        (("start", NAME, "--version", "v1", "--for", "32d", "--reason", "x"), 2, "at most 31d"),
        (("start", NAME, "--version", "v1", "--for", "0s", "--reason", "x"), 2, "at most 31d"),
        (("start", NAME, "--version", "v1", "--for", "long", "--reason", "x"), 2, "--for"),
        (("start", NAME, "--version", "new", "--reason", "x"), 2, "--version is a version"),
        (("start", NAME, "--version", "v9", "--reason", "x"), 1, "there is no"),
        (("report", NAME), 2, f"`backbone shadow start {NAME}` starts one"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    backbone: Any, stack: Path, shadowed: Any, *, words: tuple[str, ...], code: int, said: str
) -> None:
    result = backbone("shadow", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
