"""Cancelling and retrying from the command line."""

import json
from pathlib import Path
from typing import Any


def test_cancel_says_what_became_of_the_run_and_gives_reason_and_request(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone("runs", "cancel", "a:manual:1", "--reason", "wrong", "--request-id", "r-1")
    assert "a:manual:1 is cancelled" in result.stdout
    [asked] = services.control.asked
    assert (asked.namespace, asked.run_id, asked.reason, asked.request_id) == (
        *("dev", "a:manual:1", "wrong", "r-1"),
    )


def test_cancel_of_a_closed_run_is_a_sentence(backbone: Any, stack: Path) -> None:
    result = backbone("runs", "cancel", "done", "--reason", "wrong")
    assert result.exit_code == 1
    assert "the run done is completed, not open" in result.stderr


def test_control_needs_a_reason(backbone: Any, stack: Path) -> None:
    for words in (("runs", "cancel"), ("runs", "retry"), ("tasks", "retry")):
        result = backbone(*words, "x")
        assert result.exit_code == 2
        assert "--reason" in result.stderr


def test_retry_says_whether_tasks_go_on_or_a_new_run_decides(backbone: Any, stack: Path) -> None:
    shown = backbone("runs", "retry", "a:manual:1", "--reason", "again").stdout
    assert "a:manual:1 is open again; tasks that are carried out again: 2" in shown
    shown = backbone("runs", "retry", "undecided", "--reason", "again").stdout
    assert "undecided is decided again as undecided:retry:1" in shown
    shown = backbone("runs", "retry", "undecided", "--reason", "again", "-o", "json").stdout
    assert json.loads(shown) == {"run_id": "undecided:retry:1", "task_ids": []}


def test_retried_task_is_shown_with_its_generation(backbone: Any, stack: Path) -> None:
    shown = backbone("tasks", "retry", "a", "--reason", "again", "-o", "json").stdout
    task = json.loads(shown)
    assert (task["status"], task["generation"]) == ("open", 2)


def test_operations_show_why_they_wait(backbone: Any, stack: Path) -> None:
    (line,) = backbone("operations", "-o", "json").stdout.splitlines()
    found = json.loads(line)
    assert (found["kind"], found["attempts"], found["last_error"]) == (
        *("retry_task", 3, "Temporal: UNAVAILABLE"),
    )


def test_runs_lists_with_and_without_list(backbone: Any, stack: Path) -> None:
    listed = backbone("runs", "-o", "json").stdout
    assert backbone("runs", "list", "-o", "json").stdout == listed
    result = backbone("runs", "--status", "failed", "show", "x")
    assert result.exit_code == 2
    assert "--status" in result.stderr
