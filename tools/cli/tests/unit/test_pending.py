import json
from pathlib import Path
from typing import Any


def test_pending_lists_what_waits_and_until_when(backbone: Any, stack: Path, services: Any) -> None:
    result = backbone("pending", "-o", "json", "--definition", "billing.gathered")
    held, batch = (json.loads(line) for line in result.stdout.splitlines())
    assert (held["reason"], held["key"], held["events"]) == ("held", "INV-1", 1)
    assert held["not_before"] is None
    assert (batch["reason"], batch["not_before"]) == ("batch", "2026-03-02T12:00:05Z")
    assert [(one.definition_id, one.page_token) for one in services.decisions.pending_listed] == [
        ("billing.gathered", ""),
        ("billing.gathered", "2"),
    ]


def test_pending_asks_for_one_reason(backbone: Any, stack: Path, services: Any) -> None:
    shown = backbone("pending", "--reason", "held", "--limit", "1").stdout
    assert "billing.gathered" in shown
    assert [request.reason for request in services.decisions.pending_listed] == ["held"]
