"""The services as the commands see them: one method a call, messages out, errors as sentences."""

import copy
import getpass
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Self, TypeVar

import grpc

from backbone.ledger.v1 import (
    control_pb2,
    control_pb2_grpc,
    instances_pb2,
    instances_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    routing_pb2,
    routing_pb2_grpc,
)
from backbone.router.v1 import router_pb2, router_pb2_grpc
from cli import paging, stamps, statuses, tokens
from cli.audits import Audit
from cli.backfill_calls import Backfills
from cli.dead_letters import DeadLetters
from cli.errors import CliError, NotFoundError, UsageError
from cli.health import Health
from cli.inboxes import Inbox
from cli.outboxes import Outbox, Owner
from cli.registry import Registry
from cli.replays import Replays
from cli.schedule_calls import Schedules
from cli.schedule_states import ScheduleStates
from cli.settings import Settings
from cli.shadows import Shadows
from cli.subject_calls import Subjects
from cli.switch_calls import Switches
from cli.task_queue_calls import TaskQueues
from contracts.decisions import RunStatus
from contracts.routing import RoutingOutcome
from contracts.simulations import SIMULATION_TIMEOUT
from runtime import grpcclient
from runtime.errors import ConfigurationError
from runtime.tls import TlsFiles

T = TypeVar("T")

