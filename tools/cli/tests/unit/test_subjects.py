"""`subjects`: what is kept of people, its end, and who was shown what."""

import json
from typing import Any

import pytest

from backbone.ledger.v1 import ledger_pb2

BLOB = "0b9b5ed4-6b0e-5c0a-9d52-0c5b8f1b6a01"
HASH = "h" * 26
CANARY = "ada@example.org"


@pytest.fixture
def subjects(services: Any, stack: Any) -> Any:
    assert stack
    return services.subjects


def test_a_person_is_shown_without_any_value(backbone: Any, subjects: Any) -> None:
    shown = json.loads(backbone("subjects", "show", "ada", "-o", "json").stdout)
    assert shown["subject_ref"] == "r" * 26
    assert shown["keys"] == [
        {
            "created_at": "2026-03-02T12:00:00Z",
            "values": 1,
            "data_key": "k1",
            "erased_at": None,
            "erased_by": None,
            "reason": None,
        }
    ]
    assert backbone("subjects", "show", "bob").exit_code != 0
    assert subjects.revealed == []


def test_a_person_is_erased_once_with_a_reason(backbone: Any, subjects: Any) -> None:
    assert backbone("subjects", "erase", "ada").exit_code == 2
    assert subjects.erased == []
    done = backbone("subjects", "erase", "ada", "--reason", "asked", "--yes", "--request-id", "r-1")
    assert done.exit_code == 0
    assert "erased just now" in done.stderr
    (asked,) = subjects.erased
    assert (asked.namespace, asked.subject, asked.reason, asked.request_id) == (
        *("dev", "ada", "asked", "r-1"),
    )
    again = json.loads(
        backbone("subjects", "erase", "ada", "--reason", "asked", "-o", "json").stdout
    )
    assert again["erased"] is False
    assert again["keys"][0]["erased_by"] == "local/ann"


def test_who_was_shown_what_is_listed(backbone: Any, subjects: Any) -> None:
    assert subjects
    found = json.loads(backbone("subjects", "reveals", "-o", "json").stdout)
    assert (found["actor"], found["reason"], found["blob_ids"]) == ("local/ann", "a test", [BLOB])


def test_all_keys_are_wrapped_anew(backbone: Any, subjects: Any) -> None:
    assert "6 keys are wrapped anew" in backbone("subjects", "rewrap").stdout
    assert subjects.left == 0


def test_a_run_is_shown_with_values_only_to_who_says_why(
    backbone: Any, services: Any, subjects: Any
) -> None:
    run_id = "billing:event:x"
    payload = {"email": {"$sensitive": BLOB, "hash": HASH}}
    event = {"type": "paid", "event_id": "e", "source": "shop", "payload": payload}
    run = ledger_pb2.Run(
        namespace="dev",
        run_id=run_id,
        definition_id="billing",
        status=ledger_pb2.RUN_STATUS_COMPLETED,
    )
    trigger = json.dumps({"kind": "event", "events": [event]}).encode()
    services.ledger.recorded = [ledger_pb2.GetRunResponse(run=run, trigger=trigger)]
    shown = backbone("run", "show", run_id, "-o", "json").stdout
    assert "$sensitive" in shown
    refused = backbone("run", "show", run_id, "--reveal")
    assert (refused.exit_code, subjects.revealed) == (2, [])
    why = ("--reveal", "--reason", "a test")
    assert CANARY in backbone("run", "show", run_id, *why, "-o", "json").stdout
    (asked,) = subjects.revealed
    assert (asked.reason, [(one.blob_id, one.hash) for one in asked.references]) == (
        *("a test", [(BLOB, HASH)]),
    )
    backbone("subjects", "erase", "ada", "--reason", "asked", "--yes")
    shown = backbone("run", "show", run_id, *why, "-o", "json").stdout
    assert CANARY not in shown
    assert "$sensitive" in shown
