"""Who may call what: every RPC that there is, called in every role, against a table made by hand.

The table is here and not in the services, so that a change of one of them has to be said twice. The
calls go through the services' own policies and a server as it is deployed; only what would answer
is replaced.
"""

import importlib
import logging
import pkgutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2
from structlog.testing import capture_logs

import backbone
from contracts.roles import Role
from ledger import app as ledger
from registry import app as registry
from router.adapters import grpc_router
from runtime import grpcclient, rpcerrors
from runtime.grpcserver import GrpcServer, Service
from runtime.identity import Identity

ROLES = ("viewer", "operator", "author", "assignee", "task-worker", "service")
TABLE = """
                              viewer operator author assignee task-worker service

backbone.registry.v1.RegistryService
  ApplyResources                -       -       x       -         -          -
  ActivateVersion               -       -       x       -         -          -
  RetireResource                -       -       x       -         -          -
  DisableDefinition             -       x       x       -         -          -
  EnableDefinition              -       x       x       -         -          -
  GetResource                   x       x       x       -         -          x
  ListResources                 x       x       x       -         -          x
  ListChanges                   x       x       x       -         -          x
  DiffVersions                  x       x       x       -         -          x
  WatchResources                x       x       -       -         -          x
  GetDrift                      x       x       -       -         -          -

backbone.registry.v1.ScheduleService
  ListSchedules                 x       x       x       -         -          -
  GetSchedule                   x       x       x       -         -          -
  ListScheduleDrifts            x       x       x       -         -          -

backbone.registry.v1.TaskQueueService
  ListTaskQueues                x       x       x       -         -          -

backbone.ledger.v1.LedgerService
  RecordRun                     -       -       -       -         -          x
  RecordRunFailure              -       -       -       -         -          x
  RecordTaskOutcome             -       -       -       -         x          x
  PutSchedule                   -       -       -       -         -          x
  AdvanceSchedule               -       -       -       -         -          x
  AcknowledgeRuns               -       -       -       -         -          x
  GetRun                        x       x       -       -         -          x
  GetLastRun                    x       x       -       -         -          x
  RedactSnapshot                -       x       -       -         -          -
  ListRuns                      x       x       -       -         -          x
  ListDueTimes                  x       x       -       -         -          x
  GetOverview                   x       x       -       -         -          -

backbone.ledger.v1.TaskService
  ListTasks                     x       x       -       x         -          x
  GetTask                       x       x       -       x         -          x
  ListTaskChanges               x       x       -       x         -          x
  ClaimTask                     -       x       -       x         -          -
  ReleaseTask                   -       x       -       x         -          -
  CompleteTask                  -       x       -       x         -          -
  CancelTask                    -       x       -       -         -          -
  ReassignTask                  -       x       -       x         -          -
  CommentTask                   -       x       -       x         -          -
  AdvanceTask                   -       -       -       -         -          x

backbone.ledger.v1.ControlService
  CancelRun                     -       x       -       -         -          -
  RetryRun                      -       x       -       -         -          -
  RetryTask                     -       x       -       -         -          -
  ClaimOperations               -       -       -       -         -          x
  ConfirmOperations             -       -       -       -         -          x
  ListOperations                x       x       -       -         -          x
  ListRequests                  x       x       -       -         -          -
  ListOpenExecutions            -       -       -       -         -          x
  CloseExecution                -       -       -       -         -          x
  RecordFailureHandled          -       -       -       -         -          x

backbone.ledger.v1.InstanceService
  GetNextApplication            -       -       -       -         -          x
  ApplyToInstance               -       -       -       -         -          x
  AdoptRun                      -       -       -       -         -          x
  GetInstance                   x       x       -       -         -          x
  ListInstances                 x       x       -       -         -          x
  ListWaitingInstances          x       x       -       -         -          x

backbone.ledger.v1.ScheduleService
  PauseSchedule                 -       x       -       -         -          -
  ResumeSchedule                -       x       -       -         -          -
  TriggerSchedule               -       x       -       -         -          -
  SkipNextDueTime               -       x       -       -         -          -
  GetSchedule                   x       x       -       -         -          x
  ExplainDueTime                x       x       -       -         -          x
  ListOverdueSchedules          x       x       -       -         -          x

backbone.ledger.v1.BackfillService
  PlanBackfill                  -       x       -       -         -          -
  GetBackfill                   x       x       -       -         -          x
  ListBackfills                 x       x       -       -         -          x
  ListBackfillDueTimes          x       x       -       -         -          x
  ApplyBackfill                 -       x       -       -         -          -
  PauseBackfill                 -       x       -       -         -          -
  ResumeBackfill                -       x       -       -         -          -
  CancelBackfill                -       x       -       -         -          -

backbone.ledger.v1.ReplayService
  CreateReplay                  -       -       -       -         -          x
  AddToReplay                   -       -       -       -         -          x
  GetReplay                     x       x       -       -         -          x
  ListReplays                   x       x       -       -         -          x
  ListReplayStarts              x       x       -       -         -          x
  ApplyReplay                   -       x       -       -         -          -
  PauseReplay                   -       x       -       -         -          -
  ResumeReplay                  -       x       -       -         -          -
  CancelReplay                  -       x       -       -         -          -

backbone.ledger.v1.RoutingService
  RecordRouting                 -       -       -       -         -          x
  ListRoutingDecisions          x       x       -       -         -          x
  GetUnroutedRange              x       x       -       -         -          x
  FindWaiting                   -       -       -       -         -          x
  ClaimPendingStarts            -       -       -       -         -          x
  ConfirmPendingStarts          -       -       -       -         -          x
  ListPendingStarts             x       x       -       -         -          x
  ReleaseHeldEvents             -       -       -       -         -          x
  ResolveDeadLetters            -       -       -       -         -          x
  ListDeadLetterResolutions     x       x       -       -         -          x
  RecordDeadLetterOpening       -       -       -       -         -          x
  ListDeadLetterOpenings        -       x       -       -         -          x

backbone.ledger.v1.ShadowService
  StartShadow                   -       x       -       -         -          -
  StopShadow                    -       x       -       -         -          -
  GetShadow                     x       x       -       -         -          x
  ListShadows                   x       x       -       -         -          x
  RecordShadowDecision          -       -       -       -         -          x
  ListShadowDecisions           x       x       -       -         -          x

backbone.ledger.v1.SubjectService
  KeepValues                    -       -       -       -         -          x
  ResolveValues                 -       -       -       -         x          x
  RevealValues                  -       x       -       -         -          -
  ListReveals                   -       x       -       -         -          -
  GetSubject                    -       x       -       -         -          -
  EraseSubject                  -       x       -       -         -          -
  RewrapSubjectKeys             -       x       -       -         -          -

backbone.ledger.v1.KillSwitchService
  ThrowKillSwitch               -       x       -       -         -          -
  ResetKillSwitch               -       x       -       -         -          -
  ListKillSwitches              x       x       -       -         -          x
  ListServedNamespaces          x       x       -       -         -          x
  SelectDefinitions             -       -       -       -         -          x
  FindKillSwitch                -       -       -       -         -          x

backbone.router.v1.RouterService
  TriggerDefinition             -       x       -       -         x          x
  ListDeadLetters               x       x       -       -         -          x
  GetDeadLetter                 -       x       -       -         -          x
  RedriveDeadLetters            -       x       -       -         -          -
  DiscardDeadLetters            -       x       -       -         -          -
  EvaluateEvent                 x       x       -       -         -          x
  FindEvent                     x       x       -       -         -          x
  PlanReplay                    -       x       -       -         -          -
  SimulateRun                   -       x       x       -         -          -

backbone.outbox.v1.OutboxService
  RepublishEvents               -       x       -       -         -          -
  ListParkedEvents              x       x       -       -         -          -
  RetryParkedEvent              -       x       -       -         -          -
  DiscardParkedEvent            -       x       -       -         -          -
  GetOutbox                     x       x       -       -         -          -

backbone.audit.v1.AuditService
  VerifyEvents                  -       x       -       -         -          -
  GetCheckpoint                 x       x       -       -         -          -
"""
ROLE = "PERMISSION_DENIED: ROLE_DENIED"
NAMESPACE = "PERMISSION_DENIED: NAMESPACE_DENIED"
NOBODY = "UNAUTHENTICATED: UNAUTHENTICATED"


