import json
from pathlib import Path
from typing import Any

import pytest

from backbone.ledger.v1 import ledger_pb2
from cli import documents, endings, run_explanations, task_explanations

RUN_ID = "billing.overdue-invoices:2026-03-02T12:00:00Z"
TASK_ID = "6f1d3a3e-6c53-5f0e-9f3d-0d2b8f3c1a11"


@pytest.fixture
def definition(services: Any, document: Any) -> None:
    """Version 2, which decided the ledger's run."""
    rules = [
        {"name": "remind", "when": "size(context.overdue) > 0", "forEach": {"in": "context.due"}},
        {"name": "call", "when": "false"},
    ]
    for version in (1, 2):
        services.registry.put(
            json.loads(document("billing.overdue-invoices", rules=rules, number=version))
        )


def test_a_run_is_told_from_its_cause_to_its_end(
    backbone: Any, stack: Path, services: Any, definition: None
) -> None:
    result = backbone("explain", "run", RUN_ID)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{RUN_ID} is a run of billing.overdue-invoices version 2, "
        "recorded 2026-03-02T12:00:00.250000Z.",
        "It was due 2026-03-02T12:00:00Z (trigger often), and stands for the time from "
        "2026-03-02T11:59:50Z to 2026-03-02T12:00:00Z.",
        "It looked at (snapshot 00):",
        "  overdue: 1 item, 16 bytes, "
        "sha256 8f6153cd4ef5e501a73ed861e51cf8e1f5a94429e42c1eb5f38a2ef775aa97c3",
        "It decided 0 tasks:",
        "  remind: `size(context.overdue) > 0` was true, for each of 1 item of `context.due`: "
        "1 task",
        "  call: `false` was false",
        "What became of them:",
        "  0c7f7c53-55b0-5b8b-8d5c-111111111111 (remind INV-1): send_reminder completed",
        f"  {TASK_ID} (call INV-1): 'Call A\N{REPLACEMENT CHARACTER}[2J now' for @collections "
        "is open",
        "The run waits: only people's tasks are open.",
    ]


