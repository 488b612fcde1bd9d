"""Two tenants in one Temporal: what the rival tries in the other's namespace, and who is nobody.

The rival has a certificate of the installation and a token of its own, by which it may write in its
namespace. Each refusal stands beside the same attempt by whom it is allowed.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from temporalio.api.command.v1 import Command, StartChildWorkflowExecutionCommandAttributes
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.enums.v1 import CommandType, WorkflowExecutionStatus
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    ListNamespacesRequest,
    PollWorkflowTaskQueueRequest,
    RegisterNamespaceRequest,
    RespondWorkflowTaskCompletedRequest,
)
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts.services import Service
from devstack.infrastructure import Endpoints
from devstack.infrastructure.certificates import ADMIN, BROKER, TEMPORAL, StackCertificates
from devstack.issuer import Issuer, Person
from runtime import temporal
from runtime.tls import TlsFiles

OURS, THEIRS = "rival", "dev"
SECONDS = 20.0
HOUR = timedelta(hours=1)
DENIED = grpc.StatusCode.PERMISSION_DENIED


@dataclass(frozen=True)
class Caller:
    """Somebody at the door of one part of the server."""

    address: str
    files: TlsFiles
    token: str | None = field(default=None, repr=False)
    shows_certificate: bool = True

    async def said(self, path: str, request: bytes) -> grpc.StatusCode:
        """Return how a call ended."""
        chain = self.files.certificate.read_bytes() if self.shows_certificate else None
        key = self.files.private_key.read_bytes() if self.shows_certificate else None
        credentials = grpc.ssl_channel_credentials(self.files.client_ca.read_bytes(), key, chain)
        metadata = () if self.token is None else (("authorization", f"Bearer {self.token}"),)
        async with grpc.aio.secure_channel(self.address, credentials) as channel:
            try:
                await channel.unary_unary(path)(request, metadata=metadata, timeout=SECONDS)
            except grpc.aio.AioRpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    async def asks(self, name: str, request: Any) -> grpc.StatusCode:
        """Return how a call of the workflow service ended."""
        path = f"/{workflow_service.DESCRIPTOR.package}.WorkflowService/{name}"
        return await self.said(path, request.SerializeToString())


def shown(endpoints: Endpoints, holder: str) -> str:
    """Return the token that a holder has in its file."""
    file = endpoints.temporal_token(holder)
    assert file is not None
    return file.read_text().strip()


def caller(endpoints: Endpoints, holder: str) -> Caller:
    assert endpoints.certificates is not None
    files = endpoints.certificates.files(holder)
    return Caller(endpoints.temporal_address, files, shown(endpoints, holder))


@pytest.fixture
def rival(endpoints: Endpoints) -> Caller:
    return caller(endpoints, "rival.developer")


@pytest.fixture
def theirs(endpoints: Endpoints) -> Caller:
    return caller(endpoints, "dev.developer")


@pytest.fixture
def issuer(endpoints: Endpoints) -> Issuer:
    assert endpoints.issuer is not None
    return endpoints.issuer


# --- Every call -----------------------------------------------------------------------------------

CALLS = [
    (f"/{service.full_name}/{method.name}", method)
    for file in (workflow_service, operator_service)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
TOLD_TO_EVERYBODY = "GetSystemInfo"  # which version answers: what clients begin with
ADMINISTRATION = ("DescribeCluster", "ListClusterMembers", "DescribeMutableState", "AddTasks")


def naming(method: Any, namespace: str) -> bytes:
    """Return a request of a method that says a namespace, if it can, and nothing else."""
    made = GetMessageClass(method.input_type)()
    if "namespace" in method.input_type.fields_by_name:
        made.namespace = namespace
    return bytes(made.SerializeToString())


async def test_no_call_is_answered_for_another_namespace(rival: Caller, theirs: Caller) -> None:
    async def tried(who: Caller, namespace: str) -> dict[str, grpc.StatusCode]:
        said = await asyncio.gather(
            *(who.said(path, naming(method, namespace)) for path, method in CALLS)
        )
        return dict(zip((path.rpartition("/")[2] for path, _ in CALLS), said, strict=True))

    refused = await tried(rival, THEIRS)
    # The SDK is newer than the server.
    known = {name for name, code in refused.items() if code is not grpc.StatusCode.UNIMPLEMENTED}
    assert len(known) > len(CALLS) * 0.8
    assert {name for name in known if refused[name] is not DENIED} == {TOLD_TO_EVERYBODY}
    # Of the same, what is not for who prepares the servers gets further for whom it belongs to.
    mine = await tried(theirs, THEIRS)
    further = {name for name in known if mine[name] is not DENIED}
    assert len(further) > len(known) * 0.8
    assert {"StartWorkflowExecution", "PollActivityTaskQueue", "CreateSchedule"} <= further
    assert not further & {"RegisterNamespace", "UpdateNamespace", "DeleteNamespace"}


@pytest.mark.parametrize("method", ADMINISTRATION)
async def test_the_administration_of_the_server_is_nobodys_but_who_prepares_it(
    rival: Caller, endpoints: Endpoints, method: str
) -> None:
    path = f"/temporal.server.api.adminservice.v1.AdminService/{method}"
    assert await rival.said(path, b"") is DENIED
    assert await caller(endpoints, "router").said(path, b"") is DENIED
    assert await caller(endpoints, ADMIN).said(path, b"") is not DENIED


@pytest.mark.parametrize("holder", ["rival.developer", "dev.developer", *Service])
async def test_nobody_but_who_prepares_the_servers_makes_or_lists_namespaces(
    endpoints: Endpoints, holder: str
) -> None:
    file = endpoints.temporal_token(holder)
    assert file is not None
    if not file.exists():
        # It has nothing to do with Temporal.
        assert holder in {Service.LEDGER, Service.OUTBOX_RELAY, Service.CONSOLE}
        return
    who = caller(endpoints, holder)
    made = RegisterNamespaceRequest(namespace=f"{OURS}-{uuid.uuid4().hex[:6]}")
    made.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    assert await who.asks("RegisterNamespace", made) is DENIED
    assert await who.asks("ListNamespaces", ListNamespacesRequest()) is DENIED


# --- What is there, tried by the SDK --------------------------------------------------------------

Act = Callable[[Client], Awaitable[object]]
WORKFLOW, SCHEDULE = "tenancy", "tenancy-schedule"


def schedule() -> Schedule:
    action = ScheduleActionStartWorkflow("nobody", id="by-schedule", task_queue="nobody-tq")
    return Schedule(action=action, spec=ScheduleSpec())


async def _all(found: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in found]


async def _schedules(client: Client) -> list[Any]:
    return await _all(await client.list_schedules())


def workflow(client: Client) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(WORKFLOW)


ACTS: dict[str, Act] = {
    "start": lambda c: c.start_workflow("nobody", id=uuid.uuid4().hex, task_queue="nobody-tq"),
    "signal": lambda c: workflow(c).signal("hello"),
    "query": lambda c: workflow(c).query("hello"),
    "update": lambda c: workflow(c).execute_update("hello"),
    "cancel": lambda c: workflow(c).cancel(),
    "terminate": lambda c: workflow(c).terminate(),
    "describe": lambda c: workflow(c).describe(),
    "history": lambda c: workflow(c).fetch_history(),
    "list": lambda c: _all(c.list_workflows()),
    "count": lambda c: c.count_workflows(),
    "make a schedule": lambda c: c.create_schedule(uuid.uuid4().hex, schedule()),
    "list schedules": _schedules,
    "describe a schedule": lambda c: c.get_schedule_handle(SCHEDULE).describe(),
    "trigger a schedule": lambda c: c.get_schedule_handle(SCHEDULE).trigger(),
    "pause a schedule": lambda c: c.get_schedule_handle(SCHEDULE).pause(),
    "delete a schedule": lambda c: c.get_schedule_handle(SCHEDULE).delete(),
}
READS = ("describe", "history", "list", "count", "list schedules", "describe a schedule")


async def client_of(endpoints: Endpoints, holder: str, *, namespace: str) -> Client:
    assert endpoints.certificates is not None
    return await temporal.connect(
        endpoints.temporal_address,
        namespace=namespace,
        identity="test",
        tls=endpoints.certificates.files(holder),
        token_file=endpoints.temporal_token(holder),
    )


@pytest.fixture
async def their_workflow(endpoints: Endpoints) -> AsyncIterator[WorkflowHandle[Any, Any]]:
    """One that nobody carries out, in their namespace, beside a schedule that is never due."""
    client = await client_of(endpoints, "dev.developer", namespace=THEIRS)
    handle = await client.start_workflow("nobody", id=WORKFLOW, task_queue="nobody-tq")
    made = await client.create_schedule(SCHEDULE, schedule())
    yield handle
    await made.delete()
    await handle.terminate()


async def test_each_act_is_refused_to_the_rival_and_changes_nothing(
    endpoints: Endpoints, their_workflow: WorkflowHandle[Any, Any]
) -> None:
    mine = await client_of(endpoints, "dev.developer", namespace=THEIRS)
    foreign = await client_of(endpoints, "rival.developer", namespace=THEIRS)
    before = len((await their_workflow.fetch_history()).events)
    for name, act in ACTS.items():
        with pytest.raises(RPCError) as caught:
            await act(foreign)
        assert caught.value.status is RPCStatusCode.PERMISSION_DENIED, name
    for name in READS:
        assert await ACTS[name](mine) is not None, name
    assert len((await their_workflow.fetch_history()).events) == before
    status = (await their_workflow.describe()).status
    assert status is not None
    assert status.value == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
    assert not (await mine.get_schedule_handle(SCHEDULE).describe()).schedule.state.paused


async def test_what_is_theirs_is_not_there_in_ones_own(
    endpoints: Endpoints, their_workflow: WorkflowHandle[Any, Any]
) -> None:
    own = await client_of(endpoints, "rival.developer", namespace=OURS)
    assert (await their_workflow.describe()).namespace == THEIRS
    for act in (ACTS["describe"], ACTS["signal"], ACTS["describe a schedule"]):
        with pytest.raises(RPCError) as caught:
            await act(own)
        assert caught.value.status is RPCStatusCode.NOT_FOUND


async def polled(client: Client, task_queue: str) -> bytes:
    """Return the token of a workflow task that waits there."""
    asked = PollWorkflowTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=task_queue), identity="test"
    )
    answer = await client.workflow_service.poll_workflow_task_queue(
        asked, timeout=timedelta(seconds=SECONDS)
    )
    return bytes(answer.task_token)


def completed(task: bytes, *, namespace: str, starts_in: str | None = None) -> bytes:
    """Return the answer to a workflow task, which may start a workflow in another namespace."""
    done = RespondWorkflowTaskCompletedRequest(task_token=task, namespace=namespace)
    if starts_in is not None:
        started = StartChildWorkflowExecutionCommandAttributes(
            namespace=starts_in,
            workflow_id="child-of-the-rival",
            workflow_type=WorkflowType(name="nobody"),
            task_queue=TaskQueue(name="nobody-tq"),
        )
        done.commands.append(
            Command(
                command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION,
                start_child_workflow_execution_command_attributes=started,
            )
        )
    return bytes(done.SerializeToString())


COMPLETE = f"/{workflow_service.DESCRIPTOR.package}.WorkflowService/RespondWorkflowTaskCompleted"


async def test_a_task_of_theirs_is_not_answered_by_the_rival(
    endpoints: Endpoints, rival: Caller, theirs: Caller
) -> None:
    mine = await client_of(endpoints, "dev.developer", namespace=THEIRS)
    queue = f"tenancy-{uuid.uuid4().hex[:6]}-tq"
    handle = await mine.start_workflow("nobody", id=queue, task_queue=queue)
    try:
        task = await polled(mine, queue)
        assert await rival.said(COMPLETE, completed(task, namespace=THEIRS)) is DENIED
        # Who knows the task and says a namespace of its own.
        refused = await rival.said(COMPLETE, completed(task, namespace=OURS))
        assert refused not in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        assert await theirs.said(COMPLETE, completed(task, namespace=THEIRS)) is grpc.StatusCode.OK
    finally:
        await handle.terminate()


async def test_a_workflow_of_the_rival_starts_nothing_in_their_namespace(
    endpoints: Endpoints, rival: Caller
) -> None:
    own = await client_of(endpoints, "rival.developer", namespace=OURS)
    mine = await client_of(endpoints, "dev.developer", namespace=THEIRS)
    queue = f"tenancy-{uuid.uuid4().hex[:6]}-tq"
    handle = await own.start_workflow("nobody", id=queue, task_queue=queue)
    try:
        task = await polled(own, queue)
        await rival.said(COMPLETE, completed(task, namespace=OURS, starts_in=THEIRS))
        with pytest.raises(RPCError) as caught:
            await mine.get_workflow_handle("child-of-the-rival").describe()
        assert caught.value.status is RPCStatusCode.NOT_FOUND
        # The task of a workflow has failed, and waits to be tried again.
        told = [event.event_type for event in (await handle.fetch_history()).events]
        assert len(told) > 1
        assert "CHILD" not in repr(told)
    finally:
        await handle.terminate()


# --- Who is nobody --------------------------------------------------------------------------------

DESCRIBE = DescribeNamespaceRequest(namespace=THEIRS)


def signed(
    issuer: Issuer, *permissions: str, ago: timedelta = timedelta(0), holder: str = "test"
) -> str:
    return issuer.temporal_token(holder, permissions, now=datetime.now(UTC) - ago, lifetime=HOUR)


async def test_a_certificate_alone_opens_nothing(
    endpoints: Endpoints, certified: StackCertificates, theirs: Caller
) -> None:
    assert await theirs.asks("DescribeNamespace", DESCRIBE) is grpc.StatusCode.OK
    for holder in ("dev.developer", ADMIN, TEMPORAL, BROKER, *Service):
        nameless = Caller(endpoints.temporal_address, certified.files(holder))
        assert await nameless.asks("DescribeNamespace", DESCRIBE) is DENIED, holder


async def test_a_token_alone_opens_nothing(
    endpoints: Endpoints, certified: StackCertificates, theirs: Caller
) -> None:
    alone = Caller(endpoints.temporal_address, theirs.files, theirs.token, shows_certificate=False)
    assert await alone.asks("DescribeNamespace", DESCRIBE) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    "permissions",
    [(), ("dev:read",), ("dev:worker",), ("rival:admin",), ("system:admin",), ("*:write",)],
)
async def test_a_token_opens_what_it_says(
    theirs: Caller, issuer: Issuer, permissions: tuple[str, ...]
) -> None:
    weak = Caller(theirs.address, theirs.files, signed(issuer, *permissions))
    start = "PollWorkflowTaskQueue"
    asked = PollWorkflowTaskQueueRequest(namespace=THEIRS)
    assert await weak.asks(start, asked) is DENIED
    strong = Caller(theirs.address, theirs.files, signed(issuer, "dev:write"))
    assert await strong.asks(start, asked) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_token_that_has_ended_or_is_another_issuers_or_for_others_opens_nothing(
    theirs: Caller, issuer: Issuer, tmp_path: Path
) -> None:
    another = Issuer(tmp_path / "another")
    another.bring()
    person = Person("dev.developer", (), (THEIRS,))
    own = signed(issuer, "dev:write")
    header, claims, signature = own.split(".")
    for name, token in {
        "ended": signed(issuer, "dev:write", ago=2 * HOUR),
        "another issuer's": signed(another, "dev:write"),
        "a person's": issuer.token(person, now=datetime.now(UTC), lifetime=HOUR),
        "changed": f"{header}.{signed(issuer, 'dev:admin').split('.')[1]}.{signature}",
        "unsigned": f"eyJhbGciOiJub25lIn0.{claims}.",
        "nonsense": "nonsense",
    }.items():
        who = Caller(theirs.address, theirs.files, token)
        assert await who.asks("DescribeNamespace", DESCRIBE) is DENIED, name
    assert (
        await Caller(theirs.address, theirs.files, own).asks("DescribeNamespace", DESCRIBE)
        is grpc.StatusCode.OK
    )


HEALTH = "/grpc.health.v1.Health/Check"


@pytest.mark.parametrize("part", ["history", "matching", "internal-frontend"])
async def test_the_parts_of_the_server_know_no_certificate_of_the_installation(
    endpoints: Endpoints, certified: StackCertificates, part: str
) -> None:
    """They ask for no token: who is let in there may do everything."""
    address = endpoints.temporal_parts[part]
    among = certified.between_parts()
    assert await Caller(address, among).said(HEALTH, b"") is not grpc.StatusCode.UNAVAILABLE
    for holder in ("rival.developer", ADMIN, TEMPORAL, "orchestrator-worker"):
        held = certified.files(holder)
        files = TlsFiles(held.certificate, held.private_key, among.client_ca)
        said = await Caller(address, files).said(HEALTH, b"")
        assert said is grpc.StatusCode.UNAVAILABLE, holder
