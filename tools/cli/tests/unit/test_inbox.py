import json
from pathlib import Path
from typing import Any

import pytest

TASK_ID = "6f1d3a3e-6c53-5f0e-9f3d-0d2b8f3c1a11"
REASON = ("--reason", "ill")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), ("", "", True)),
        (("--user", "ana"), ("ana", "", False)),
        (("--group", "collections"), ("", "collections", False)),
        (("--all",), ("", "", False)),
    ],
)
def test_inbox_asks_for_what_is_open_for_whom(
    backbone: Any, stack: Path, services: Any, words: tuple[str, ...], asked: tuple[Any, ...]
) -> None:
    (line,) = backbone("inbox", *words, "-o", "json").stdout.splitlines()
    assert json.loads(line)["task_id"] == TASK_ID
    (request,) = services.ledger.tasks_asked
    assert (request.status, request.type) == (1, 2)
    assert (request.assigned_user, request.assigned_group, request.mine) == asked


def test_inbox_of_one_at_a_time(backbone: Any, stack: Path, services: Any) -> None:
    result = backbone("inbox", "--user", "ana", "--all")
    assert result.exit_code == 2
    assert "exclude each other" in result.stderr
    assert services.ledger.tasks_asked == []


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (("claim", "--version", "1"), {"version": 1}),
        (("release", *REASON), {"reason": "ill"}),
        (("cancel", *REASON), {"reason": "ill"}),
        (
            ("reassign", "--user", "bo", "--user", "cy", "--group", "desk", *REASON),
            {"assigned_users": ["bo", "cy"], "assigned_groups": ["desk"], "reason": "ill"},
        ),
        (("comment", "he called back"), {"comment": "he called back"}),
    ],
)
def test_a_change_says_what_was_asked_once_by_its_request_id(
    backbone: Any, stack: Path, services: Any, words: tuple[str, ...], fields: dict[str, Any]
) -> None:
    what, *options = words
    result = backbone("tasks", what, TASK_ID, *options, "--request-id", "r-1", "-o", "json")
    assert json.loads(result.stdout)["task_id"] == TASK_ID
    (request,) = services.ledger.tasks_asked
    assert (request.namespace, request.task_id, request.request_id) == ("dev", TASK_ID, "r-1")
    for name, value in fields.items():
        found = getattr(request, name)
        assert (list(found) if isinstance(value, list) else found) == value


def test_claim_shows_who_has_it_at_which_version(
    backbone: Any, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    task = json.loads(backbone("tasks", "claim", TASK_ID, "-o", "json").stdout)
    assert (task["claimed_by"], task["version"]) == ("ada", 2)
    shown = backbone("tasks", "show", TASK_ID).stdout
    assert "claimed by" in shown
    assert "ada" in shown


def test_a_task_that_was_changed_meanwhile_says_what_it_is_now(backbone: Any, stack: Path) -> None:
    result = backbone("tasks", "claim", TASK_ID, "--version", "7")
    assert result.exit_code == 1
    assert result.stderr == (
        "backbone: the task is at version 1 now, not 7; look again and retry\n"
    )


def test_history_is_read_to_its_end(backbone: Any, stack: Path) -> None:
    lines = backbone("tasks", "history", TASK_ID, "-o", "json").stdout.splitlines()
    assert [json.loads(line)["event_type"] for line in lines] == [
        "backbone.TaskCreated",
        "backbone.TaskCommented",
    ]
    shown = backbone("tasks", "history", TASK_ID).stdout
    assert "@collections" in shown
    assert "commented" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("words", [("cancel",), ("reassign", "--user", "bo")])
def test_what_takes_a_task_away_needs_a_reason(
    backbone: Any, stack: Path, services: Any, words: tuple[str, ...]
) -> None:
    what, *options = words
    result = backbone("tasks", what, TASK_ID, *options)
    assert result.exit_code == 2
    assert "--reason" in result.stderr
    assert services.ledger.tasks_asked == []


def test_reassign_says_to_whom(backbone: Any, stack: Path) -> None:
    result = backbone("tasks", "reassign", TASK_ID, *REASON)
    assert result.exit_code == 2
    assert "say to whom" in result.stderr