_AT_ONCE = timedelta(minutes=1)
_SEARCH_TIMEOUT_S = 25.0
"""The router gives up sooner by itself; others may be searching before."""
_SIMULATION_TIMEOUT_S = SIMULATION_TIMEOUT.total_seconds() + 5.0
"""The router gives up sooner by itself, and says why."""


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
        self._trusted = settings.tls_client_ca
        self._token = tokens.source(settings)
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

    def audit(self, owner: Owner) -> Audit:
        """Return the evidence of a service; UsageError when its address is not known."""
        return Audit(
            self._channel(owner.value),
            namespace=self.namespace,
            explain=lambda exc: self._explained(owner.value, exc),
        )

    def health(self, service: str) -> Health:
        """Return whether a service answers; UsageError when its address is not known."""
        return Health(
            self._channel(service),
            namespace=self.namespace,
            explain=lambda exc: self._explained(service, exc),
        )

    @property
    def subjects(self) -> Subjects:
        """People's sensitive values; UsageError when the address of the ledger is not known."""
        return Subjects(
            self._channel("ledger"),
            namespace=self.namespace,
            explain=lambda exc: self._explained("ledger", exc),
        )

    @property
    def switches(self) -> Switches:
        """Kill switches; UsageError when the address of the ledger is not known."""
        return Switches(
            self._channel("ledger"),
            namespace=self.namespace,
            explain=lambda exc: self._explained("ledger", exc),
        )

    def of(self, namespace: str) -> Self:
        """Return the clients of another namespace, over the same channels: not to be closed."""
        other = copy.copy(self)
        other.namespace = namespace
        return other

    @property
    def schedules(self) -> Schedules:
        """The schedules; UsageError when the address of the ledger is not known."""
        return Schedules(
            self._channel("ledger"),
            namespace=self.namespace,
            explain=lambda exc: self._explained("ledger", exc),
        )

    @property
    def backfills(self) -> Backfills:
        """Backfills; UsageError when the address of the ledger is not known."""
        return Backfills(
            self._channel("ledger"),
            namespace=self.namespace,
            explain=lambda exc: self._explained("ledger", exc),
        )

    @property
    def schedule_states(self) -> ScheduleStates:
        """How schedules stand; UsageError when the address of the registry is not known."""
        return ScheduleStates(
            self._channel("registry"),
            namespace=self.namespace,
            explain=lambda exc: self._explained("registry", exc),
        )

    @property
    def task_queues(self) -> TaskQueues:
        """The task queues; UsageError when the address of the registry is not known."""
        return TaskQueues(
            self._channel("registry"),
            namespace=self.namespace,
            explain=lambda exc: self._explained("registry", exc),
        )

    @property
    def shadows(self) -> Shadows:
        """The shadows; UsageError when the address of the ledger is not known."""
        return Shadows(
            self._channel("ledger"),
            namespace=self.namespace,
            explain=lambda exc: self._explained("ledger", exc),
        )

    @property
    def dead_letters(self) -> DeadLetters:
        """The dead letters; UsageError when the address of the router is not known."""
        return DeadLetters(
            self._channel("router"),
            namespace=self.namespace,
            explain=lambda exc: self._explained("router", exc),
        )

    @property
    def inbox(self) -> Inbox:
        """The tasks; UsageError when the address of the ledger is not known."""
        return Inbox(
            self._channel("ledger"),
            namespace=self.namespace,
            explain=lambda exc: self._explained("ledger", exc),
        )

    @property
    def replays(self) -> Replays:
        """Replays of events; UsageError when the address of the ledger is not known."""
        return Replays(
            router=lambda: self._channel("router"),
            ledger=self._channel("ledger"),
            namespace=self.namespace,
            explain=self._explained,
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
        return await self._ask("router", self._router().TriggerDefinition(request))

    async def runs(
        self,
        *,
        definition_id: str = "",
        status: RunStatus | None = None,
        limit: int,
    ) -> list[ledger_pb2.Run]:
        """Return at most `limit` runs, newest first."""
        request = ledger_pb2.ListRunsRequest(
            namespace=self.namespace,
            definition_id=definition_id,
            status=ledger_pb2.RunStatus.Value(f"RUN_STATUS_{_name(status)}"),
        )
        return await paging.gathered(
            request,
            lambda: self._ask("ledger", self._ledger().ListRuns(request)),
            items=lambda page: page.runs,
            limit=limit,
        )

    async def runs_since(
        self, definition_id: str, *, since: datetime
    ) -> AsyncGenerator[ledger_pb2.Run, None]:
        """Return the runs of a definition that were recorded at a time or later, newest first."""
        request = ledger_pb2.ListRunsRequest(
            namespace=self.namespace, page_size=paging.PAGE, definition_id=definition_id
        )
        while True:
            page = await self._ask("ledger", self._ledger().ListRuns(request))
            for run in page.runs:
                recorded_at = run.recorded_at.ToDatetime(UTC)
                # Runs that were recorded at once may be listed in another order than their times.
                if recorded_at < since - _AT_ONCE:
                    return
                if recorded_at >= since:
                    yield run
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def run(self, run_id: str) -> ledger_pb2.GetRunResponse:
        """Return a run with its trigger, snapshot, decision and tasks."""
        request = ledger_pb2.GetRunRequest(namespace=self.namespace, run_id=run_id)
        return await self._ask("ledger", self._ledger().GetRun(request))

    async def instances(
        self, *, definition_id: str = "", status: str = "unspecified", limit: int
    ) -> list[instances_pb2.Instance]:
        """Return at most `limit` generations of instances, the one that began last first."""
        stub = instances_pb2_grpc.InstanceServiceStub(self._channel("ledger"))
        request = instances_pb2.ListInstancesRequest(
            namespace=self.namespace,
            definition_id=definition_id,
            status=instances_pb2.InstanceStatus.Value(f"INSTANCE_STATUS_{status.upper()}"),
        )
        return await paging.gathered(
            request,
            lambda: self._ask("ledger", stub.ListInstances(request)),
            items=lambda page: page.instances,
            limit=limit,
        )

    async def waiting_instances(
        self, *, definition_id: str = "", limit: int
    ) -> list[instances_pb2.WaitingInstance]:
        """Return at most `limit` correlation keys of which events wait to be applied."""
        stub = instances_pb2_grpc.InstanceServiceStub(self._channel("ledger"))
        request = instances_pb2.ListWaitingInstancesRequest(
            namespace=self.namespace, definition_id=definition_id
        )
        return await paging.gathered(
            request,
            lambda: self._ask("ledger", stub.ListWaitingInstances(request)),
            items=lambda page: page.instances,
            limit=limit,
        )

    async def instance(self, instance_id: str) -> instances_pb2.GetInstanceResponse:
        """Return a generation of an instance with its state."""
        stub = instances_pb2_grpc.InstanceServiceStub(self._channel("ledger"))
        request = instances_pb2.GetInstanceRequest(
            namespace=self.namespace, instance_id=instance_id
        )
        return await self._ask("ledger", stub.GetInstance(request))

    async def pending(
        self, *, definition_id: str = "", reason: str = "", limit: int
    ) -> list[routing_pb2.PendingStart]:
        """Return at most `limit` starts that wait, oldest first."""
        stub = routing_pb2_grpc.RoutingServiceStub(self._channel("ledger"))
        request = routing_pb2.ListPendingStartsRequest(
            namespace=self.namespace,
            definition_id=definition_id,
            reason=reason,
        )
        return await paging.gathered(
            request,
            lambda: self._ask("ledger", stub.ListPendingStarts(request)),
            items=lambda page: page.starts,
            limit=limit,
        )

    async def due_times(
        self, definition_id: str, *, since: datetime | None = None, limit: int
    ) -> list[ledger_pb2.DueTime]:
        """Return at most `limit` accounted due times of a definition, newest first."""
        request = ledger_pb2.ListDueTimesRequest(
            namespace=self.namespace, definition_id=definition_id, since=stamps.stamp(since)
        )
        return await paging.gathered(
            request,
            lambda: self._ask("ledger", self._ledger().ListDueTimes(request)),
            items=lambda page: page.due_times,
            limit=limit,
        )

    async def decisions(
        self,
        *,
        event_id: str = "",
        source: str = "",
        definition_id: str = "",
        outcome: RoutingOutcome | None = None,
        decided_from: datetime | None = None,
        decided_to: datetime | None = None,
        limit: int,
    ) -> list[routing_pb2.RoutingDecision]:
        """Return at most `limit` routing decisions, newest first."""
        request = routing_pb2.ListRoutingDecisionsRequest(
            namespace=self.namespace,
            event_id=event_id,
            source=source,
            definition_id=definition_id,
            outcome=routing_pb2.RoutingOutcome.Value(f"ROUTING_OUTCOME_{_name(outcome)}"),
            decided_from=stamps.stamp(decided_from),
            decided_to=stamps.stamp(decided_to),
        )
        return await paging.gathered(
            request,
            lambda: self._ask("ledger", self._routing().ListRoutingDecisions(request)),
            items=lambda page: page.decisions,
            limit=limit,
        )

    async def unrouted_range(self, place: router_pb2.Place) -> routing_pb2.UnroutedRange | None:
        """Return the range of records without a candidate that a place lies in, if one does."""
        request = routing_pb2.GetUnroutedRangeRequest(
            namespace=self.namespace,
            place=routing_pb2.RecordPlace(
                topic=place.topic, partition=place.partition, offset=place.offset
            ),
        )
        try:
            return (await self._ask("ledger", self._routing().GetUnroutedRange(request))).range
        except NotFoundError:
            return None

    async def find_event(
        self, event_id: str, *, source: str, since: datetime | None, topics: Sequence[str]
    ) -> router_pb2.FindEventResponse:
        """Look for an event on the topics that the router reads."""
        request = router_pb2.FindEventRequest(
            namespace=self.namespace,
            event_id=event_id,
            source=source,
            since=stamps.stamp(since),
            topics=topics,
        )
        call = self._router().FindEvent(request, timeout=_SEARCH_TIMEOUT_S)
        return await self._ask("router", call)

    async def evaluate_event(
        self, place: router_pb2.Place, *, definition_id: str, as_of: datetime | None
    ) -> router_pb2.EvaluateEventResponse:
        """Say what a record means, or meant, to one definition, or to all that listen."""
        request = router_pb2.EvaluateEventRequest(
            namespace=self.namespace,
            place=place,
            definition_id=definition_id,
            as_of=stamps.stamp(as_of),
        )
        call = self._router().EvaluateEvent(request, timeout=_SEARCH_TIMEOUT_S)
        return await self._ask("router", call)

    async def simulate_run(
        self, definition: bytes, *, trigger: bytes, state: bytes
    ) -> router_pb2.SimulateRunResponse:
        """Say what a run would decide over what the connectors answer now; all are JSON."""
        request = router_pb2.SimulateRunRequest(
            namespace=self.namespace, definition=definition, trigger=trigger, state=state
        )
        call = self._router().SimulateRun(request, timeout=_SIMULATION_TIMEOUT_S)
        return await self._ask("router", call)

    async def redact_snapshot(
        self, run_id: str, *, fields: Sequence[str], request_id: str, reason: str
    ) -> bytes:
        """Take fields out of a run's snapshot; return what is left (JSON)."""
        request = ledger_pb2.RedactSnapshotRequest(
            namespace=self.namespace,
            run_id=run_id,
            fields=fields,
            request_id=request_id,
            reason=reason,
        )
        return (await self._ask("ledger", self._ledger().RedactSnapshot(request))).snapshot

    async def cancel_run(self, run_id: str, *, request_id: str, reason: str) -> ledger_pb2.Run:
        """Cancel an open run with its open tasks."""
        request = control_pb2.CancelRunRequest(
            namespace=self.namespace, run_id=run_id, request_id=request_id, reason=reason
        )
        return (await self._ask("ledger", self._control().CancelRun(request))).run

    async def retry_run(
        self, run_id: str, *, request_id: str, reason: str
    ) -> control_pb2.RetryRunResponse:
        """Retry a run that failed or was cancelled."""
        request = control_pb2.RetryRunRequest(
            namespace=self.namespace, run_id=run_id, request_id=request_id, reason=reason
        )
        return await self._ask("ledger", self._control().RetryRun(request))

    async def retry_task(self, task_id: str, *, request_id: str, reason: str) -> ledger_pb2.Task:
        """Have an automated task that failed for good carried out again."""
        request = control_pb2.RetryTaskRequest(
            namespace=self.namespace, task_id=task_id, request_id=request_id, reason=reason
        )
        return (await self._ask("ledger", self._control().RetryTask(request))).task

    async def operations(self, *, limit: int) -> list[control_pb2.Operation]:
        """Return at most `limit` operations that are to be done in Temporal, oldest first."""
        request = control_pb2.ListOperationsRequest(
            namespace=self.namespace,
        )
        return await paging.gathered(
            request,
            lambda: self._ask("ledger", self._control().ListOperations(request)),
            items=lambda page: page.operations,
            limit=limit,
        )

    async def dead_letter_openings(self, *, limit: int) -> list[routing_pb2.DeadLetterOpening]:
        """Return who was shown what is in dead letters, the newest first."""
        request = routing_pb2.ListDeadLetterOpeningsRequest(namespace=self.namespace)
        return await paging.gathered(
            request,
            lambda: self._ask("ledger", self._routing().ListDeadLetterOpenings(request)),
            items=lambda page: page.openings,
            limit=limit,
        )

    def _router(self) -> "router_pb2_grpc.RouterServiceAsyncStub":
        return router_pb2_grpc.RouterServiceStub(self._channel("router"))

    def _ledger(self) -> "ledger_pb2_grpc.LedgerServiceAsyncStub":
        return ledger_pb2_grpc.LedgerServiceStub(self._channel("ledger"))

    def _routing(self) -> "routing_pb2_grpc.RoutingServiceAsyncStub":
        return routing_pb2_grpc.RoutingServiceStub(self._channel("ledger"))

    def _control(self) -> "control_pb2_grpc.ControlServiceAsyncStub":
        return control_pb2_grpc.ControlServiceStub(self._channel("ledger"))

    def _channel(self, service: str) -> grpc.aio.Channel:
        address = self._addresses[service]
        if address is None:
            raise UsageError(
                f"the address of the {service} is not known: start the stack with `make up` and "
                f"run this below its folder, or set BACKBONE_{service.upper()}_ADDRESS"
            )
        if service not in self._channels:
            if self._token is not None:
                self._check_token(self._token, service)
            try:
                self._channels[service] = grpcclient.channel(
                    address,
                    actor=self._actor,
                    tls=self._tls,
                    trusted=self._trusted,
                    token=self._token,
                )
            except ConfigurationError as exc:
                raise UsageError(str(exc)) from exc
        return self._channels[service]

    def _check_token(self, token: Callable[[], str], service: str) -> None:
        if self._trusted is None:
            raise UsageError(
                f"your token would go to the {service} in the clear: set BACKBONE_TLS_CLIENT_CA to "
                "the file of its authority, or unset BACKBONE_TOKEN_FILE and BACKBONE_TOKEN"
            )
        token()

    async def _ask(self, service: str, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as exc:
            raise self._explained(service, exc) from exc

    def _explained(self, service: str, error: grpc.aio.AioRpcError) -> CliError:
        return statuses.explained(error, service=service, address=str(self._addresses[service]))


def _name(word: StrEnum | None) -> str:
    return "UNSPECIFIED" if word is None else word.name
