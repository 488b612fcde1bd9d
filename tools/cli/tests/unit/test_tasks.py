import json
from pathlib import Path
from typing import Any

import pytest

TASK_ID = "6f1d3a3e-6c53-5f0e-9f3d-0d2b8f3c1a11"


@pytest.mark.parametrize("words", [("tasks",), ("tasks", "list")])
def test_tasks_lists_with_and_without_list(
    backbone: Any, stack: Path, words: tuple[str, ...]
) -> None:
    result = backbone(*words, "--type", "human", "-o", "json")
    (line,) = result.stdout.splitlines()
    task = json.loads(line)
    assert (task["task_id"], task["status"], task["assigned_groups"]) == (
        TASK_ID,
        "open",
        ["collections"],
    )


def test_tasks_filters_by_status(backbone: Any, stack: Path) -> None:
    (line,) = backbone("tasks", "--status", "completed", "-o", "json").stdout.splitlines()
    assert json.loads(line)["handler"] == "send_reminder"


def test_options_before_the_word_list_count_too(backbone: Any, stack: Path) -> None:
    (first, *_) = backbone("tasks", "-o", "json", "list").stdout.splitlines()
    assert json.loads(first)["type"] == "automated"


def test_filters_before_another_word_are_refused(backbone: Any, stack: Path) -> None:
    result = backbone("tasks", "--status", "open", "show", TASK_ID)
    assert result.exit_code == 2
    assert "--status" in result.stderr


def test_what_strangers_wrote_cannot_steer_the_terminal(backbone: Any, stack: Path) -> None:
    shown = backbone("tasks", "show", TASK_ID).stdout
    assert "\x1b" not in shown
    assert "Call A\N{REPLACEMENT CHARACTER}[2J now" in shown


def test_complete_records_answer_and_actor(
    backbone: Any, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    result = backbone(
        *("tasks", "complete", TASK_ID, "--answer", '{"outcome": "will-pay"}'),
        *("--reason", "called", "-o", "json"),
    )
    task = json.loads(result.stdout)
    assert (task["status"], task["closed_by"], task["output"]) == (
        "completed",
        "ada",
        {"outcome": "will-pay"},
    )


def test_complete_of_a_closed_task_says_so(backbone: Any, stack: Path) -> None:
    words = ("tasks", "complete", TASK_ID, "--answer", "{}", "--reason", "called")
    backbone(*words)
    result = backbone(*words)
    assert result.exit_code == 1
    assert result.stderr == "backbone: the task is completed already\n"


def test_complete_refuses_an_answer_that_is_not_json(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone("tasks", "complete", TASK_ID, "--answer", "{yes", "--reason", "called")
    assert result.exit_code == 2
    assert "--answer is not JSON" in result.stderr
    assert services.ledger.human.closed_by == ""
