import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from backbone.ledger.v1 import ledger_pb2
from contracts import canonical, identifiers
from contracts.definitions import ActivityDefinition
from contracts.envelope import Envelope
from contracts.triggers import Trigger, TriggerKind
from rules import decisions

NAME = "billing.large-payment"


def content(limit: int, **task: Any) -> dict[str, Any]:
    """A definition that has a person look at payments from `limit` on."""
    done = {"type": "automated", "handler": "send", "taskQueue": "mail-tq", **task}
    return {
        "apiVersion": "backbone/v1",
        "kind": "ActivityDefinition",
        "metadata": {"id": NAME, "namespace": "dev", "owner": "billing"},
        "spec": {
            "taskQueue": "billing-tq",
            "triggers": [{"name": "paid", "event": {"type": "paid"}}],
            "rules": [{"name": "review", "when": f"event.payload.amount >= {limit}", "task": done}],
        },
    }


def recorded(amount: int, *, version: int, limit: int, ago: timedelta) -> ledger_pb2.GetRunResponse:
    """A run as the ledger has it, of one payment, decided by a version with a limit."""
    # Not when the module is read: a suite may come to its tests much later.
    now = datetime.now(UTC)
    event = Envelope(
        event_id=f"PAY-{amount}-{version}",
        type="paid",
        source="shop",
        occurred_at=now,
        payload={"amount": amount},
    )
    trigger = Trigger(
        kind=TriggerKind.EVENT, names=["paid"], definition_version=version, events=[event]
    )
    run_id = identifiers.run_id(NAME, trigger.key)
    decision = decisions.decide(
        ActivityDefinition.model_validate(content(limit)),
        definition_version=version,
        namespace="dev",
        run_id=run_id,
        trigger=trigger,
        snapshot={},
    )
    run = ledger_pb2.Run(
        namespace="dev", run_id=run_id, definition_id=NAME, definition_version=version
    )
    run.recorded_at.FromDatetime(now - ago)
    return ledger_pb2.GetRunResponse(
        run=run,
        trigger=canonical.render(trigger),
        snapshot=b"{}",
        decision=canonical.render(decision),
    )


@pytest.fixture
def past(services: Any) -> Any:
    """Version 1 reviews from 100 on, version 2 from 50 on, version 3 fails on all payments."""
    for one in (content(100), content(50), content(50, input={"tip": "event.payload.tip"})):
        services.registry.put(one)
    hour = timedelta(hours=1)
    services.ledger.recorded = [
        recorded(200, version=1, limit=100, ago=1 * hour),
        recorded(60, version=1, limit=100, ago=2 * hour),
        recorded(10, version=1, limit=100, ago=3 * hour),
        recorded(70, version=2, limit=50, ago=4 * hour),
        recorded(61, version=1, limit=100, ago=30 * 24 * hour),
    ]
    return services


def report(backbone: Any, *words: str) -> tuple[int, dict[str, Any]]:
    result = backbone("backtest", NAME, *words, "-o", "json")
    assert result.stderr == ""
    return result.exit_code, json.loads(result.stdout)


def test_a_planted_difference_is_found_and_ends_with_1(
    backbone: Any, stack: Path, past: Any
) -> None:
    code, told = report(backbone, "--from", "v1", "--to", "v2")
    assert code == told["exit_code"] == 1
    assert told["runs"] == {
        "looked_at": 3,
        "same": 2,
        "different": 1,
        "not_comparable": 0,
        "of_other_versions": 1,
        "more": False,
    }
    assert told["decided_again"] == {"same_hash": 3, "same_tasks": 0, "otherwise": 0}
    assert told["tasks"] == {"added": 1, "removed": 0, "changed": 0}
    (run,) = told["different"]
    (task,) = run["tasks"]
    assert run["run_id"] == past.ledger.recorded[1].run.run_id
    assert (task["change"], task["rule"], task["what"]) == ("added", "review", "send")
    said = backbone("backtest", NAME, "--from", "v1", "--to", "v2")
    assert "    + review: send" in said.stdout.splitlines()
    assert "3 runs looked at: 2 same, 1 different, 0 not comparable" in said.stdout
    assert "3 gave the recorded decision's hash" in said.stdout
    assert "1 runs of other versions were left out" in said.stderr


def test_so_many_differences_may_be_allowed(backbone: Any, stack: Path, past: Any) -> None:
    assert report(backbone, "--from", "v1", "--to", "2", "--allow", "1")[0] == 0


def test_the_same_version_decides_the_same(backbone: Any, stack: Path, past: Any) -> None:
    code, told = report(backbone, "--to", "v2", "--since", "210m")
    assert (code, told["runs"]["different"]) == (1, 1)
    code, told = report(backbone, "--from", "v2", "--to", "v2")
    assert (code, told["runs"]["same"], told["different"]) == (0, 1, [])


