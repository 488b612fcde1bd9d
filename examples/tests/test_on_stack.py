"""The examples that stand alone, and a new project: what their READMEs say comes about.

One suite has all of them: their definitions share nothing, as those of five teams.
"""

import asyncio
import json
import sys
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import backbone_command
import pytest
import yaml
from backbone_command import Backbone
from typer.testing import CliRunner
from waiting import until

from cli.__main__ import app
from contracts import identifiers
from devstack import ports
from devstack.infrastructure import SHORT_LIVED
from devstack.suite import Extra, Suite

EXAMPLES = Path(__file__).parents[1]
PATIENCE = 60.0  # seconds
HANDLERS = ("nightly-report", "order-saga", "sensor-alarm")
NEW = "spare-parts"
READINGS = EXAMPLES / "sensor-alarm" / "readings.jsonl"

Listed = Callable[..., Awaitable[list[dict[str, Any]]]]
Publish = Callable[[Path], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `backbone new` makes."""
    folder = tmp_path_factory.mktemp("new") / NEW
    result = CliRunner().invoke(app, ["new", NEW, "--folder", str(folder), "-n", "dev"])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Iterator[Suite]:
    """Every service, the handler workers, and a catalogue of all of them."""
    folder = tmp_path_factory.mktemp("examples")
    catalogue = folder / "catalogue.yaml"
    listed: dict[str, Any] = {}
    for path in (*(EXAMPLES / name for name in HANDLERS), project):
        listed |= yaml.safe_load((path / "catalogue.yaml").read_text())["handlers"]
    catalogue.write_text(yaml.safe_dump({"handlers": listed}))
    suite = Suite(
        folder / "stack",
        topics=("dev.events", "dev.backbone.task-events"),
        task_queues=("billing-tq", "helpdesk-tq", "shop-tq", "plant-tq", f"{NEW}-tq"),
        catalogue=catalogue,
        extra=[
            *(worker(EXAMPLES / name / f"{name.replace('-', '_')}.py") for name in HANDLERS),
            worker(project / "handlers.py"),
        ],
        durable=False,
        server_env=SHORT_LIVED,
    )
    try:
        yield suite.start()
    finally:
        suite.stop()


def worker(script: Path) -> Extra:
    listen = f"127.0.0.1:{ports.unused()}"
    return Extra(
        name=f"{script.stem}-worker",
        argv=(sys.executable, str(script)),
        env={"BACKBONE_HTTP_LISTEN": listen, "BACKBONE_ENVIRONMENT": "local"},
        health=f"http://{listen}/readyz",
    )


@pytest.fixture
def backbone(suite: Suite) -> Backbone:
    """The `backbone` command on the suite."""
    return backbone_command.on(suite)


@pytest.fixture
def listed(backbone: Backbone) -> Listed:
    """What a command that lists prints, as documents."""

    async def ask(*words: str) -> list[dict[str, Any]]:
        printed = await asyncio.to_thread(backbone, *words, "-o", "json")
        return [json.loads(line) for line in printed.splitlines()]

    return ask


@pytest.fixture
def publish(backbone: Backbone, tmp_path: Path) -> Publish:
    """Publishes the lines of a file as they stand, with an id and a time; returns them."""

    def complete(path: Path) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for event in events:
            now = datetime.now(UTC).isoformat()
            event |= {"event_id": uuid.uuid4().hex, "occurred_at": now}
        file = tmp_path / "events.jsonl"
        file.write_text("".join(f"{json.dumps(event)}\n" for event in events))
        backbone("publish", "dev.events", "-f", str(file))
        return events

    return complete


async def come_to(what: Callable[[], Awaitable[Any]], *, expected: Any) -> None:
    """Wait until `what` says what is expected."""

    async def there() -> bool:
        return bool(await what() == expected)

    assert await until(there, seconds=PATIENCE), (await what(), expected)


async def first(what: Callable[[], Awaitable[list[dict[str, Any]]]]) -> dict[str, Any]:
    """Wait until `what` finds something, and return the first."""

    async def there() -> bool:
        return bool(await what())

    assert await until(there, seconds=PATIENCE), "it did not come"
    return (await what())[0]


async def tasks_of(listed: Listed, definition_id: str, *words: str) -> list[dict[str, Any]]:
    """Return the tasks of a definition, the newest first."""
    tasks = await listed("tasks", "list", "--limit", "1000", *words)
    return [task for task in tasks if task["definition_id"] == definition_id]


def apply(backbone: Backbone, name: str) -> None:
    folder = str(EXAMPLES / name / "definitions")
    backbone("apply", "-f", folder, "--reason", f"the example {name}")


def post(suite: Suite, message: Mapping[str, Any], event_id: str) -> int:
    """Call the webhook as the README's `curl` does."""
    request = urllib.request.Request(
        f"http://{suite.addresses['router'].http}/events",
        data=json.dumps(message).encode(),
        headers={
            "content-type": "application/json",
            "ce-specversion": "1.0",
            "ce-id": event_id,
            "ce-type": "helpdesk.message.received",
            "ce-source": "contact-form/web",
        },
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310 - local http
        return int(response.status)


@pytest.mark.timeout(300)
async def test_a_webhook_comes_to_the_inbox_and_the_answer_to_a_team(
    suite: Suite, backbone: Backbone, listed: Listed
) -> None:
    apply(backbone, "webhook-triage")
    message = json.loads((EXAMPLES / "webhook-triage" / "message.json").read_text())
    late = message | {"message_id": "MSG-2", "subject": "Nobody looks at this one"}
    spam = message | {"message_id": "MSG-3", "subject": "You have won", "spam_score": 0.99}
    for one in (message, late, spam):
        assert await asyncio.to_thread(post, suite, one, one["message_id"]) == 202
    # A sender that hears nothing sends it again, and nobody does it twice.
    assert await asyncio.to_thread(post, suite, message, "MSG-1") == 202

    async def triage() -> list[dict[str, Any]]:
        return await tasks_of(listed, "helpdesk.triage")

    async def keys() -> list[str]:
        return sorted(task["key"] for task in await triage())

    await come_to(keys, expected=["MSG-1", "MSG-2"])
    tasks = {task["key"]: task for task in await triage()}
    assert tasks["MSG-1"]["title"] == "Whose is MSG-1: My invoice is wrong"
    wrong = backbone.ask("tasks", "complete", tasks["MSG-1"]["task_id"], "--answer", '{"team": 1}')
    assert wrong.code == 1
    backbone("tasks", "complete", tasks["MSG-1"]["task_id"], "--answer", '{"team": "billing"}')

    async def answers() -> list[dict[str, Any]]:
        return await listed("inbox", "--group", "billing")

    assert (await first(answers))["title"] == "Answer MSG-1"
    assert await listed("inbox", "--group", "technology") == []

    async def leads() -> list[str]:
        return [task["key"] for task in await listed("inbox", "--group", "helpdesk-leads")]

    await come_to(leads, expected=["MSG-2"])
    assert await keys() == ["MSG-1", "MSG-2"]


@pytest.mark.timeout(300)
async def test_nights_that_were_missed_are_one_report(
    suite: Suite, backbone: Backbone, listed: Listed, tmp_path: Path
) -> None:
    path = EXAMPLES / "nightly-report" / "definitions" / "nightly-report.yaml"
    definition = yaml.safe_load(path.read_text())
    # The policy is the example's; a night has a second here, and nobody is at the office.
    (nightly, _) = definition["spec"]["triggers"]
    del nightly["schedule"]["cron"], nightly["schedule"]["timezone"]
    nightly["schedule"]["every"] = "1s"
    definition["spec"]["triggers"] = [nightly]
    del definition["spec"]["rules"][1]
    quick = tmp_path / "quick.yaml"
    quick.write_text(yaml.safe_dump(definition))
    backbone("apply", "-f", str(quick), "--reason", "the example nightly-report")

    async def reports() -> list[dict[str, Any]]:
        return await tasks_of(listed, "billing.nightly-report", "--status", "completed")

    await first(reports)
    suite.stop("orchestrator-worker")
    outage = datetime.now(UTC)

    async def nights_have_passed() -> bool:
        return datetime.now(UTC) - outage > timedelta(seconds=4)

    assert await until(nights_have_passed, seconds=PATIENCE)
    suite.start_process("orchestrator-worker")

    async def of_several_nights() -> list[dict[str, Any]]:
        return [task for task in await reports() if task["input"]["nights"] > 2]

    report = await first(of_several_nights)
    backbone("disable", "billing.nightly-report", "--reason", "seen")
    assert report["output"]["title"].startswith(f"Sales of {report['input']['nights']} nights")
    since, ends = (datetime.fromisoformat(report["input"][name]) for name in ("since", "until"))
    assert ends - since == timedelta(seconds=report["input"]["nights"])


@pytest.mark.timeout(300)
async def test_an_order_goes_its_way_and_what_fails_is_undone(
    backbone: Backbone, listed: Listed, publish: Publish
) -> None:
    apply(backbone, "order-saga")
    publish(EXAMPLES / "order-saga" / "orders.jsonl")

    async def done() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for task in await listed("tasks", "list", "--limit", "1000"):
            if task["definition_id"].startswith("shop."):
                found.setdefault(task["key"], []).append(f"{task['rule']} {task['status']}")
        return {order: sorted(steps) for order, steps in sorted(found.items())}

    went_well = ["charge completed", "reserve completed", "ship completed"]
    await come_to(
        done,
        expected={
            "ORD-1": went_well,
            "ORD-2": ["charge failed", "release completed", "reserve completed"],
            "ORD-3": [
                *("charge completed", "refund completed", "release completed"),
                *("reserve completed", "ship failed"),
            ],
        },
    )
    assert await listed("inbox", "--group", "shop") == []


@pytest.mark.timeout(300)
async def test_a_silent_sensor_is_an_alarm_until_it_is_heard_again(
    backbone: Backbone, listed: Listed, publish: Publish
) -> None:
    apply(backbone, "sensor-alarm")
    publish(READINGS)

    async def told() -> list[tuple[str, str, str]]:
        tasks = await tasks_of(listed, "plant.sensor-alarm")
        return sorted((task["input"]["sensor"], task["rule"], task["status"]) for task in tasks)

    alarmed = [("S-1", "alarm", "completed"), ("S-1", "look", "open")]
    await come_to(told, expected=alarmed)
    (look,) = await listed("inbox", "--group", "plant")
    assert look["title"] == "Nothing is heard of sensor S-1"

    again = publish(READINGS)

    async def called_off() -> bool:
        return ("S-1", "all-clear", "completed") in await told()

    await come_to(called_off, expected=True)
    key = identifiers.event_trigger_key("examples/plant-gateway", again[0]["event_id"])
    explained = json.loads(backbone("run", "show", f"plant.sensor-alarm:{key}", "-o", "json"))
    assert explained["status"] == "completed"
    # It falls silent once more: a timer has gone by, which the one that was taken away has not.
    await come_to(told, expected=sorted([*alarmed, *alarmed, ("S-1", "all-clear", "completed")]))


@pytest.mark.timeout(300)
async def test_a_new_project_is_planned_applied_and_carries_out_its_task(
    backbone: Backbone, listed: Listed, project: Path
) -> None:
    definitions = str(project / "definitions")
    planned = json.loads(backbone("plan", "-f", definitions, "-o", "json"))
    assert [one["action"] for one in planned["results"]] == ["create"] * 3
    assert planned["problems"] == []
    backbone("apply", "-f", definitions, "--reason", "a new project")
    backbone("publish", "dev.events", "-f", str(project / "event.json"), "--fill")

    async def done() -> list[tuple[str, Any]]:
        found = await tasks_of(listed, f"{NEW}.process-item")
        return [(task["status"], task["output"]) for task in found]

    output = {"item": "ITEM-1", "message": "processed ITEM-1: 12.5"}
    await come_to(done, expected=[("completed", output)])
