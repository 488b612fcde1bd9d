"""How instances of stateful definitions are shown."""

import json
from pathlib import Path
from typing import Any

from backbone.ledger.v1 import instances_pb2

OPEN, ENDED = (f"billing.dunning:instance:{'a' * 26}:{generation}" for generation in (2, 1))


def test_list_turns_pages_and_tells_each_generation(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone("instances", "list", "-o", "json")
    newest, first = (json.loads(line) for line in result.stdout.splitlines())
    assert (newest["instance_id"], newest["status"], newest["events"]) == (OPEN, "open", 4)
    assert (newest["generation"], newest["ended_at"]) == (2, None)
    assert (first["instance_id"], first["status"]) == (ENDED, "ended")
    assert first["ended_at"] == "2026-03-02T12:00:01Z"
    assert [request.page_token for request in services.instances.listed] == ["", "1"]


def test_list_asks_for_one_definition_and_status(backbone: Any, stack: Path, services: Any) -> None:
    words = ("--definition", "billing.dunning", "--status", "ended", "--limit", "1")
    shown = backbone("--namespace", "stage", "instances", "list", *words).stdout
    assert OPEN in shown
    assert ENDED not in shown
    [asked] = services.instances.listed
    assert (asked.namespace, asked.definition_id, asked.status, asked.page_size) == (
        *("stage", "billing.dunning", instances_pb2.INSTANCE_STATUS_ENDED, 1),
    )


def test_list_refuses_a_status_that_there_is_not(backbone: Any, stack: Path, services: Any) -> None:
    result = backbone("instances", "list", "--status", "asleep")
    assert result.exit_code == 2
    assert "--status" in result.stderr
    assert services.instances.listed == []


def test_show_tells_state_timers_and_the_last_run(backbone: Any, stack: Path) -> None:
    shown = backbone("instances", "show", OPEN).stdout
    assert "billing.dunning version 3" in shown
    assert "billing.dunning:event:x" in shown
    assert "timer broken-promise fires at 2026-03-16T12:00:01Z without an event" in shown
    assert "reminders = 2" in shown
    assert "\x1b" not in shown


def test_show_of_an_ended_instance_tells_of_no_timer(
    backbone: Any, stack: Path, services: Any
) -> None:
    services.instances.state = b"{}"
    shown = backbone("instances", "show", ENDED).stdout
    assert "timer" not in shown
    assert shown.rstrip().endswith("nothing")


def test_show_as_json_is_one_document(backbone: Any, stack: Path) -> None:
    instance = json.loads(backbone("instances", "show", OPEN, "-o", "json").stdout)
    assert instance["state"]["reminders"] == 2
    assert instance["timers"] == [{"name": "broken-promise", "due_at": "2026-03-16T12:00:01Z"}]
    assert (instance["status"], instance["last_run_id"]) == ("open", "billing.dunning:event:x")


def test_show_of_an_unknown_instance_says_so(backbone: Any, stack: Path) -> None:
    unknown = f"{OPEN[:-1]}7"
    result = backbone("instances", "show", unknown)
    assert result.exit_code == 1
    assert result.stderr == f"backbone: there is no instance {unknown}\n"


def test_waiting_says_how_many_events_and_since_when(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone("instances", "waiting", "--definition", "billing.dunning", "-o", "json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {
            "workflow_id": f"billing.dunning:instance:{key}",
            "definition_id": "billing.dunning",
            "events": events,
            "waiting_since": "2026-03-02T12:00:00Z",
        }
        for key, events in (("a" * 26, 20), ("b" * 26, 40))
    ]
    asked = services.instances.waiting_listed
    assert [(one.definition_id, one.page_token) for one in asked] == [
        ("billing.dunning", ""),
        ("billing.dunning", "2"),
    ]


def test_waiting_as_a_table_stops_at_the_limit(backbone: Any, stack: Path) -> None:
    shown = backbone("instances", "waiting", "--limit", "1").stdout
    (line,) = [line for line in shown.splitlines() if "billing.dunning" in line]
    assert line.split() == [f"billing.dunning:instance:{'a' * 26}", "20", "2026-03-02T12:00:00Z"]