def test_without_the_registry_the_conditions_are_left_out(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone("explain", "run", RUN_ID)
    assert result.exit_code == 0
    assert "  call: its condition was false" in result.stdout.splitlines()
    assert "conditions are not shown" in result.stderr


def test_machines_get_the_run_with_what_explains_it(
    backbone: Any, stack: Path, services: Any, definition: None
) -> None:
    told = json.loads(backbone("explain", "run", RUN_ID, "-o", "json").stdout)
    assert (told["run_id"], told["trigger"]["kind"]) == (RUN_ID, "schedule")
    assert told["looked_at"][0]["bytes"] == 16
    assert told["rules"][0]["condition"] == "size(context.overdue) > 0"
    assert told["started_by"] == []


def started_by_events(count: int, *, kind: str = "event") -> ledger_pb2.GetRunResponse:
    events = [
        {"event_id": f"e-{number}", "source": "shop", "type": "paid"} for number in range(count)
    ]
    trigger = {"kind": kind, "names": ["big"], "definition_version": 2, "events": events}
    run = ledger_pb2.Run(
        run_id="billing.large-payment:event:x",
        definition_id="billing.large-payment",
        definition_version=2,
        status=ledger_pb2.RUN_STATUS_FAILED,
        failure=ledger_pb2.Failure(type="Undecidable", message="no such field"),
    )
    run.recorded_at.FromJsonString("2026-03-02T12:00:00Z")
    run.closed_at.FromJsonString("2026-03-02T12:00:00Z")
    return ledger_pb2.GetRunResponse(run=run, trigger=json.dumps(trigger).encode())


def test_an_event_is_told_with_where_it_stood(backbone: Any, stack: Path, services: Any) -> None:
    services.ledger.recorded = [started_by_events(1)]
    result = backbone("explain", "run", "billing.large-payment:event:x")
    assert result.stdout.splitlines()[1:] == [
        "An event started it (trigger big):",
        "  e-0: paid from shop, the record dev.payments 1:40, decided 2026-03-02T12:00:00.250000Z",
        "It decided nothing: Undecidable: no such field.",
        "The run failed 2026-03-02T12:00:00Z: Undecidable: no such field.",
    ]
    asked, *_ = services.decisions.listed
    assert (asked.event_id, asked.source) == ("e-0", "shop")
    assert asked.definition_id == "billing.large-payment"


def test_many_events_are_told_as_far_as_one_can_read() -> None:
    run = documents.run_in_full(started_by_events(12, kind="batch"))
    told = list(run_explanations.cause(run["trigger"], ()))
    assert told[0] == "12 events started it together (trigger big):"
    assert len(told) == 1 + run_explanations.TOLD_EVENTS + 1
    assert told[-1] == "  and 2 more"


def test_what_a_start_by_hand_and_missed_due_times_are_told_as() -> None:
    by_hand = {"kind": "manual", "names": [], "request_id": "r-1", "actor": "ann", "reason": "try"}
    assert list(run_explanations.cause(by_hand, ())) == [
        "ann started it by hand, as request r-1: try."
    ]
    missed = {
        "kind": "schedule",
        "names": ["often"],
        "scheduled_for": "T12",
        "window": {"start": "T0", "end": "T12"},
        "coalesced": [f"T{number}" for number in range(11)],
    }
    told = list(run_explanations.cause(missed, ()))
    assert told[1].startswith("It stands for 11 other due times that were missed: T0, T1,")
    assert told[1].endswith("T9, and 1 more.")
    again = {"kind": "replay", "names": ["big"], "events": [], "replay_id": "r-7"}
    assert list(run_explanations.cause(again, ())) == [
        "An event started it (trigger big), by the replay r-7:"
    ]
    assert "its trigger is gone" in next(run_explanations.cause({}, ()))


@pytest.mark.parametrize(
    ("run_id", "way"),
    [
        ("a.b:event:x", "backbone explain event EVENT_ID --definition a.b"),
        ("a.b:2026-03-02T12:00:00Z", "backbone ticks a.b"),
        ("a.b:batch:x", "backbone pending --definition a.b"),
        ("a.b:manual:r-1", "backbone runs --definition a.b"),
    ],
)
def test_a_run_that_is_not_there_says_where_to_look(
    backbone: Any, stack: Path, services: Any, run_id: str, way: str
) -> None:
    result = backbone("explain", "run", run_id)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"there is no run {run_id} in namespace dev" in result.stderr
    assert way in result.stderr


def test_a_task_is_told_by_its_rule(
    backbone: Any, stack: Path, services: Any, definition: None
) -> None:
    result = backbone("explain", "task", TASK_ID)
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{TASK_ID} is a task for @collections, 'Call A")
    assert lines[0].endswith(
        f"of the run {RUN_ID}, decided by version 2 of billing.overdue-invoices."
    )
    assert lines[1:4] == [
        "The rule call: `false` was false.",
        "Its task key is 'INV-1'.",
        "What happened to it:",
    ]
    assert "It is open." in lines
    assert next(line for line in lines if "was due" in line).startswith(
        "It was due 2026-03-02T12:00:00Z"
    )
    told = json.loads(backbone("explain", "task", TASK_ID, "-o", "json").stdout)
    assert told["decided_by"]["rule"] == "call"
    assert told["run"]["definition_version"] == 2


def test_a_task_that_is_not_there_says_where_to_look(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone("explain", "task", "0c7f7c53-55b0-5b8b-8d5c-222222222222")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "`backbone tasks --run RUN_ID` lists those of a run" in result.stderr


def ended(status: str, **fields: Any) -> dict[str, Any]:
    return {
        "status": status,
        "closed_at": "T9",
        "closed_by": None,
        "close_reason": None,
        "claimed_by": None,
        "failure": None,
    } | fields


LOST = {"type": "Terminated", "message": "terminated in Temporal by ada: stuck"}


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (ended("running"), "The run goes on: automated tasks are open."),
        (ended("waiting"), "The run waits: only people's tasks are open."),
        (ended("completed"), "The run completed T9."),
        (
            ended("cancelled", closed_by="local/ada", close_reason="a mistake"),
            "The run was cancelled T9 by local/ada: a mistake.",
        ),
        (
            ended("failed", failure=LOST),
            "The run failed T9: Terminated: terminated in Temporal by ada: stuck.",
        ),
    ],
)
def test_each_end_of_a_run_is_told_with_who_and_why(run: dict[str, Any], said: str) -> None:
    assert endings.of_run(run) == said


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (ended("open"), "is open"),
        (ended("open", claimed_by="ben"), "is open, claimed by ben"),
        (ended("completed", closed_by="ben"), "completed T9 by ben"),
        (ended("failed", failure=LOST), f"failed T9: Terminated: {LOST['message']}"),
        (ended("cancelled", closed_by="ada"), "was cancelled T9 by ada"),
        (ended("expired"), "expired undone T9"),
    ],
)
def test_each_end_of_a_task_is_told(task: dict[str, Any], said: str) -> None:
    assert endings.of_task(task) == said


