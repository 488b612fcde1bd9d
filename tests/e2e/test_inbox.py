"""A person's answer starts the next definition, and so does a reminder, by way of Kafka."""

import asyncio
import json
import uuid
from functools import partial
from pathlib import Path

import grpc
import pytest
from waiting import until

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts import identifiers
from runtime import grpcclient

DEFINITIONS = Path("tests/e2e/definitions")
OWN = ["dev.orders"]
PEOPLE = 4


@pytest.fixture
def chained(suite, backbone):
    """The suite, whose router reads what tasks tell as well."""
    files = [str(DEFINITIONS / f"{name}.yaml") for name in ("approvals", "approved", "nudges")]
    backbone("apply", *(word for file in files for word in ("-f", file)), "--reason", "inbox")
    topics = json.dumps([*OWN, "dev.backbone.task-events"])
    suite.restart("router", env={"BACKBONE_TOPICS": topics})
    suite.wait_ready("router")
    yield suite
    suite.restart("router", env={"BACKBONE_TOPICS": json.dumps(OWN)})
    suite.wait_ready("router")


@pytest.fixture
def listed(backbone):
    """What a command that lists prints, as documents."""
    return lambda *words: [json.loads(line) for line in backbone(*words, "-o", "json").splitlines()]


def _run_by(definition_id, change):
    key = identifiers.event_trigger_key("backbone/ledger", change["event_id"])
    return identifiers.run_id(definition_id, key)


@pytest.mark.timeout(300)
async def test_an_answer_and_a_reminder_start_the_next_definitions(chained, backbone, listed):
    runs = [
        json.loads(backbone("trigger", "e2e.approvals", "--reason", "test", "-o", "json"))["run_id"]
        for _ in "12"
    ]

    async def waiting():
        found = [task for task in listed("inbox", "--group", "approvers") if task["run_id"] in runs]
        return {task["run_id"]: task for task in found} if len(found) == 2 else {}

    assert await until(waiting, seconds=60)
    yes, no = [(await waiting())[run_id]["task_id"] for run_id in runs]

    async def reminded():
        return "backbone.TaskReminded" in [
            change["event_type"] for change in listed("tasks", "history", yes)
        ]

    assert await until(reminded, seconds=60)
    backbone("tasks", "claim", yes)
    for task_id, approved in ((no, False), (yes, True)):
        answer = json.dumps({"approved": approved, "amount": 7})
        backbone("tasks", "complete", task_id, "--answer", answer)
        assert json.loads(backbone("tasks", "show", task_id, "-o", "json"))["status"] == "completed"

    history = listed("tasks", "history", yes)
    assert [change["event_type"].removeprefix("backbone.Task") for change in history] == [
        *("Created", "Overdue", "Reminded", "Claimed", "Completed")
    ]
    following = {
        _run_by("e2e.nudges", history[2]): "Ask approvers about: Approve",
        _run_by("e2e.approved", history[4]): "Pay 7",
    }

    async def started(run_id):
        return bool(listed("tasks", "list", "--run", run_id))

    for run_id, title in following.items():
        assert await until(partial(started, run_id), seconds=60), f"nothing started {run_id}"
        (task,) = listed("tasks", "list", "--run", run_id)
        assert task["title"] == title
    # The refusal was looked at, and is no reason.
    refused = _run_by("e2e.approved", listed("tasks", "history", no)[-1])
    event_id = listed("tasks", "history", no)[-1]["event_id"]

    async def decided():
        return [one["outcome"] for one in listed("decisions", "--event", event_id)] == ["filtered"]

    assert await until(decided, seconds=60)
    assert listed("tasks", "list", "--run", refused) == []


@pytest.mark.timeout(300)
async def test_of_people_who_answer_at_once_one_wins_and_the_others_are_told(
    suite, backbone, listed
):
    backbone("apply", "-f", str(DEFINITIONS / "approvals.yaml"), "--reason", "inbox")
    run_id = json.loads(backbone("trigger", "e2e.approvals", "--reason", "test", "-o", "json"))[
        "run_id"
    ]

    async def task():
        return listed("tasks", "list", "--run", run_id)

    assert await until(task, seconds=60)
    ((found,), names) = await task(), [f"p{number}" for number in range(PEOPLE)]
    channels = [
        grpcclient.channel(suite.addresses["ledger"].grpc, actor=name, timeout_s=10)
        for name in names
    ]

    async def answer(channel):
        request = ledger_pb2.CompleteTaskRequest(
            namespace="dev",
            task_id=found["task_id"],
            answer=b'{"approved": true}',
            request_id=uuid.uuid4().hex,
            version=found["version"],
        )
        return await ledger_pb2_grpc.TaskServiceStub(channel).CompleteTask(request)

    outcomes = await asyncio.gather(*map(answer, channels), return_exceptions=True)
    for channel in channels:
        await channel.close()
    (won,) = [one.task for one in outcomes if not isinstance(one, BaseException)]
    told = [one.details() for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
    assert told == [f"the task {found['task_id']} is completed by {won.closed_by}, not open"] * (
        PEOPLE - 1
    )
    assert json.loads(backbone("run", "show", run_id, "-o", "json"))["status"] == "completed"
