import json
from pathlib import Path
from typing import Any

RUN_ID = "billing.overdue-invoices:2026-03-02T12:00:00Z"


def test_runs_turns_pages_until_the_limit(backbone: Any, stack: Path, services: Any) -> None:
    result = backbone("runs", "-o", "json", "--limit", "3", "--status", "waiting")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[0]["run_id"] == RUN_ID
    assert len(lines) == 3
    assert [request.page_token for request in services.ledger.listed] == ["", "2"]


def test_runs_stops_at_the_limit(backbone: Any, stack: Path) -> None:
    result = backbone("runs", "-o", "json", "--limit", "1")
    assert len(result.stdout.splitlines()) == 1


def test_runs_table_is_not_cut_when_piped(backbone: Any, stack: Path) -> None:
    result = backbone("runs", "--namespace", "dev")
    assert f"{RUN_ID}  2" in result.stdout


def test_runs_asks_for_the_namespace_that_was_given(
    backbone: Any, stack: Path, services: Any
) -> None:
    backbone("--namespace", "stage", "runs")
    backbone("--namespace", "stage", "runs", "-n", "prod", "--limit", "1")
    assert [request.namespace for request in services.ledger.listed] == ["stage", "stage", "prod"]


def test_run_show_tells_trigger_context_rules_and_tasks(backbone: Any, stack: Path) -> None:
    shown = backbone("run", "show", RUN_ID).stdout
    assert "2026-03-02T11:59:50Z to 2026-03-02T12:00:00Z" in shown
    assert 'overdue = [{"id": "INV-1"}]' in shown
    assert "send_reminder" in shown
    (remind,) = [line for line in shown.splitlines() if line.startswith("remind")]
    (call,) = [line for line in shown.splitlines() if line.startswith("call")]
    assert remind.split() == ["remind", "yes", "1", "1"]
    assert call.split() == ["call", "no", "-", "0"]


def test_run_show_as_json_is_one_document(backbone: Any, stack: Path) -> None:
    run = json.loads(backbone("run", "show", RUN_ID, "-o", "json").stdout)
    assert run["status"] == "waiting"
    assert run["recorded_at"] == "2026-03-02T12:00:00.250000Z"
    assert run["closed_at"] is None
    assert run["decision"]["rules"][0]["when"] is True
    assert [task["type"] for task in run["task_list"]] == ["automated", "human"]


def test_run_show_of_an_unknown_run_says_so(backbone: Any, stack: Path) -> None:
    result = backbone("run", "show", "no.such:manual:1")
    assert result.exit_code == 1
    assert result.stderr == "backbone: there is no run no.such:manual:1\n"


def test_run_redact_takes_fields_out_and_shows_what_is_left(
    backbone: Any, stack: Path, services: Any
) -> None:
    words = ("run", "redact", RUN_ID, "overdue.id", "customer", "--reason", "they asked")
    result = backbone(*words, "--request-id", "r-1")
    assert 'overdue = [{"id": {"$redacted": null}}]' in result.stdout
    [request] = services.ledger.redactions
    assert (request.run_id, list(request.fields)) == (RUN_ID, ["overdue.id", "customer"])
    assert (request.namespace, request.request_id, request.reason) == ("dev", "r-1", "they asked")
    left = json.loads(backbone(*words, "-o", "json").stdout)
    assert left == {"overdue": [{"id": {"$redacted": None}}]}


def test_run_redact_needs_a_field_and_a_reason(backbone: Any, stack: Path) -> None:
    assert backbone("run", "redact", RUN_ID, "--reason", "x").exit_code == 2
    assert backbone("run", "redact", RUN_ID, "overdue").exit_code == 2