def test_a_version_that_fails_on_past_runs_differs(backbone: Any, stack: Path, past: Any) -> None:
    code, told = report(backbone, "--to", "v3", "--show", "1")
    assert (code, told["runs"]["different"], len(told["different"])) == (1, 3, 1)
    assert told["different"][0]["reason"].startswith("version 3 fails: rule 'review', task.input")
    said = backbone("backtest", NAME, "--to", "v3", "--show", "1").stdout
    assert "and 2 more that differ (--show)" in said


def test_a_file_is_tried_before_it_is_applied(backbone: Any, stack: Path, past: Any) -> None:
    file = stack / "next.yaml"
    file.write_text(yaml.safe_dump(content(100)))
    code, told = report(backbone, "--from", "v1", "-f", str(file))
    assert (code, told["to_version"], told["to_file"]) == (0, 4, str(file))
    file.write_text(yaml.safe_dump(content(10)))
    assert report(backbone, "--from", "v1", "-f", str(file))[0] == 1


def test_what_cannot_be_compared_ends_with_2_unless_it_is_allowed(
    backbone: Any, stack: Path, past: Any
) -> None:
    first, second, *_ = past.ledger.recorded
    first.snapshot = b""
    past.ledger.gone.add(second.run.run_id)
    code, told = report(backbone, "--from", "v1", "--to", "v1")
    assert (code, told["runs"]["not_comparable"]) == (2, 2)
    assert {"reason": "its snapshot is gone", "runs": 1} in told["not_comparable"]
    assert {"reason": "it is gone", "runs": 1} in told["not_comparable"]
    words = ("--from", "v1", "--to", "v1", "--allow-not-comparable", "2")
    assert report(backbone, *words)[0] == 0
    said = backbone("backtest", NAME, "--from", "v1", "--to", "v1")
    assert "that could not be judged" in said.stderr


def test_a_record_that_its_version_does_not_give_is_told(
    backbone: Any, stack: Path, past: Any
) -> None:
    planted = recorded(60, version=1, limit=50, ago=timedelta(hours=1))
    past.ledger.recorded = [planted]
    code, told = report(backbone, "--to", "v1")
    assert (code, told["decided_again"]["otherwise"]) == (2, 1)
    assert "which must not be" in backbone("backtest", NAME, "--to", "v1").stdout


def test_a_version_that_the_registry_lacks_makes_its_runs_not_comparable(
    backbone: Any, stack: Path, past: Any
) -> None:
    past.ledger.recorded[0].run.definition_version = 9
    code, told = report(backbone, "--to", "v1", "--since", "90m")
    assert (code, told["runs"]["not_comparable"]) == (2, 1)


def test_no_run_is_no_verdict(backbone: Any, stack: Path, past: Any) -> None:
    code, told = report(backbone, "--to", "v1", "--since", "1m")
    assert (code, told["runs"]["looked_at"]) == (2, 0)


def test_a_limit_says_that_there_are_more(backbone: Any, stack: Path, past: Any) -> None:
    code, told = report(backbone, "--from", "v1", "--to", "v1", "--limit", "2")
    assert (code, told["runs"]["looked_at"], told["runs"]["more"]) == (0, 2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "either --to VERSION or -f FILE"),
        (("--to", "v2", "-f", "x"), "either --to VERSION or -f FILE"),
        (("--to", "latest"), "--to is a version, such as v8"),
        (("--to", "v0"), "--to is a version, such as v8"),
        (("--from", "v", "--to", "v1"), "--from is a version"),
        (("--to", "v1", "--since", "soon"), "--since is a duration such as 7d"),
        (("--to", "v1", "--since", "999999999d"), "before all time"),
        (("--to", "v1", "--since", "2026-03-02T12:00:00"), "with its zone"),
        (("--to", "v99"), "there is no"),
        (("-f", "other.yaml"), "is billing.other in namespace dev, not billing.large-payment"),
    ],
)
def test_whatever_keeps_it_from_judging_ends_with_2(
    backbone: Any, stack: Path, past: Any, words: tuple[str, ...], said: str
) -> None:
    other = content(1)
    other["metadata"]["id"] = "billing.other"
    (stack / "other.yaml").write_text(yaml.safe_dump(other))
    result = backbone("backtest", NAME, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_ledger_that_is_away_ends_with_2(backbone: Any, stack: Path, past: Any) -> None:
    past.ledger.away = True
    result = backbone("backtest", NAME, "--to", "v1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the ledger cannot answer now" in result.stderr
