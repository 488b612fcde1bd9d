"""Temporal's own server keeps nothing of what passes it but ciphertext, and keys can be rotated."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeScheduleRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from runtime import datakeys, reloading, temporal
from runtime.datakeys import DataKeyFile, KeyDocument
from runtime.encryption import AtRest
from runtime.payloadcodec import ENCODING, PlaintextRefusedError
from runtime.settings import Encryption

CANARY = "canary-4711"
KEYS = {one: datakeys.generate() for one in ("old", "new", "other")}
LIMIT = timedelta(seconds=30)
ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn
async def echo(said: str) -> str:
    activity.heartbeat(f"{said} heartbeat")
    return f"{said} answered"


@activity.defn
async def fail(said: str) -> str:
    raise ApplicationError(f"{said} failed", f"{said} details") from ValueError(f"{said} cause")


@workflow.defn
class Child:
    @workflow.run
    async def run(self, said: str) -> str:
        return f"{said} child"


@workflow.defn
class GivesUp:
    """Is cancelled while an activity waits for somebody to begin it."""

    @workflow.run
    async def run(self, _said: str) -> str:
        begun = workflow.start_activity(
            "nobody_has_it",
            task_queue=f"nobody-{workflow.info().task_queue}",
            start_to_close_timeout=timedelta(minutes=1),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        try:
            await begun
        except (ActivityError, asyncio.CancelledError):
            return "given up"
        return "done"


@workflow.defn
class Busy:
    """Uses every way by which a payload can reach the server."""

    def __init__(self) -> None:
        self._told: list[str] = []

    @workflow.run
    async def run(self, said: str) -> str:
        await workflow.execute_activity(echo, said, start_to_close_timeout=LIMIT)
        await workflow.execute_local_activity(echo, said, start_to_close_timeout=LIMIT)
        await workflow.execute_child_workflow(Child.run, said, memo={"child": said})
        try:
            await workflow.execute_activity(
                fail, said, start_to_close_timeout=LIMIT, retry_policy=ONCE
            )
        except ActivityError as exc:
            cause = cast("ApplicationError", exc.cause)
            self._told.append(f"{cause.message}, {cause.details[0]}")
        workflow.upsert_memo({"later": said})
        await workflow.wait_condition(lambda: len(self._told) > 1)
        raise ApplicationError(" and ".join(self._told))

    @workflow.signal
    async def tell(self, said: str) -> None:
        self._told.append(said)

    @workflow.query
    def asked(self, said: str) -> str:
        return f"{said} asked"

    @workflow.update
    async def updated(self, said: str) -> str:
        return f"{said} updated"


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
def ring(tmp_path: Path) -> Callable[..., DataKeyFile]:
    """Makes a ring of these keys in a file of its own; the first of them is active."""

    def make(*ids: str) -> DataKeyFile:
        path = tmp_path / f"{uuid.uuid4().hex}.json"
        rewrite(path, *ids)
        return DataKeyFile(path)

    return make


def rewrite(path: Path, *ids: str) -> None:
    document = KeyDocument(active=ids[0], keys={one: KEYS[one] for one in ids})
    datakeys.write_document(path, document)


@pytest.fixture
def connect(temporal_address: str) -> Connect:
    async def connected(keys: DataKeyFile | None, mode: Encryption = "required") -> Client:
        return await temporal.connect(
            temporal_address, namespace="dev", identity="test", at_rest=AtRest(mode, keys)
        )

    return connected


@asynccontextmanager
async def serving(client: Client, queue: str) -> AsyncIterator[None]:
    async with Worker(
        client,
        task_queue=queue,
        workflows=[Busy, Child, GivesUp],
        activities=[echo, fail],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
    ):
        yield


@pytest.fixture
def queue() -> str:
    return f"codec-{uuid.uuid4().hex[:8]}-tq"


async def raw_history(client: Client, workflow_id: str) -> Any:
    request = GetWorkflowExecutionHistoryRequest(
        namespace="dev", execution=WorkflowExecution(workflow_id=workflow_id)
    )
    return (await client.workflow_service.get_workflow_execution_history(request)).history


def payloads_of(message: Any) -> list[Payload]:
    """Return every payload in a message, at any depth."""
    if isinstance(message, Payload):
        return [message]
    found: list[Payload] = []
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        if field.message_type.GetOptions().map_entry:
            values: Sequence[Any] = [one for one in value.values() if hasattr(one, "ListFields")]
        else:
            values = value if field.is_repeated else [value]
        for one in values:
            found += payloads_of(one)
    return found


async def eventually(question: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await question():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


async def test_no_way_to_the_server_leaves_anything_in_the_clear(
    connect: Connect, ring: Callable[..., DataKeyFile], queue: str
) -> None:
    client = await connect(ring("old"))
    name = f"busy-{uuid.uuid4()}"
    async with serving(client, queue):
        handle: WorkflowHandle[Any, Any] = await client.start_workflow(
            Busy.run,
            CANARY,
            id=name,
            task_queue=queue,
            memo={"note": CANARY},
            static_summary=f"{CANARY} summary",
        )
        assert await handle.query(Busy.asked, CANARY) == f"{CANARY} asked"
        assert await handle.execute_update(Busy.updated, CANARY) == f"{CANARY} updated"
        await handle.signal(Busy.tell, f"{CANARY} told")
        with pytest.raises(WorkflowFailureError) as raised:
            await handle.result()
        memo = await (await handle.describe()).memo()
    # Whoever has the key reads all of it, the failure's message included.
    told = {f"{CANARY} failed, {CANARY} details", f"{CANARY} told"}
    assert set(str(raised.value.cause).split(" and ")) == told
    assert memo == {"note": CANARY, "later": CANARY}
    history = await raw_history(client, name)
    children = [
        event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
        for event in history.events
        if event.HasField("child_workflow_execution_started_event_attributes")
    ]
    kept = [history, *[await raw_history(client, child) for child in children]]
    kept.append(
        await client.workflow_service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(
                namespace="dev", execution=WorkflowExecution(workflow_id=name)
            )
        )
    )
    assert len(kept) == 3
    for one in kept:
        assert CANARY.encode() not in one.SerializeToString()
    failed = history.events[-1].workflow_execution_failed_event_attributes.failure
    assert failed.message == "Encoded failure"
    assert failed.encoded_attributes.metadata["encoding"] == ENCODING


async def test_a_schedule_keeps_its_input_encrypted_and_what_it_starts_reads_it(
    connect: Connect, ring: Callable[..., DataKeyFile], queue: str
) -> None:
    client = await connect(ring("old"))
    name = f"schedule-{uuid.uuid4()}"
    action = ScheduleActionStartWorkflow(Child.run, CANARY, id=name, task_queue=queue)
    schedule = await client.create_schedule(
        name, Schedule(action=action, spec=ScheduleSpec()), trigger_immediately=True
    )
    try:
        request = DescribeScheduleRequest(namespace="dev", schedule_id=name)
        told = await client.workflow_service.describe_schedule(request)
        assert CANARY.encode() not in told.SerializeToString()
        async with serving(client, queue):

            async def started() -> bool:
                return bool((await schedule.describe()).info.recent_actions)

            await eventually(started)
            (recent,) = (await schedule.describe()).info.recent_actions
            begun = client.get_workflow_handle(recent.action.workflow_id, result_type=str)
            assert await begun.result() == f"{CANARY} child"
    finally:
        await schedule.delete()


async def test_a_key_is_rotated_while_a_workflow_runs(
    connect: Connect, ring: Callable[..., DataKeyFile], queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)
    keys = ring("old")
    client = await connect(keys)
    async with serving(client, queue):
        handle = await client.start_workflow(
            Busy.run, CANARY, id=f"busy-{uuid.uuid4()}", task_queue=queue
        )
        await handle.query(Busy.asked, CANARY)
        # First every ring has the new key, then it is the active one.
        rewrite(keys._path, "old", "new")
        assert keys.newest().active == "old"
        rewrite(keys._path, "new", "old")
        await handle.signal(Busy.tell, "done")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    used = [
        payload.metadata["encryption-key-id"]
        for payload in payloads_of(await raw_history(client, handle.id))
    ]
    assert used[0] == b"old"
    assert used[-1] == b"new"


async def test_a_run_waits_for_a_key_that_its_worker_does_not_have_and_says_so(
    connect: Connect,
    ring: Callable[..., DataKeyFile],
    queue: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)
    theirs = ring("other")
    starter, worker = await connect(ring("old")), await connect(theirs)
    with caplog.at_level(logging.ERROR), capture_logs() as logged:
        async with serving(worker, queue):
            handle = await starter.start_workflow(
                Child.run, CANARY, id=f"child-{uuid.uuid4()}", task_queue=queue
            )

            async def task_failed() -> bool:
                history = await raw_history(starter, handle.id)
                return any(
                    event.HasField("workflow_task_failed_event_attributes")
                    for event in history.events
                )

            await eventually(task_failed)
            # Mended without a restart: it has lost nothing.
            rewrite(theirs._path, "other", "old")
            # What it answers is under a key that the starter does not have, in turn.
            mended = (await connect(ring("old", "other"))).get_workflow_handle(
                handle.id, result_type=str
            )
            assert await mended.result() == f"{CANARY} child"
    refused = [one for one in logged if one["event"] == "payload_refused"]
    assert refused[0]["reason"] == "unknown_key"
    assert "'old', which is not in the file of data keys here" in refused[0]["error"]
    assert CANARY not in caplog.text


async def test_what_the_server_itself_says_of_a_cancelled_activity_is_taken(
    connect: Connect, ring: Callable[..., DataKeyFile], queue: str
) -> None:
    client = await connect(ring("old"))
    async with serving(client, queue):
        handle = await client.start_workflow(
            GivesUp.run, CANARY, id=f"gives-up-{uuid.uuid4()}", task_queue=queue
        )

        async def waits() -> bool:
            return bool((await handle.describe()).raw_description.pending_activities)

        await eventually(waits)
        await handle.cancel()
        assert await handle.result() == "given up"


async def test_what_is_in_the_clear_is_refused_or_taken_as_the_mode_says(
    connect: Connect, ring: Callable[..., DataKeyFile], queue: str
) -> None:
    plain, keys = await connect(None, "off"), ring("old")
    handle = await plain.start_workflow(
        Child.run, CANARY, id=f"child-{uuid.uuid4()}", task_queue=queue
    )
    async with serving(await connect(keys), queue):

        async def refused() -> bool:
            history = await raw_history(plain, handle.id)
            failed = [
                event.workflow_task_failed_event_attributes
                for event in history.events
                if event.HasField("workflow_task_failed_event_attributes")
            ]
            return bool(failed) and CANARY.encode() not in failed[0].SerializeToString()

        await eventually(refused)
    # The migration: whoever accepts goes on with it, and encrypts what it adds.
    accepting = await connect(keys, "accept")
    async with serving(accepting, queue):
        accepted = accepting.get_workflow_handle(handle.id, result_type=str)
        assert await accepted.result() == f"{CANARY} child"
    completed = (await raw_history(plain, handle.id)).events[-1]
    (result,) = payloads_of(completed)
    assert result.metadata["encoding"] == ENCODING
    # And what does not encrypt yet opens it with its keys all the same.
    opening = await connect(keys, "off")
    assert await opening.get_workflow_handle(handle.id, result_type=str).result()


async def test_plaintext_is_refused_with_what_to_do(
    connect: Connect, ring: Callable[..., DataKeyFile]
) -> None:
    plain, client = await connect(None, "off"), await connect(ring("old"))
    payloads = await plain.data_converter.encode([CANARY, None])
    for payload in payloads:
        with pytest.raises(PlaintextRefusedError, match="BACKBONE_ENCRYPTION=accept") as raised:
            await client.data_converter.decode([payload])
        assert CANARY not in str(raised.value)


async def test_a_payload_of_another_namespace_does_not_open(
    temporal_address: str, ring: Callable[..., DataKeyFile]
) -> None:
    at_rest = AtRest("required", ring("old"))
    here, there = [
        temporal.data_converter(
            temporal.EncryptionCodec(at_rest.keys, namespace=one, encryption=at_rest.mode)
        )
        for one in ("dev", "prod")
    ]
    encoded = await here.encode([CANARY])
    assert await here.decode(encoded) == [CANARY]
    with pytest.raises(datakeys.NotAuthenticError):
        await there.decode(encoded)


async def test_a_payload_comes_back_as_it_was_whatever_it_was(
    connect: Connect, ring: Callable[..., DataKeyFile]
) -> None:
    client = await connect(ring("old"))
    given = [None, b"bytes", {"a": [1, None]}, "", RawValue(Payload(metadata={"x": b"y"}))]
    encoded = await client.data_converter.encode(given)
    assert {one.metadata["encoding"] for one in encoded} == {ENCODING}
    decoded = await client.data_converter.decode(encoded, [type(None), bytes, dict, str, RawValue])
    assert decoded[:4] == given[:4]
    assert decoded[4].payload == Payload(metadata={"x": b"y"})
