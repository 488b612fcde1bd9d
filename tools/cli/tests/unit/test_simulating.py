import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts import identifiers

ROOT = Path(__file__).parents[4]
LARGE_PAYMENT = str(ROOT / "examples" / "definitions" / "large-payment.yaml")
OVERDUE = str(ROOT / "examples" / "definitions" / "overdue-invoices.yaml")


@pytest.fixture
def payment(nowhere: Path) -> Path:
    """An event that is complete, so that ids are known."""
    event = json.loads((ROOT / "examples" / "payment.json").read_text())
    file = nowhere / "payment.json"
    event |= {"event_id": "PAY-1", "occurred_at": "2026-03-02T12:00:00Z"}
    file.write_text(json.dumps(event))
    return file


def test_an_event_gives_the_tasks_that_it_would_give_without_any_service(
    backbone: Any, payment: Path
) -> None:
    result = backbone("simulate", "-f", LARGE_PAYMENT, "--event", str(payment), "-o", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    (one,) = json.loads(result.stdout)["simulations"]
    key = identifiers.event_trigger_key("examples/billing", "PAY-1")
    run_id = identifiers.run_id("billing.large-payment", key)
    assert one["run_id"] == run_id
    assert one["triggers"] == [{"name": "large-payment", "matched": True, "detail": None}]
    confirm, review = one["decision"]["tasks"]
    assert confirm["task_id"] == str(identifiers.task_id("dev", run_id, "confirm", ""))
    assert review["title"] == "Review payment PAY-0001"
    assert [trace["when"] for trace in one["decision"]["rules"]] == [True, True]
    said = backbone("simulate", "-f", LARGE_PAYMENT, "--event", str(payment)).stdout
    assert f"would be the run {run_id}" in said
    assert "rule review: when is true, 1 task" in said


def test_the_commands_of_the_page_can_be_run_as_they_stand(
    backbone: Any, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "backtest.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("$ backbone simulate")]
    lines = [line for line in lines if "--online" not in line]
    assert len(lines) == 3
    monkeypatch.chdir(ROOT)
    for line in lines:
        result = backbone(*shlex.split(line)[2:])
        assert result.exit_code == 0, result.stdout + result.stderr
        assert "and would decide" in result.stdout


def test_an_event_that_matches_nothing_is_told_with_the_clause(
    backbone: Any, payment: Path
) -> None:
    event = json.loads(payment.read_text())
    event["payload"]["amount"] = 5
    result = backbone(
        "simulate", "-f", LARGE_PAYMENT, "--event", "-", stdin=json.dumps(event).encode()
    )
    assert result.exit_code == 0
    assert (
        'trigger large-payment does not match: payload.amount: wanted [{"numeric":[">",1000]}], '
        "saw 5"
    ) in result.stdout
    assert "nothing would be started" in result.stdout


def test_events_that_are_gathered_are_one_run(backbone: Any, payment: Path) -> None:
    definition = yaml.safe_load(Path(LARGE_PAYMENT).read_text())
    event = definition["spec"]["triggers"][0]["event"]
    event["batch"] = {"maxEvents": 10, "maxWait": "5s"}
    task = {"type": "automated", "handler": "h", "taskQueue": "a-tq"}
    task["input"] = {"n": "size(events)"}
    definition["spec"]["rules"] = [{"name": "count", "task": task}]
    file = payment.parent / "gathered.yaml"
    file.write_text(yaml.safe_dump(definition))
    two = payment.parent / "two.jsonl"
    second = json.loads(payment.read_text()) | {"event_id": "PAY-2"}
    two.write_text(payment.read_text() + "\n" + json.dumps(second))
    answer = backbone("simulate", "-f", str(file), "--event", str(two), "-o", "json")
    first, other, batch = json.loads(answer.stdout)["simulations"]
    assert first["run_id"] is None
    assert other["run_id"] is None
    assert batch["decision"]["tasks"][0]["input"] == {"n": 2}


def test_a_due_time_needs_the_context_that_the_run_would_look_at(
    backbone: Any, nowhere: Path
) -> None:
    missing = backbone("simulate", "-f", OVERDUE, "--at", "2026-03-02T12:00:00Z")
    assert missing.exit_code == 1
    assert "would look at: overdue; --context FILE gives their values" in missing.stdout
    context = nowhere / "context.yaml"
    invoice = {"id": "INV-1", "customer": "A", "email": "a@x", "amount": 5.5, "days_overdue": 2}
    context.write_text(yaml.safe_dump({"overdue": [invoice]}))
    words = ("simulate", "-f", OVERDUE, "--at", "2026-03-02T12:00:00Z", "--context", str(context))
    (one,) = json.loads(backbone(*words, "-o", "json").stdout)["simulations"]
    assert one["run_id"] == "billing.overdue-invoices:2026-03-02T12:00:00Z"
    assert one["trigger"]["window"]["start"] < one["trigger"]["window"]["end"]
    assert one["decision"]["tasks"]
    context.write_text(json.dumps({"overdue": [{}]}))
    failed = backbone(*words)
    assert failed.exit_code == 1
    assert "and would fail: rule" in failed.stdout


def test_a_time_that_is_not_due_says_which_is(backbone: Any, nowhere: Path) -> None:
    result = backbone("simulate", "-f", OVERDUE, "--at", "2026-03-02T12:00:00.5Z")
    assert result.exit_code == 0
    assert "it is not due at this time" in result.stdout
    assert "the next due time after it is 2026-03-02T12:00:" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("-f", LARGE_PAYMENT), 2, "either --event FILE or --at TIME"),
        (("-f", LARGE_PAYMENT, "--at", "noon"), 2, "--at is a time with its zone"),
        (("-f", LARGE_PAYMENT, "--at", "1066-10-14T12:00:00Z"), 2, "from 1971 on"),
        (("-f", "nowhere.yaml", "--at", "2026-03-02T12:00:00Z"), 2, "cannot be read"),
        (("-f", "-", "--event", "-"), 2, "only one of"),
        (("-f", "bad.yaml", "--at", "2026-03-02T12:00:00Z"), 1, "neither YAML nor JSON"),
        (("-f", "none.yaml", "--at", "2026-03-02T12:00:00Z"), 1, "not a definition that can run"),
        (
            ("-f", OVERDUE, "--at", "2026-03-02T12:00:00Z", "--context", "list.yaml"),
            1,
            "no context",
        ),
    ],
)
def test_bad_input_is_told_in_a_sentence(
    backbone: Any, nowhere: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    (nowhere / "bad.yaml").write_text("a: [")
    (nowhere / "none.yaml").write_text("kind: Pod")
    (nowhere / "list.yaml").write_text("[]")
    result = backbone("simulate", *words, stdin=b"")
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


@pytest.fixture
def dunning(nowhere: Path) -> Path:
    """A stateful definition: the third reminder is a call, a payment is the end."""
    file = nowhere / "dunning.yaml"
    page = (ROOT / "docs" / "stateful.md").read_text()
    file.write_text(page.split("```yaml\n")[1].split("```")[0])
    return file


def reminders(*events: tuple[str, str]) -> str:
    return "\n".join(
        json.dumps(
            {
                "event_id": f"E-{number}",
                "type": f"billing.{kind}",
                "source": "examples/billing",
                "occurred_at": "2026-03-02T12:00:00Z",
                "payload": {"invoice_id": invoice},
            }
        )
        for number, (kind, invoice) in enumerate(events)
    )


def test_events_step_the_instance_of_their_key_one_after_another(
    backbone: Any, dunning: Path
) -> None:
    due, paid = "reminder.due", "invoice.paid"
    told = reminders((due, "A"), (due, "B"), (due, "A"), (due, "A"), (paid, "A"), (due, "A"))
    words = ("simulate", "-f", str(dunning), "--event", "-")
    result = backbone(*words, "-o", "json", stdin=told.encode())
    assert result.exit_code == 0, result.stderr
    simulations = json.loads(result.stdout)["simulations"]
    assert [one["state"]["reminders"] for one in simulations] == [1, 1, 2, 3, 3, 1]
    assert [len(one["decision"]["tasks"]) for one in simulations] == [0, 0, 0, 1, 0, 0]
    said = backbone(*words, stdin=told.encode()).stdout
    assert 'its instance then remembers {"reminders": 3}, and ends' in said


def test_an_instance_goes_on_from_the_state_that_is_given(backbone: Any, dunning: Path) -> None:
    state = dunning.parent / "state.json"
    state.write_text('{"reminders": 2}')
    words = ("simulate", "-f", str(dunning), "--event", "-", "--state", str(state))
    event = reminders(("reminder.due", "A"))
    result = backbone(*words, "-o", "json", stdin=event.encode())
    (one,) = json.loads(result.stdout)["simulations"]
    assert (one["state"], one["decision"]["tasks"][0]["title"]) == (
        {"reminders": 3},
        "Call about A",
    )
    state.write_text("[]")
    refused = backbone(*words, stdin=event.encode())
    assert (refused.exit_code, "holds no state: an object is needed" in refused.stderr) == (1, True)


def test_all_that_is_wrong_with_a_definition_is_told(backbone: Any, nowhere: Path) -> None:
    definition = yaml.safe_load(Path(LARGE_PAYMENT).read_text())
    definition["spec"]["rules"][1]["when"] = "event.payload.amount >"
    definition["spec"]["triggers"][0]["event"]["when"] = "evnt.payload"
    (nowhere / "wrong.yaml").write_text(yaml.safe_dump(definition))
    result = backbone("simulate", "-f", "wrong.yaml", "--at", "2026-03-02T12:00:00Z")
    assert result.exit_code == 1
    assert "spec.triggers[0].event.when" in result.stderr
    assert "spec.rules[1].when" in result.stderr
