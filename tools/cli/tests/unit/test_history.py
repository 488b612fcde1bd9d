import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def past(backbone: Any, stack: Path, document: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOGNAME", "ada")
    backbone("apply", "-f", "-", "--reason", "new", stdin=document("x.y"))
    backbone("apply", "-f", "-", stdin=document("crm.changed", kind="EventType"))
    backbone("apply", "-f", "-", stdin=document("x.y", more=1))
    monkeypatch.setenv("LOGNAME", "bob")
    backbone("disable", "x.y", "--reason", "too loud")
    return stack


def revisions(result: Any) -> list[int]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line)["revision"] for line in result.stdout.splitlines()]


def test_history_is_of_all_kinds_newest_first(backbone: Any, past: Path) -> None:
    assert revisions(backbone("history", "-o", "json")) == [4, 3, 2, 1]


def test_history_of_a_kind_turns_pages_until_the_limit(backbone: Any, past: Path) -> None:
    assert revisions(backbone("history", "-k", "event-type", "-o", "json")) == [2]
    assert revisions(backbone("history", "--limit", "3", "-o", "json")) == [4, 3, 2]


def test_history_of_a_definition_needs_no_kind(backbone: Any, past: Path) -> None:
    assert revisions(backbone("history", "x.y", "-o", "json")) == [4, 3, 1]
    assert revisions(backbone("history", "crm.changed", "-k", "event-type", "-o", "json")) == [2]


def test_history_says_when_who_what_and_why(backbone: Any, past: Path) -> None:
    heading, newest, *_ = backbone("history", "x.y").stdout.splitlines()
    columns = ["WHEN", "WHO", "WHAT", "KIND", "ID", "VERSION", "STATE", "REVISION", "WHY"]
    assert heading.split() == columns
    assert newest.split(maxsplit=8) == [
        "2026-03-02T12:00:04Z",
        "bob",
        "disabled",
        "definition",
        "x.y",
        "2",
        "disabled",
        "4",
        "too loud",
    ]


def test_history_of_nothing_says_so(backbone: Any, stack: Path) -> None:
    result = backbone("history", "no.such")
    assert result.stdout == ""
    assert "nothing has happened" in result.stderr