def allowed() -> dict[str, frozenset[str]]:
    """The table: the roles that may call each RPC, by its full name."""
    found, service = {}, ""
    heading, *lines = (line.split() for line in TABLE.splitlines() if line.strip())
    assert tuple(heading) == ROLES
    for name, *marks in lines:
        if not marks:
            service = name
            continue
        assert len(marks) == len(ROLES), name
        assert set(marks) <= {"x", "-"}, name
        method = f"/{service}/{name}"
        assert method not in found, method
        pairs = zip(ROLES, marks, strict=True)
        found[method] = frozenset(role for role, mark in pairs if mark == "x")
    return found


def rpcs() -> Iterator[MethodDescriptor]:
    """Every RPC of every service that the protos declare."""
    for module in pkgutil.walk_packages(backbone.__path__, "backbone."):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(module.name).DESCRIPTOR
            for service in file.services_by_name.values():
                yield from service.methods


def path(rpc: MethodDescriptor) -> str:
    return f"/{rpc.containing_service.full_name}/{rpc.name}"


RPCS = {path(rpc): rpc for rpc in rpcs()}

NOTHING: Any = None
"""Stands for what answers calls, of which nothing is asked until one comes."""

SERVED = {
    "ledger": ledger.grpc_services(NOTHING, NOTHING, namespaces=["dev"]),
    "registry": registry.grpc_services(
        NOTHING, NOTHING, NOTHING, postgres=NOTHING, namespaces=["dev"], queues={}
    ),
    "router": [
        grpc_router.service(
            manual=NOTHING,
            dead_letters=NOTHING,
            explanations=NOTHING,
            replays=NOTHING,
            simulations=NOTHING,
        )
    ],
}
"""What each process serves, as it is put together there."""