def told_run(**fields: Any) -> dict[str, Any]:
    decision = {"snapshot_sha256": "5a", "tasks": [], "rules": []}
    return {
        "run_id": "a.b:manual:r-1",
        "definition_id": "a.b",
        "definition_version": 3,
        "recorded_at": "T1",
        "trigger": {"kind": "manual", "names": [], "actor": "ada", "request_id": "r-1"},
        "snapshot": {},
        "decision": decision,
        "task_list": [],
        "failure_calls": [],
        "retries": [],
        **ended("completed"),
        **fields,
    }


def test_what_could_not_be_had_is_told_with_its_reason() -> None:
    run = told_run(snapshot={"crm": None, "$failures": {"crm": "given up after 3 attempts"}})
    assert list(run_explanations.run_sentences(run, None, ()))[2:4] == [
        "It looked at (snapshot 5a):",
        "  crm: null, since given up after 3 attempts",
    ]


def test_a_run_that_was_decided_again_names_who_wanted_it_and_what_became_of_it() -> None:
    trigger = {"kind": "manual", "names": [], "actor": "ada", "request_id": "r-1"}
    again = {"run_id": "a.b:manual:r-1", "number": 1, "actor": "ben", "reason": "mended"}
    run = told_run(
        trigger=trigger | {"retry_of": again},
        retries=[
            {"run_id": "a.b:again", "actor": "eve", "reason": "once more", "retried_at": "T5"}
        ],
        failure_calls=[
            {"task_id": None, "handler": "tell", "handled_at": "T3", "failure": None},
            {"task_id": "t-1", "handler": "tell", "handled_at": "T4", "failure": LOST},
        ],
    )
    told = list(run_explanations.run_sentences(run, None, ()))
    assert told[1:3] == [
        "ben had a.b:manual:r-1 decided again: mended. What started that one:",
        "ada started it by hand, as request r-1.",
    ]
    assert told[-4:] == [
        "tell was told of the failure of the run T3.",
        "tell was told of the failure of the task t-1 T4, and failed itself: Terminated: "
        f"{LOST['message']}.",
        "The run completed T9.",
        "eve had it decided again T5, as a.b:again: once more.",
    ]


def test_an_event_that_was_applied_is_told_with_the_states_of_its_instance() -> None:
    state = {"before_sha256": "aa", "after_sha256": "bb", "ended": True}
    run = told_run(decision={"snapshot_sha256": "5a", "tasks": [], "rules": [], "state": state})
    assert (
        "It changed the state of its instance from aa to bb, and ended the instance."
        in run_explanations.run_sentences(run, None, ())
    )


def test_a_task_is_told_with_what_people_did_to_it() -> None:
    task = {
        "task_id": "t-1",
        "type": "human",
        "title": "Call",
        "rule": "call",
        "key": "",
        "due_at": None,
        "generation": 1,
        "assigned_users": [],
        "assigned_groups": ["desk"],
        **ended("completed", closed_by="ben"),
    }
    changes = [
        {"event_type": f"backbone.Task{what}", "occurred_at": at, "actor": actor}
        | {"comment": comment, "reason": None}
        for what, at, actor, comment in (
            ("Created", "T1", None, None),
            ("Commented", "T2", "ada", "he is away"),
        )
    ]
    told = list(task_explanations.sentences(task, told_run(), None, changes))
    assert told[1:5] == [
        "What happened to it:",
        "  T1 created",
        "  T2 commented by ada: he is away",
        "It completed T9 by ben.",
    ]
    retried = {**task, "type": "automated", "handler": "send", "generation": 3}
    assert "It was retried by hand: this is the third time." in task_explanations.sentences(
        retried, told_run(), None, ()
    )
