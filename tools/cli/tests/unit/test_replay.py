import json
from pathlib import Path
from typing import Any

PLAN = ("--topic", "dev.payments", "--from", "2026-11-01T00:00:00Z", "--to", "2026-11-02T00:00:00Z")


def test_a_plan_is_made_to_its_end_and_says_how_to_apply_it(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone(
        "replay", "plan", *PLAN, "--id", "r-1", "--mode", "failed", "--definition", "d.one",
        "--rate", "5", "--reason", "mended",
    )  # fmt: skip
    assert result.exit_code == 0
    first, second = services.router.plans
    assert first == second
    assert (first.replay_id, first.mode, list(first.definition_ids)) == ("r-1", "failed", ["d.one"])
    assert (first.max_starts_per_second, first.reason) == (5, "mended")
    assert "40 of 100 records are read" in result.stderr
    assert "backbone replay apply r-1@abc123" in result.stderr
    assert "start 2, has_run 5" in result.stdout
    assert "expression_error 1" in result.stdout


def test_a_plan_is_applied_by_its_id_and_hash(backbone: Any, stack: Path, services: Any) -> None:
    words = ("replay", "apply", "r-1@abc123", "--reason", "ok", "--request-id", "q-1")
    result = backbone(*words, "-o", "json")
    [request] = services.replays.changes
    assert (request.replay_id, request.plan_hash, request.request_id, request.reason) == (
        *("r-1", "abc123", "q-1", "ok"),
    )
    document = json.loads(result.stdout)
    assert (document["state"], document["plan"], document["starts"]) == (
        *("running", "r-1@abc123", 2),
    )
    [definition] = document["definitions"]
    assert definition["planned"] == {"start": 2, "has_run": 5}


def test_what_is_no_plan_is_refused_before_anything_is_asked(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone("replay", "apply", "r-1", "--reason", "ok")
    assert result.exit_code == 2
    assert "ID@HASH" in result.stderr
    assert services.replays.changes == []


def test_a_replay_is_paused_resumed_and_cancelled_with_a_reason(
    backbone: Any, stack: Path, services: Any
) -> None:
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        result = backbone("replay", verb, "r-1", "--reason", "so", "-o", "json")
        assert json.loads(result.stdout)["state"] == state
    assert {request.reason for request in services.replays.changes} == {"so"}


def test_replays_and_their_starts_are_listed_over_pages(
    backbone: Any, stack: Path, services: Any
) -> None:
    listed = backbone("replay", "list", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["replay_id"] for line in listed] == ["r-2", "r-1"]
    starts = backbone("replay", "starts", "r-1", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["ordinal"] for line in starts] == [0, 1]
    [event] = json.loads(starts[0])["events"]
    assert (event["place"], event["event_id"]) == ("1:40", "e-0")


def test_an_unknown_replay_is_told_in_a_sentence(backbone: Any, stack: Path) -> None:
    result = backbone("replay", "show", "r-none")
    assert result.exit_code != 0
    assert "there is no replay r-none" in result.stderr