class Answering:
    """Answers every RPC of a service with an empty message."""

    def __init__(self, service: str) -> None:
        for rpc in RPCS.values():
            if rpc.containing_service.full_name == service:
                setattr(self, rpc.name, self._answer(rpc))

    def _answer(self, rpc: MethodDescriptor) -> Any:
        made = message_factory.GetMessageClass(rpc.output_type)

        async def once(request: Any, context: Any) -> Any:
            return made()

        async def streamed(request: Any, context: Any) -> AsyncIterator[Any]:
            yield made()

        return streamed if rpc.server_streaming else once


class Anybody:
    """Takes callers for whom they say, by a header that no deployed server reads."""

    def authenticate(self, context: Any, metadata: Any) -> Identity | None:
        if "test-roles" not in metadata:
            return None
        roles = frozenset(Role(role) for role in metadata["test-roles"].split())
        namespace = metadata["test-namespace"]
        return Identity("dev/ana", roles, frozenset({namespace}) if namespace else None)


@pytest.fixture(params=SERVED)
async def process(request: pytest.FixtureRequest) -> AsyncIterator[tuple[list[Service], Any]]:
    """The services of one process, and a channel to a server of them."""
    services = [replace(one, servicer=Answering(one.name)) for one in SERVED[request.param]]
    server = GrpcServer(listen="127.0.0.1:0", services=services, authenticator=Anybody())
    await server.start()
    async with grpcclient.channel(f"127.0.0.1:{server.port}", actor="nobody") as channel:
        yield services, channel
    await server.stop()


def methods(services: list[Service]) -> list[str]:
    names = {service.name for service in services}
    return [name for name, rpc in RPCS.items() if rpc.containing_service.full_name in names]


