"""The services as the commands see them: one method a call, messages out, errors as sentences."""

import getpass
from collections.abc import Awaitable
from enum import StrEnum
from types import TracebackType
from typing import Self, TypeVar

import grpc

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from backbone.router.v1 import router_pb2, router_pb2_grpc
from cli import statuses
from cli.errors import CliError, UsageError
from cli.outboxes import Outbox, Owner
from cli.registry import Registry
from cli.settings import Settings
from contracts.decisions import RunStatus, TaskStatus
from runtime import grpcclient
from runtime.tls import TlsFiles

T = TypeVar("T")

_PAGE = 200


class TaskKind(StrEnum):
    """Who does a task."""

    AUTOMATED = "automated"
    HUMAN = "human"


def operating_system_user() -> str:
    """Return who is logged in: the actor that the audit shows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


class Clients:
    """Channels to the services of one namespace, opened when first used.

    Every method raises CliError, and UsageError when the address of its service is not known.
    """

    def __init__(
        self, settings: Settings, *, namespace: str | None = None, actor: str | None = None
    ) -> None:
        self.namespace = namespace or settings.namespace
        self._actor = actor or operating_system_user()
        self._tls = TlsFiles.of(settings)
        self._addresses = {
            "registry": settings.registry_address,
            "ledger": settings.ledger_address,
            "router": settings.router_address,
        }
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    @property
    def registry(self) -> Registry:
        """The registry; UsageError when its address is not known."""
        return Registry(
            self._channel("registry"),
            namespace=self.namespace,
            explain=lambda exc: self._explained("registry", exc),
        )

    def outbox(self, owner: Owner) -> Outbox:
        """Return the outbox of a service; UsageError when its address is not known."""
        return Outbox(
            self._channel(owner.value),
            namespace=self.namespace,
            explain=lambda exc: self._explained(owner.value, exc),
        )

    async def trigger(
        self, definition_id: str, *, input_json: bytes, request_id: str, reason: str
    ) -> router_pb2.TriggerDefinitionResponse:
        """Start a run by hand."""
        request = router_pb2.TriggerDefinitionRequest(
            namespace=self.namespace,
            definition_id=definition_id,
            input=input_json,
            request_id=request_id,
            reason=reason,
        )
        stub = router_pb2_grpc.RouterServiceStub(self._channel("router"))
        return await self._ask("router", stub.TriggerDefinition(request))

    async def runs(
        self,
        *,
        definition_id: str = "",
        status: RunStatus | None = None,
        limit: int,
    ) -> list[ledger_pb2.Run]:
        """Return at most `limit` runs, newest first."""
        found: list[ledger_pb2.Run] = []
        token = ""
        while True:
            request = ledger_pb2.ListRunsRequest(
                namespace=self.namespace,
                page_size=min(_PAGE, limit - len(found)),
                page_token=token,
                definition_id=definition_id,
                status=ledger_pb2.RunStatus.Value(f"RUN_STATUS_{_name(status)}"),
            )
            page = await self._ask("ledger", self._ledger().ListRuns(request))
            found.extend(page.runs)
            token = page.next_page_token
            if not token or len(found) >= limit:
                return found[:limit]

    async def run(self, run_id: str) -> ledger_pb2.GetRunResponse:
        """Return a run with its trigger, snapshot, decision and tasks."""
        request = ledger_pb2.GetRunRequest(namespace=self.namespace, run_id=run_id)
        return await self._ask("ledger", self._ledger().GetRun(request))

    async def due_times(self, definition_id: str, *, limit: int) -> list[ledger_pb2.DueTime]:
        """Return at most `limit` accounted due times of a definition, newest first."""
        found: list[ledger_pb2.DueTime] = []
        token = ""
        while True:
            request = ledger_pb2.ListDueTimesRequest(
                namespace=self.namespace,
                definition_id=definition_id,
                page_size=min(_PAGE, limit - len(found)),
                page_token=token,
            )
            page = await self._ask("ledger", self._ledger().ListDueTimes(request))
            found.extend(page.due_times)
            token = page.next_page_token
            if not token or len(found) >= limit:
                return found[:limit]

    async def tasks(
        self,
        *,
        run_id: str = "",
        status: TaskStatus | None = None,
        kind: TaskKind | None = None,
        limit: int,
    ) -> list[ledger_pb2.Task]:
        """Return at most `limit` tasks, newest first."""
        found: list[ledger_pb2.Task] = []
        token = ""
        while True:
            request = ledger_pb2.ListTasksRequest(
                namespace=self.namespace,
                page_size=min(_PAGE, limit - len(found)),
                page_token=token,
                run_id=run_id,
                status=ledger_pb2.TaskStatus.Value(f"TASK_STATUS_{_name(status)}"),
                type=ledger_pb2.TaskType.Value(f"TASK_TYPE_{_name(kind)}"),
            )
            page = await self._ask("ledger", self._inbox().ListTasks(request))
            found.extend(page.tasks)
            token = page.next_page_token
            if not token or len(found) >= limit:
                return found[:limit]

    async def task(self, task_id: str) -> ledger_pb2.Task:
        """Return a task."""
        request = ledger_pb2.GetTaskRequest(namespace=self.namespace, task_id=task_id)
        return (await self._ask("ledger", self._inbox().GetTask(request))).task

    async def complete_task(
        self, task_id: str, *, answer: bytes, request_id: str, reason: str
    ) -> ledger_pb2.Task:
        """Complete a human task with an answer (JSON) that fits its form."""
        request = ledger_pb2.CompleteTaskRequest(
            namespace=self.namespace,
            task_id=task_id,
            answer=answer,
            request_id=request_id,
            reason=reason,
        )
        return (await self._ask("ledger", self._inbox().CompleteTask(request))).task

    def _ledger(self) -> "ledger_pb2_grpc.LedgerServiceAsyncStub":
        return ledger_pb2_grpc.LedgerServiceStub(self._channel("ledger"))

    def _inbox(self) -> "ledger_pb2_grpc.TaskServiceAsyncStub":
        return ledger_pb2_grpc.TaskServiceStub(self._channel("ledger"))

    def _channel(self, service: str) -> grpc.aio.Channel:
        address = self._addresses[service]
        if address is None:
            raise UsageError(
                f"the address of the {service} is not known: start the stack with `make up` and "
                f"run this below its folder, or set BACKBONE_{service.upper()}_ADDRESS"
            )
        if service not in self._channels:
            self._channels[service] = grpcclient.channel(address, actor=self._actor, tls=self._tls)
        return self._channels[service]

    async def _ask(self, service: str, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as exc:
            raise self._explained(service, exc) from exc

    def _explained(self, service: str, error: grpc.aio.AioRpcError) -> CliError:
        return statuses.explained(error, service=service, address=str(self._addresses[service]))


def _name(word: StrEnum | None) -> str:
    return "UNSPECIFIED" if word is None else word.name
