"""`backbone backfill`: what it asks of the ledger, and what people see."""

import json
from pathlib import Path
from typing import Any

import pytest

from backbone.ledger.v1 import backfills_pb2 as pb

PLAN = (
    *("backfill", "plan", "a.b", "--id", "b-1", "--reason", "a gap"),
    *("--from", "2026-03-02T10:00:00Z", "--to", "2026-03-02T13:00:00+01:00"),
)
ASK = ("--reason", "looked at it", "--request-id", "r-1")


def test_a_plan_shows_each_due_time_and_how_to_apply_it(
    backbone: Any, stack: Path, services: Any
) -> None:
    shown = backbone(*PLAN, "--mode", "all", "--order", "newestFirst", "--concurrency", "3")
    assert shown.exit_code == 0
    [asked] = services.backfills.asked
    assert (asked.namespace, asked.backfill_id, asked.definition_id) == ("dev", "b-1", "a.b")
    assert asked.due_from.ToJsonString() == "2026-03-02T10:00:00Z"
    assert asked.due_to.ToJsonString() == "2026-03-02T12:00:00Z"
    assert (asked.mode, asked.order, asked.concurrency, asked.reason) == (
        pb.BACKFILL_MODE_ALL, pb.BACKFILL_ORDER_NEWEST_FIRST, 3, "a gap",
    )  # fmt: skip
    lines = shown.stdout.splitlines()
    assert any("2026-03-02T10:00:00Z" in line and "it has no run" in line for line in lines)
    assert any("2026-03-02T11:00:00Z" in line and "leave" in line for line in lines)
    assert "planned 1, left (completed) 1" in shown.stdout
    assert "backbone backfill apply b-1@abc --reason" in shown.stdout + shown.stderr


def test_a_part_of_a_plan_says_that_there_is_more(backbone: Any, stack: Path) -> None:
    shown = backbone(*PLAN, "--limit", "1")
    assert "1 more due times: --limit shows more of them" in shown.stdout + shown.stderr


def test_a_plan_is_a_document_with_its_due_times(backbone: Any, stack: Path) -> None:
    document = json.loads(backbone(*PLAN, "-o", "json").stdout)
    assert (document["plan"], document["mode"], document["order"]) == (
        "b-1@abc", "missing", "oldestFirst",
    )  # fmt: skip
    assert document["outcomes"] == {"planned": 1, "left (completed)": 1}
    assert [one["step"] for one in document["times"]] == ["start", "leave"]


def test_what_is_applied_is_what_was_looked_at(backbone: Any, stack: Path, services: Any) -> None:
    backbone(*PLAN)
    shown = backbone("backfill", "apply", "b-1@abc", *ASK)
    asked = services.backfills.asked[-1]
    assert (asked.backfill_id, asked.plan_hash, asked.request_id, asked.reason) == (
        "b-1", "abc", "r-1", "looked at it",
    )  # fmt: skip
    assert "running" in shown.stdout
    wrong = backbone("backfill", "apply", "b-1", *ASK)
    assert wrong.exit_code == 2
    assert "a plan is BACKFILL@HASH" in wrong.stderr


@pytest.mark.parametrize(
    ("command", "state"), [("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")]
)
def test_people_change_it_and_say_why(
    backbone: Any, stack: Path, services: Any, command: str, state: str
) -> None:
    backbone(*PLAN)
    assert backbone("backfill", command, "b-1").exit_code == 2
    shown = backbone("backfill", command, "b-1", *ASK)
    assert state in shown.stdout
    assert "local/ann, 2026-03-02T13:00:00Z: looked at it" in shown.stdout
    assert services.backfills.asked[-1].request_id == "r-1"


def test_backfills_are_listed(backbone: Any, stack: Path, services: Any) -> None:
    assert "there is no backfill" in backbone("backfill", "list").stderr
    backbone(*PLAN)
    (line,) = backbone("backfill", "list", "--definition", "a.b", "-o", "json").stdout.splitlines()
    assert json.loads(line)["backfill_id"] == "b-1"
    assert services.backfills.asked[-1].definition_id == "a.b"
    shown = backbone("backfill", "show", "b-1").stdout
    assert "it has run, and an instant runs once" in shown
