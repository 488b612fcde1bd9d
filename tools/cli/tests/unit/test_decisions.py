import json
from pathlib import Path
from typing import Any

from backbone.ledger.v1 import routing_pb2


def test_decisions_turn_pages_until_the_limit(backbone: Any, stack: Path, services: Any) -> None:
    result = backbone("decisions", "-o", "json", "--limit", "3")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["outcome"] for row in rows] == ["started", "filtered", "errored"]
    assert [request.page_token for request in services.decisions.listed] == ["", "2"]
    assert rows[0] == {
        "namespace": "dev",
        "event_id": "e-0",
        "source": "shop",
        "type": "billing.payment.received",
        "definition_id": "billing.large-payment",
        "definition_version": 2,
        "outcome": "started",
        "trigger_names": ["big"],
        "run_id": "billing.large-payment:event:x",
        "clause": None,
        "seen": None,
        "detail": None,
        "topic": "dev.payments",
        "partition": 1,
        "offset": 40,
        "cause": "replay:r-1",
        "registry_revision": 7,
        "decided_at": "2026-03-02T12:00:00.250000Z",
        "settled_at": None,
    }
    assert len(backbone("decisions", "-o", "json", "--limit", "1").stdout.splitlines()) == 1


def test_decisions_say_why(backbone: Any, stack: Path) -> None:
    heading, started, filtered, errored = backbone("decisions").stdout.splitlines()
    assert heading.split() == [
        *("DECIDED", "EVENT", "DEFINITION", "OUTCOME", "RUN", "WHY", "RECORD"),
    ]
    assert "billing.large-payment:event:x  replay:r-1" in started
    assert started.endswith("dev.payments 1:40")
    # What a stranger sent is not obeyed by the terminal.
    assert 'event.payload.currency == "EUR" (event.payload.currency = "U\ufffdSD")' in filtered
    assert "no such field: currency" in errored


def test_decisions_are_asked_for_as_the_options_say(
    backbone: Any, stack: Path, services: Any
) -> None:
    backbone(
        *("decisions", "-n", "prod", "--limit", "2", "--event", "e-1", "--source", "shop"),
        *("--definition", "billing.large-payment", "--outcome", "filtered"),
        *("--since", "2026-03-02T12:00:00+01:00", "--until", "2026-03-03T00:00:00Z"),
    )
    (request,) = services.decisions.listed
    expected = routing_pb2.ListRoutingDecisionsRequest(
        namespace="prod",
        page_size=2,
        event_id="e-1",
        source="shop",
        definition_id="billing.large-payment",
        outcome=routing_pb2.ROUTING_OUTCOME_FILTERED,
    )
    expected.decided_from.FromJsonString("2026-03-02T11:00:00Z")
    expected.decided_to.FromJsonString("2026-03-03T00:00:00Z")
    assert request == expected


def test_a_source_alone_and_a_time_without_zone_are_refused(backbone: Any, stack: Path) -> None:
    result = backbone("decisions", "--source", "shop")
    assert (result.exit_code, result.stderr) == (2, "backbone: --source goes with --event\n")
    result = backbone("decisions", "--since", "2026-03-02T12:00:00")
    assert result.exit_code == 2
    assert "--since is a time with its zone" in result.stderr