async def called(
    channel: Any, method: str, roles: str | None, *, namespace: str = "", asked: str = ""
) -> str:
    """Call an RPC; return `OK`, or the code and the reason that the server gives."""
    rpc = RPCS[method]
    request = message_factory.GetMessageClass(rpc.input_type)()
    request.namespace = asked
    how = {
        "request_serializer": type(request).SerializeToString,
        "response_deserializer": message_factory.GetMessageClass(rpc.output_type).FromString,
    }
    header = () if roles is None else (("test-roles", roles), ("test-namespace", namespace))
    try:
        if rpc.server_streaming:
            async for _ in channel.unary_stream(method, **how)(request, metadata=header):
                pass
        else:
            await channel.unary_unary(method, **how)(request, metadata=header)
    except grpc.aio.AioRpcError as exc:
        info = error_details_pb2.ErrorInfo()
        rpcerrors.detail_of(exc, info)
        return f"{exc.code().name}: {info.reason}"
    return "OK"


def test_the_table_has_every_rpc_there_is():
    assert sorted(allowed()) == sorted(RPCS)


def test_every_rpc_is_served_by_some_process():
    assert {name for services in SERVED.values() for name in methods(services)} == set(RPCS)


async def test_every_role_may_call_what_the_table_says_and_nothing_else(process):
    services, channel = process
    expected, found = {}, {}
    for method in methods(services):
        for role in ROLES:
            expected[method, role] = "OK" if role in allowed()[method] else ROLE
            found[method, role] = await called(channel, method, role)
    assert found == expected


async def test_roles_together_may_do_what_each_may(process):
    services, channel = process
    for method in methods(services):
        others = " ".join(sorted(set(ROLES) - allowed()[method]))
        assert await called(channel, method, others) == ROLE, method
        assert await called(channel, method, " ".join(ROLES)) == "OK", method


async def test_without_a_role_or_a_name_nothing_may_be_called(process):
    services, channel = process
    for method in methods(services):
        assert await called(channel, method, "") == ROLE, method
        assert await called(channel, method, None) == NOBODY, method


async def test_who_is_of_a_namespace_may_ask_for_no_other(process):
    services, channel = process
    expected, found = {}, {}
    for method in methods(services):
        (role, *_) = sorted(allowed()[method])
        for asked in ("dev", "prod", "", "DEV", "dev "):
            expected[method, asked] = "OK" if asked == "dev" else NAMESPACE
            found[method, asked] = await called(channel, method, role, namespace="dev", asked=asked)
    assert found == expected


def test_every_request_names_a_namespace():
    """Else nobody who belongs to some namespaces may call it, which its table would not tell."""
    assert [n for n, rpc in RPCS.items() if "namespace" not in rpc.input_type.fields_by_name] == []


async def test_every_denial_is_logged_with_who_asked_for_what(process):
    services, channel = process
    for method in methods(services):
        (role, *_) = sorted(allowed()[method])
        with capture_logs() as logged:
            await called(channel, method, "", asked="dev")
            await called(channel, method, role, namespace="dev", asked="prod")
            await called(channel, method, None, asked="dev")
        told = [
            tuple(line[name] for name in ("log_level", "method", "actor", "namespace", "reason"))
            for line in logged
            if line["event"] == "rpc_denied"
        ]
        assert told == [
            ("warning", method, "dev/ana", "dev", "ROLE_DENIED"),
            ("warning", method, "dev/ana", "prod", "NAMESPACE_DENIED"),
            ("warning", method, "", "dev", "UNAUTHENTICATED"),
        ]


async def test_what_is_allowed_is_logged_too(process, caplog):
    caplog.set_level(logging.DEBUG, logger="runtime.authorisation")
    services, channel = process
    for method in methods(services):
        for role in sorted(allowed()[method]):
            with capture_logs() as logged:
                await called(channel, method, role, asked="dev")
            (line,) = (line for line in logged if line["event"] == "rpc_allowed")
            assert (line["method"], line["actor"], line["namespace"]) == (method, "dev/ana", "dev")
            assert line["log_level"] == ("debug" if role in {"service", "task-worker"} else "info")
