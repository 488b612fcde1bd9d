"""Schedules and due times from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from backbone.ledger.v1 import ledger_pb2, schedules_pb2

ASK = ("--reason", "a holiday", "--request-id", "r-1")


def test_ticks_say_what_became_of_a_due_time(backbone: Any, stack: Path, services: Any) -> None:
    words = ("ticks", "billing.overdue-invoices", "--since", "2026-03-02T11:00:00+01:00")
    (line,) = backbone(*words, "-o", "json").stdout.splitlines()
    tick = json.loads(line)
    assert tick["due_at"] == "2026-03-02T12:00:00Z"
    assert (tick["outcome"], tick["reason"]) == ("overlapped", "a run is open")
    assert (tick["run_id"], tick["lateness"], tick["count"]) == (None, "2s", 1)
    [asked] = services.ledger.due_times_asked
    assert asked.since.ToJsonString() == "2026-03-02T10:00:00Z"


def test_since_is_a_time_with_its_zone(backbone: Any, stack: Path) -> None:
    result = backbone("ticks", "a.b", "--since", "yesterday")
    assert result.exit_code == 2
    assert "--since is a time with its zone" in result.stderr


def test_pause_tells_who_holds_it_and_why(backbone: Any, stack: Path, services: Any) -> None:
    shown = backbone("schedules", "pause", "a.b", *ASK).stdout
    assert "since 2026-03-02T12:30:00Z by local/ana: a holiday" in shown
    [asked] = services.schedules.asked
    assert (asked.namespace, asked.definition_id, asked.reason, asked.request_id) == (
        *("dev", "a.b", "a holiday", "r-1"),
    )


def test_what_is_paused_is_not_paused_again(backbone: Any, stack: Path) -> None:
    result = backbone("schedules", "pause", "is.paused", *ASK)
    assert result.exit_code == 1
    assert "the schedules are paused by bo: why" in result.stderr


def test_show_and_resume_tell_how_it_stands(backbone: Any, stack: Path, services: Any) -> None:
    services.schedule_states.full.schedule.definition_id = "a.b"
    for words in (("show", "a.b"), ("resume", "a.b", *ASK)):
        shown = backbone("schedules", *words).stdout
        assert "a.b version 3" in shown
        assert "2026-03-02T14:00:00Z by local/ana (a holiday)" in shown
    account = json.loads(backbone("schedules", "show", "a.b", "-o", "json").stdout)["account"]
    assert (account["pause"], account["waiting"]) == (None, 2)


@pytest.mark.parametrize("command", ["pause", "resume", "skip-next", "trigger"])
def test_whoever_changes_something_says_why(backbone: Any, stack: Path, command: str) -> None:
    overlap = ("--overlap", "skip") if command == "trigger" else ()
    result = backbone("schedules", command, "a.b", *overlap)
    assert result.exit_code == 2
    assert "--reason" in result.stderr


def test_trigger_needs_an_overlap(backbone: Any, stack: Path, services: Any) -> None:
    result = backbone("schedules", "trigger", "a.b", *ASK)
    assert result.exit_code == 2
    assert "--overlap" in result.stderr
    words = ("--overlap", "cancelOther", "--trigger", "often")
    shown = backbone("schedules", "trigger", "a.b", *words, *ASK).stdout
    assert shown.splitlines() == ["2026-03-02T12:34:00Z: run a.b:now", "  asked for"]
    [asked] = services.schedules.asked
    assert (asked.overlap, asked.trigger_name) == (
        schedules_pb2.OVERLAP_POLICY_CANCEL_OTHER,
        "often",
    )


def test_skip_next_tells_which_one(backbone: Any, stack: Path) -> None:
    shown = backbone("schedules", "skip-next", "a.b", *ASK).stdout
    assert shown == "a.b will not run for 2026-03-02T13:00:00Z\n"


def test_an_instant_that_was_not_due_is_explained_with_those_around(
    backbone: Any, stack: Path, services: Any
) -> None:
    explained = services.schedules.explained
    explained.standing = schedules_pb2.DUE_TIME_STANDING_NOT_DUE
    explained.explanation = "no schedule trigger of the definition was due then"
    explained.due_before.FromJsonString("2026-03-02T12:00:00Z")
    shown = backbone("explain", "tick", "a.b", "2026-03-02T12:10:00Z").stdout
    assert shown.splitlines() == [
        "a.b at 2026-03-02T12:10:00Z: not due.",
        "  no schedule trigger of the definition was due then",
        "  It was or is due 2026-03-02T12:00:00Z.",
    ]


def test_a_due_time_is_explained_with_its_run_and_how_late_it_was(
    backbone: Any, stack: Path, services: Any
) -> None:
    explained = services.schedules.explained
    explained.standing = schedules_pb2.DUE_TIME_STANDING_ACCOUNTED
    row = explained.due_time
    row.outcome, row.reason, row.run_id = ledger_pb2.DUE_OUTCOME_RUN, "often: due", "a.b:then"
    row.due_at.FromJsonString("2026-03-02T12:00:00Z")
    row.decided_at.FromJsonString("2026-03-02T12:01:00Z")
    shown = backbone("explain", "tick", "a.b", "2026-03-02T12:00:00Z").stdout
    assert shown.splitlines() == [
        "a.b was due 2026-03-02T12:00:00Z: run, a.b:then.",
        "  often: due",
        "  Decided 2026-03-02T12:01:00Z, 60s after it was due.",
        "  No worker has said yet that it was started.",
    ]
    told = json.loads(
        backbone("explain", "tick", "a.b", "2026-03-02T12:00:00Z", "-o", "json").stdout
    )
    assert told["due_time"]["lateness"] == "60s"
