"""The command against servicers that behave as the protos say, over real gRPC."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from typer.testing import CliRunner, Result

from backbone.ledger.v1 import (
    backfills_pb2,
    backfills_pb2_grpc,
    control_pb2,
    control_pb2_grpc,
    instances_pb2,
    instances_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    replay_pb2,
    replay_pb2_grpc,
    routing_pb2,
    routing_pb2_grpc,
    schedules_pb2,
    schedules_pb2_grpc,
    shadows_pb2,
    shadows_pb2_grpc,
    subjects_pb2,
    subjects_pb2_grpc,
    switches_pb2,
    switches_pb2_grpc,
)
from backbone.registry.v1 import registry_pb2_grpc, task_queues_pb2, task_queues_pb2_grpc
from backbone.registry.v1 import schedules_pb2 as registry_schedules_pb2
from backbone.registry.v1 import schedules_pb2_grpc as registry_schedules_pb2_grpc
from backbone.router.v1 import router_pb2, router_pb2_grpc
from cli.__main__ import app
from contracts.names import Metadata
from runtime import rpcerrors

RUN_ID = "billing.overdue-invoices:2026-03-02T12:00:00Z"
TASK_ID = "6f1d3a3e-6c53-5f0e-9f3d-0d2b8f3c1a11"


def fail(context: Any, error: rpcerrors.RpcError) -> None:
    """End the call as Backbone's server does."""
    details = rpcerrors.status_details(error)
    context.set_trailing_metadata(((rpcerrors.DETAILS_KEY, details),))
    context.abort(error.code, error.message)


class FakeRouter(router_pb2_grpc.RouterServiceServicer):
    """Starts a run for every request id it has not seen; finds and evaluates what a test says."""

    def __init__(self) -> None:
        self.requests: list[router_pb2.TriggerDefinitionRequest] = []
        self.searches: list[router_pb2.FindEventRequest] = []
        self.search = router_pb2.FindEventResponse(records_looked_at=12)
        self.evaluated: list[router_pb2.EvaluateEventRequest] = []
        self.evaluation = router_pb2.EvaluateEventResponse()
        self.refusal: rpcerrors.RpcError | None = None
        self.letters: list[router_pb2.DeadLetter] = []
        self.letters_asked: list[router_pb2.ListDeadLettersRequest] = []
        self.plans: list[router_pb2.PlanReplayRequest] = []
        self.simulated: list[router_pb2.SimulateRunRequest] = []
        self.simulation = router_pb2.SimulateRunResponse()

    def SimulateRun(self, request: Any, context: Any) -> Any:
        self.simulated.append(request)
        if self.refusal is not None:
            fail(context, self.refusal)
        return self.simulation

    def PlanReplay(self, request: Any, context: Any) -> Any:
        self.plans.append(request)
        complete = len(self.plans) > 1
        return router_pb2.PlanReplayResponse(
            complete=complete, records=100 if complete else 40, records_total=100
        )

    def ListDeadLetters(self, request: Any, context: Any) -> Any:
        self.letters_asked.append(request)
        if self.refusal is not None:
            fail(context, self.refusal)
        return router_pb2.ListDeadLettersResponse(dead_letters=self.letters)

    def FindEvent(self, request: Any, context: Any) -> Any:
        self.searches.append(request)
        return self.search

    def EvaluateEvent(self, request: Any, context: Any) -> Any:
        self.evaluated.append(request)
        if self.refusal is not None:
            fail(context, self.refusal)
        return self.evaluation

    def TriggerDefinition(self, request: Any, context: Any) -> Any:
        started = request.request_id not in {one.request_id for one in self.requests}
        self.requests.append(request)
        return router_pb2.TriggerDefinitionResponse(
            run_id=f"{request.definition_id}:manual:{request.request_id}",
            definition_version=3,
            started=started,
        )


class FakeLedger(ledger_pb2_grpc.LedgerServiceServicer, ledger_pb2_grpc.TaskServiceServicer):
    """Holds 3 runs, a human and an automated task."""

    # What no command calls.
    RecordRun: Any = None
    RecordRunFailure: Any = None
    RecordTaskOutcome: Any = None
    PutSchedule: Any = None
    AdvanceSchedule: Any = None
    AcknowledgeRuns: Any = None
    AdvanceTask: Any = None

    def __init__(self) -> None:
        self.due_times_asked: list[ledger_pb2.ListDueTimesRequest] = []
        self.listed: list[ledger_pb2.ListRunsRequest] = []
        self.redactions: list[ledger_pb2.RedactSnapshotRequest] = []
        self.away = False
        # What a test puts here is all there is: runs with their documents, the newest first.
        self.recorded: list[ledger_pb2.GetRunResponse] = []
        self.gone: set[str] = set()
        self.human = ledger_pb2.Task(
            namespace="dev",
            task_id=TASK_ID,
            run_id=RUN_ID,
            definition_id="billing.overdue-invoices",
            rule="call",
            key="INV-1",
            type=ledger_pb2.TASK_TYPE_HUMAN,
            status=ledger_pb2.TASK_STATUS_OPEN,
            title="Call A\x1b[2J now",
            assigned_groups=["collections"],
            input=b'{"invoice":"INV-1"}',
            form=b'{"type":"object"}',
        )
        self.human.created_at.FromJsonString("2026-03-02T12:00:01Z")
        self.human.version = 1
        self.tasks_asked: list[Any] = []
        self.automated = ledger_pb2.Task(
            namespace="dev",
            task_id="0c7f7c53-55b0-5b8b-8d5c-111111111111",
            run_id=RUN_ID,
            definition_id="billing.overdue-invoices",
            rule="remind",
            key="INV-1",
            type=ledger_pb2.TASK_TYPE_AUTOMATED,
            status=ledger_pb2.TASK_STATUS_COMPLETED,
            handler="send_reminder",
            output=b'{"to":"a@example.com"}',
        )

    def ListRuns(self, request: Any, context: Any) -> Any:
        if self.away:
            fail(context, rpcerrors.UnavailableError("PostgreSQL cannot be reached"))
        self.listed.append(request)
        at = int(request.page_token or 0)
        if self.recorded:
            return ledger_pb2.ListRunsResponse(
                runs=[one.run for one in self.recorded[at : at + 2]],
                next_page_token=str(at + 2) if at + 2 < len(self.recorded) else "",
            )
        found = [self._run(number) for number in range(at, min(at + 2, 3))]
        return ledger_pb2.ListRunsResponse(
            runs=found[: request.page_size], next_page_token="2" if at == 0 else ""
        )

    def RedactSnapshot(self, request: Any, context: Any) -> Any:
        self.redactions.append(request)
        return ledger_pb2.RedactSnapshotResponse(
            snapshot=b'{"overdue":[{"id":{"$redacted":null}}]}'
        )

    def GetRun(self, request: Any, context: Any) -> Any:
        for one in self.recorded:
            if one.run.run_id == request.run_id and request.run_id not in self.gone:
                return one
        if request.run_id != RUN_ID:
            fail(context, rpcerrors.NotFoundError(f"there is no run {request.run_id}"))
        trigger = {
            "kind": "schedule",
            "names": ["often"],
            "definition_version": 2,
            "scheduled_for": "2026-03-02T12:00:00Z",
            "window": {"start": "2026-03-02T11:59:50Z", "end": "2026-03-02T12:00:00Z"},
        }
        decision = {
            "definition_id": "billing.overdue-invoices",
            "definition_version": 2,
            "snapshot_sha256": "00",
            "tasks": [],
            "rules": [
                {"rule": "remind", "when": True, "items": 1, "tasks": [self.automated.task_id]},
                {"rule": "call", "when": False, "tasks": []},
            ],
        }
        return ledger_pb2.GetRunResponse(
            run=self._run(0),
            trigger=json.dumps(trigger).encode(),
            snapshot=b'{"overdue":[{"id":"INV-1"}]}',
            decision=json.dumps(decision).encode(),
            tasks=[self.automated, self.human],
        )

    def ListDueTimes(self, request: Any, context: Any) -> Any:
        self.due_times_asked.append(request)
        due = ledger_pb2.DueTime(
            trigger_names=["often"],
            outcome=ledger_pb2.DUE_OUTCOME_OVERLAPPED,
            reason="a run is open",
        )
        due.due_at.FromJsonString("2026-03-02T12:00:00Z")
        due.decided_at.FromJsonString("2026-03-02T12:00:02.100Z")
        return ledger_pb2.ListDueTimesResponse(due_times=[due])

    def ListTasks(self, request: Any, context: Any) -> Any:
        self.tasks_asked.append(request)
        tasks = [self.automated, self.human]
        return ledger_pb2.ListTasksResponse(
            tasks=[
                task
                for task in tasks
                if request.type in (0, task.type) and request.status in (0, task.status)
            ]
        )

    def GetTask(self, request: Any, context: Any) -> Any:
        if request.task_id != TASK_ID:
            fail(context, rpcerrors.NotFoundError(f"there is no task {request.task_id}"))
        return ledger_pb2.GetTaskResponse(task=self.human)

    def CompleteTask(self, request: Any, context: Any) -> Any:
        if self.human.status != ledger_pb2.TASK_STATUS_OPEN:
            fail(context, rpcerrors.FailedPreconditionError("the task is completed already"))
        self.human.status = ledger_pb2.TASK_STATUS_COMPLETED
        self.human.output = request.answer
        self.human.closed_by = dict(context.invocation_metadata())[Metadata.ACTOR]
        return ledger_pb2.CompleteTaskResponse(task=self.human)

    def ListTaskChanges(self, request: Any, context: Any) -> Any:
        at = int(request.page_token or 0)
        changes = [
            ledger_pb2.TaskChange(
                event_type="backbone.TaskCreated", assigned_groups=["collections"]
            ),
            ledger_pb2.TaskChange(
                event_type="backbone.TaskCommented", actor="dev/ana", comment="B\x1b[2J"
            ),
        ]
        for change in changes:
            change.occurred_at.FromJsonString("2026-03-02T12:00:01Z")
        return ledger_pb2.ListTaskChangesResponse(
            changes=changes[at : at + 1], next_page_token="" if at else "1"
        )

    def ClaimTask(self, request: Any, context: Any) -> Any:
        if request.version not in (0, self.human.version):
            now = f"the task is at version {self.human.version} now, not {request.version}"
            fail(context, rpcerrors.AbortedError(now, reason="TASK_CHANGED"))
        self.human.claimed_by = dict(context.invocation_metadata())[Metadata.ACTOR]
        self.human.version += 1
        return ledger_pb2.ClaimTaskResponse(task=self._changed(request))

    def ReleaseTask(self, request: Any, context: Any) -> Any:
        return ledger_pb2.ReleaseTaskResponse(task=self._changed(request))

    def CancelTask(self, request: Any, context: Any) -> Any:
        return ledger_pb2.CancelTaskResponse(task=self._changed(request))

    def ReassignTask(self, request: Any, context: Any) -> Any:
        return ledger_pb2.ReassignTaskResponse(task=self._changed(request))

    def CommentTask(self, request: Any, context: Any) -> Any:
        return ledger_pb2.CommentTaskResponse(task=self._changed(request))

    def _changed(self, request: Any) -> ledger_pb2.Task:
        self.tasks_asked.append(request)
        return self.human

    def _run(self, number: int) -> ledger_pb2.Run:
        run = ledger_pb2.Run(
            namespace="dev",
            run_id=RUN_ID if number == 0 else f"billing.overdue-invoices:manual:{number}",
            definition_id="billing.overdue-invoices",
            definition_version=2,
            trigger_kind="schedule",
            trigger_key="2026-03-02T12:00:00Z",
            trigger_names=["often"],
            status=ledger_pb2.RUN_STATUS_WAITING,
            tasks=2,
        )
        run.recorded_at.FromJsonString("2026-03-02T12:00:00.250Z")
        return run


class FakeControl(control_pb2_grpc.ControlServiceServicer):
    """Takes what people ask of runs, and says what of it Temporal has not taken yet."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def CancelRun(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if request.run_id == "done":
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, "the run done is completed, not open"
            )
        run = ledger_pb2.Run(run_id=request.run_id, status=ledger_pb2.RUN_STATUS_CANCELLED)
        return control_pb2.CancelRunResponse(run=run)

    def RetryRun(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if request.run_id == "undecided":
            return control_pb2.RetryRunResponse(run_id="undecided:retry:1")
        return control_pb2.RetryRunResponse(run_id=request.run_id, task_ids=["a", "b"])

    def RetryTask(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        task = ledger_pb2.Task(
            task_id=request.task_id,
            type=ledger_pb2.TASK_TYPE_AUTOMATED,
            status=ledger_pb2.TASK_STATUS_OPEN,
            generation=2,
        )
        return control_pb2.RetryTaskResponse(task=task)

    def ListOperations(self, request: Any, context: Any) -> Any:
        operation = control_pb2.Operation(
            kind=control_pb2.OPERATION_KIND_RETRY_TASK,
            workflow_id="task:a:2",
            actor="local/ada",
            attempts=3,
            last_error="Temporal: UNAVAILABLE",
        )
        return control_pb2.ListOperationsResponse(operations=[operation])


class FakeDecisions(routing_pb2_grpc.RoutingServiceServicer):
    """Holds 3 decisions, and gives 2 at a time; and two starts that wait, a page each."""

    def __init__(self) -> None:
        self.listed: list[routing_pb2.ListRoutingDecisionsRequest] = []
        self.range: routing_pb2.UnroutedRange | None = None
        self.pending_listed: list[routing_pb2.ListPendingStartsRequest] = []

    def GetUnroutedRange(self, request: Any, context: Any) -> Any:
        if self.range is None:
            fail(context, rpcerrors.NotFoundError("no range holds it"))
        return routing_pb2.GetUnroutedRangeResponse(range=self.range)

    def ListPendingStarts(self, request: Any, context: Any) -> Any:
        self.pending_listed.append(request)
        number = int(request.page_token or "1")
        start = routing_pb2.PendingStart(
            namespace=request.namespace,
            pending_id=str(number) * 26,
            definition_id="billing.gathered",
            reason="held" if number == 1 else "batch",
            key="INV-1",
            events=number,
        )
        start.queued_at.FromJsonString("2026-03-02T12:00:00Z")
        if number == 2:
            start.not_before.FromJsonString("2026-03-02T12:00:05Z")
        return routing_pb2.ListPendingStartsResponse(
            starts=[start], next_page_token="2" if number == 1 else ""
        )

    def ListRoutingDecisions(self, request: Any, context: Any) -> Any:
        self.listed.append(request)
        # An event's name says for which tests it has decisions.
        if request.event_id.startswith("unrouted"):
            return routing_pb2.ListRoutingDecisionsResponse()
        if request.event_id and request.definition_id not in ("", "billing.large-payment"):
            return routing_pb2.ListRoutingDecisionsResponse()
        at = int(request.page_token or 0)
        found = [self._decision(number) for number in range(at, min(at + 2, 3))]
        return routing_pb2.ListRoutingDecisionsResponse(
            decisions=found[: request.page_size], next_page_token="2" if at == 0 else ""
        )

    def _decision(self, number: int) -> routing_pb2.RoutingDecision:
        decision = routing_pb2.RoutingDecision(
            namespace="dev",
            place=routing_pb2.RecordPlace(topic="dev.payments", partition=1, offset=40 + number),
            source="shop",
            event_id=f"e-{number}",
            type="billing.payment.received",
            definition_id="billing.large-payment",
            definition_version=2,
            outcome=[
                routing_pb2.ROUTING_OUTCOME_STARTED,
                routing_pb2.ROUTING_OUTCOME_FILTERED,
                routing_pb2.ROUTING_OUTCOME_ERRORED,
            ][number],
            trigger_names=["big"],
            registry_revision=7,
        )
        decision.decided_at.FromJsonString("2026-03-02T12:00:00.250Z")
        if number == 0:
            decision.run_id = "billing.large-payment:event:x"
            decision.cause = "replay:r-1"
        if number == 1:
            decision.clause = 'event.payload.currency == "EUR"'
            decision.seen = 'event.payload.currency = "U\x1bSD"'
        if number == 2:
            decision.detail = "no such field: currency"
        return decision


class FakeInstances(instances_pb2_grpc.InstanceServiceServicer):
    """Holds two generations of an instance, a page each, and two keys of which events wait."""

    # What no command calls.
    GetNextApplication: Any = None
    ApplyToInstance: Any = None
    AdoptRun: Any = None

    def __init__(self) -> None:
        self.listed: list[instances_pb2.ListInstancesRequest] = []
        self.waiting_listed: list[instances_pb2.ListWaitingInstancesRequest] = []
        self.state = b'{"reminders":2,"word":"stop\\u001b[2J"}'

    def ListInstances(self, request: Any, context: Any) -> Any:
        self.listed.append(request)
        generation = int(request.page_token or "2")
        return instances_pb2.ListInstancesResponse(
            instances=[self._instance(generation)],
            next_page_token="1" if generation == 2 else "",
        )

    def GetInstance(self, request: Any, context: Any) -> Any:
        for generation in (1, 2):
            instance = self._instance(generation)
            if instance.instance_id == request.instance_id:
                return instances_pb2.GetInstanceResponse(instance=instance, state=self.state)
        fail(context, rpcerrors.NotFoundError(f"there is no instance {request.instance_id}"))
        return None

    def ListWaitingInstances(self, request: Any, context: Any) -> Any:
        self.waiting_listed.append(request)
        number = int(request.page_token or "1")
        waiting = instances_pb2.WaitingInstance(
            definition_id="billing.dunning",
            key_hash="ab"[number - 1] * 26,
            definition_version=3,
            events=number * 20,
        )
        waiting.waiting_since.FromJsonString("2026-03-02T12:00:00Z")
        return instances_pb2.ListWaitingInstancesResponse(
            instances=[waiting], next_page_token="2" if number == 1 else ""
        )

    def _instance(self, generation: int) -> instances_pb2.Instance:
        instance = instances_pb2.Instance(
            namespace="dev",
            instance_id=f"billing.dunning:instance:{'a' * 26}:{generation}",
            definition_id="billing.dunning",
            definition_version=3,
            key_hash="a" * 26,
            generation=generation,
            sequence=4,
            status=instances_pb2.INSTANCE_STATUS_OPEN,
            last_run_id="billing.dunning:event:x",
        )
        instance.started_at.FromJsonString("2026-03-02T12:00:00Z")
        instance.changed_at.FromJsonString("2026-03-02T12:00:01Z")
        if generation == 1:
            instance.status = instances_pb2.INSTANCE_STATUS_ENDED
            instance.ended_at.FromJsonString("2026-03-02T12:00:01Z")
        else:
            timer = instance.timers.add(name="broken-promise")
            timer.due_at.FromJsonString("2026-03-16T12:00:01Z")
        return instance


class FakeReplays(replay_pb2_grpc.ReplayServiceServicer):
    """Holds two replays, a page each, of which one can be changed."""

    # What no command calls.
    CreateReplay: Any = None
    AddToReplay: Any = None

    def __init__(self) -> None:
        self.changes: list[Any] = []
        self.replay = replay_pb2.Replay(
            namespace="dev",
            replay_id="r-1",
            state=replay_pb2.REPLAY_STATE_PLANNED,
            topic="dev.payments",
            mode=replay_pb2.REPLAY_MODE_MISSING,
            plan_hash="abc123",
            starts=2,
            refused=[replay_pb2.ReplayTally(outcome="expression_error", events=1)],
            definitions=[
                replay_pb2.ReplayedDefinition(
                    definition_id="d.one",
                    definition_version=3,
                    starts=2,
                    planned=[
                        replay_pb2.ReplayTally(outcome="start", events=2),
                        replay_pb2.ReplayTally(outcome="has_run", events=5),
                    ],
                )
            ],
        )

    def GetReplay(self, request: Any, context: Any) -> Any:
        if request.replay_id != "r-1":
            fail(context, rpcerrors.NotFoundError(f"there is no replay {request.replay_id}"))
        return replay_pb2.GetReplayResponse(replay=self.replay)

    def ListReplays(self, request: Any, context: Any) -> Any:
        if not request.page_token:
            newer = replay_pb2.Replay(replay_id="r-2")
            return replay_pb2.ListReplaysResponse(replays=[newer], next_page_token="2")
        return replay_pb2.ListReplaysResponse(replays=[self.replay])

    def ListReplayStarts(self, request: Any, context: Any) -> Any:
        number = int(request.page_token or 0)
        event = replay_pb2.ReplayedEvent(
            place=routing_pb2.RecordPlace(partition=1, offset=40 + number), event_id=f"e-{number}"
        )
        start = replay_pb2.ReplayStart(ordinal=number, definition_id="d.one", events=[event])
        return replay_pb2.ListReplayStartsResponse(
            starts=[start], next_page_token="" if number else "1"
        )

    def ApplyReplay(self, request: Any, context: Any) -> Any:
        return replay_pb2.ApplyReplayResponse(
            replay=self._changed(request, replay_pb2.REPLAY_STATE_RUNNING)
        )

    def PauseReplay(self, request: Any, context: Any) -> Any:
        return replay_pb2.PauseReplayResponse(
            replay=self._changed(request, replay_pb2.REPLAY_STATE_PAUSED)
        )

    def ResumeReplay(self, request: Any, context: Any) -> Any:
        return replay_pb2.ResumeReplayResponse(
            replay=self._changed(request, replay_pb2.REPLAY_STATE_RUNNING)
        )

    def CancelReplay(self, request: Any, context: Any) -> Any:
        return replay_pb2.CancelReplayResponse(
            replay=self._changed(request, replay_pb2.REPLAY_STATE_CANCELLED)
        )

    def _changed(self, request: Any, state: "replay_pb2.ReplayState.ValueType") -> Any:
        self.changes.append(request)
        self.replay.state = state
        return self.replay


class FakeShadows(shadows_pb2_grpc.ShadowServiceServicer):
    """Holds the shadows that were started, and gives what they decided one at a time."""

    RecordShadowDecision: Any = None

    def __init__(self) -> None:
        self.shadows: list[shadows_pb2.Shadow] = []
        self.decisions: list[shadows_pb2.ShadowDecision] = []
        self.started: list[shadows_pb2.StartShadowRequest] = []

    def StartShadow(self, request: Any, context: Any) -> Any:
        self.started.append(request)
        if any(one.active for one in self.shadows):
            fail(context, rpcerrors.FailedPreconditionError("another shadow decides"))
        shadow = shadows_pb2.Shadow(
            namespace=request.namespace,
            shadow_id="s-1",
            definition_id=request.definition_id,
            definition_version=request.definition_version,
            started_by="local/ann",
            reason=request.reason,
            expires_at=request.expires_at,
            max_runs=request.max_runs,
            active=True,
        )
        shadow.started_at.FromJsonString("2026-03-02T12:00:00Z")
        self.shadows.append(shadow)
        return shadows_pb2.StartShadowResponse(shadow=shadow)

    def StopShadow(self, request: Any, context: Any) -> Any:
        (shadow,) = self.shadows
        shadow.active = False
        shadow.stop_reason = request.reason
        shadow.stopped_at.FromJsonString("2026-03-02T13:00:00Z")
        return shadows_pb2.StopShadowResponse(shadow=shadow)

    def GetShadow(self, request: Any, context: Any) -> Any:
        return shadows_pb2.GetShadowResponse(shadow=self.shadows[0])

    def ListShadows(self, request: Any, context: Any) -> Any:
        return shadows_pb2.ListShadowsResponse(
            shadows=[
                one for one in self.shadows if request.definition_id in ("", one.definition_id)
            ]
        )

    def ListShadowDecisions(self, request: Any, context: Any) -> Any:
        at = int(request.page_token or 0)
        return shadows_pb2.ListShadowDecisionsResponse(
            decisions=self.decisions[at : at + 1],
            next_page_token=str(at + 1) if at + 1 < len(self.decisions) else "",
        )


BLOB_ID = "0b9b5ed4-6b0e-5c0a-9d52-0c5b8f1b6a01"


class FakeSubjects(subjects_pb2_grpc.SubjectServiceServicer):
    """Knows one person with one value, until they are erased."""

    KeepValues: Any = None
    ResolveValues: Any = None

    def __init__(self) -> None:
        self.erased: list[subjects_pb2.EraseSubjectRequest] = []
        self.revealed: list[subjects_pb2.RevealValuesRequest] = []
        self.left = 2

    def _subject(self) -> subjects_pb2.Subject:
        key = subjects_pb2.SubjectKey(values=1, data_key="" if self.erased else "k1")
        key.created_at.FromJsonString("2026-03-02T12:00:00Z")
        if self.erased:
            key.erased_at.FromJsonString("2026-03-03T12:00:00Z")
            key.erased_by, key.reason = "local/ann", self.erased[0].reason
        return subjects_pb2.Subject(subject_ref="r" * 26, keys=[key])

    def GetSubject(self, request: Any, context: Any) -> Any:
        if request.subject != "ada":
            fail(context, rpcerrors.NotFoundError("nothing was ever kept of this subject"))
        return subjects_pb2.GetSubjectResponse(subject=self._subject())

    def EraseSubject(self, request: Any, context: Any) -> Any:
        self.erased.append(request)
        return subjects_pb2.EraseSubjectResponse(
            subject=self._subject(), erased=len(self.erased) == 1
        )

    def RevealValues(self, request: Any, context: Any) -> Any:
        self.revealed.append(request)
        values = (
            []
            if self.erased
            else [subjects_pb2.ResolvedValue(blob_id=BLOB_ID, value=b'"ada@example.org"')]
        )
        return subjects_pb2.RevealValuesResponse(values=values)

    def ListReveals(self, request: Any, context: Any) -> Any:
        reveal = subjects_pb2.Reveal(
            blob_ids=[BLOB_ID], actor="local/ann", reason="a test", request_id="r"
        )
        reveal.revealed_at.FromJsonString("2026-03-02T12:00:00Z")
        return subjects_pb2.ListRevealsResponse(reveals=[reveal])

    def RewrapSubjectKeys(self, request: Any, context: Any) -> Any:
        self.left -= 1
        return subjects_pb2.RewrapSubjectKeysResponse(rewrapped=3, more=self.left > 0)


class FakeSwitches(switches_pb2_grpc.KillSwitchServiceServicer):
    """Keeps kill switches of two namespaces."""

    # What no command calls.
    SelectDefinitions: Any = None
    FindKillSwitch: Any = None

    def __init__(self) -> None:
        self.switches: list[switches_pb2.KillSwitch] = []

    def ThrowKillSwitch(self, request: Any, context: Any) -> Any:
        thrown = switches_pb2.KillSwitch(
            namespace=request.namespace,
            switch_id=f"s-{len(self.switches) + 1}",
            point=request.point,
            labels=request.labels,
            thrown_by="local/ann",
            reason=request.reason,
            definitions=2,
            selected=bool(request.labels),
        )
        thrown.thrown_at.FromJsonString("2026-03-02T12:00:00Z")
        self.switches.append(thrown)
        return switches_pb2.ThrowKillSwitchResponse(kill_switch=thrown)

    def ResetKillSwitch(self, request: Any, context: Any) -> Any:
        [found] = [
            one
            for one in self.switches
            if (one.namespace, one.switch_id) == (request.namespace, request.switch_id)
        ]
        found.reset_at.FromJsonString("2026-03-02T13:00:00Z")
        found.reset_by, found.reset_reason = "local/ann", request.reason
        return switches_pb2.ResetKillSwitchResponse(kill_switch=found)

    def ListKillSwitches(self, request: Any, context: Any) -> Any:
        return switches_pb2.ListKillSwitchesResponse(
            kill_switches=[
                one
                for one in self.switches
                if one.namespace == request.namespace
                and (request.with_reset or not one.HasField("reset_at"))
            ]
        )

    def ListServedNamespaces(self, request: Any, context: Any) -> Any:
        return switches_pb2.ListServedNamespacesResponse(namespaces=["dev", "prod"])


class FakeSchedules(schedules_pb2_grpc.ScheduleServiceServicer):
    """Takes what people ask of schedules; one definition is paused already."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.overdue: list[schedules_pb2.OverdueSchedule] = []
        self.explained = schedules_pb2.ExplainDueTimeResponse()

    def _state(self, request: Any) -> schedules_pb2.ScheduleState:
        state = schedules_pb2.ScheduleState(
            namespace=request.namespace,
            definition_id=request.definition_id,
            definition_version=3,
            trigger_names=["often"],
            enabled=True,
            waiting=2,
            open_run_ids=["a.b:2026-03-02T12:00:00Z"],
        )
        state.next_at.FromJsonString("2026-03-02T13:00:00Z")
        skip = state.skips.add(actor="local/ana", reason="a holiday")
        skip.due_at.FromJsonString("2026-03-02T14:00:00Z")
        return state

    def ListOverdueSchedules(self, request: Any, context: Any) -> Any:
        return schedules_pb2.ListOverdueSchedulesResponse(schedules=self.overdue)

    def GetSchedule(self, request: Any, context: Any) -> Any:
        return schedules_pb2.GetScheduleResponse(schedule=self._state(request))

    def PauseSchedule(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if request.definition_id == "is.paused":
            fail(context, rpcerrors.FailedPreconditionError("the schedules are paused by bo: why"))
        state = self._state(request)
        state.pause.paused_at.FromJsonString("2026-03-02T12:30:00Z")
        state.pause.paused_by, state.pause.reason = "local/ana", request.reason
        return schedules_pb2.PauseScheduleResponse(schedule=state)

    def ResumeSchedule(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return schedules_pb2.ResumeScheduleResponse(schedule=self._state(request))

    def TriggerSchedule(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        due = ledger_pb2.DueTime(
            outcome=ledger_pb2.DUE_OUTCOME_RUN, reason="asked for", run_id="a.b:now"
        )
        due.due_at.FromJsonString("2026-03-02T12:34:00Z")
        return schedules_pb2.TriggerScheduleResponse(due_time=due)

    def SkipNextDueTime(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        response = schedules_pb2.SkipNextDueTimeResponse()
        response.due_at.FromJsonString("2026-03-02T13:00:00Z")
        return response

    def ExplainDueTime(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return self.explained


class FakeBackfills(backfills_pb2_grpc.BackfillServiceServicer):
    """Keeps one backfill of two due times."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.backfill = backfills_pb2.Backfill()

    def PlanBackfill(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        self.backfill = backfills_pb2.Backfill(
            namespace=request.namespace,
            backfill_id=request.backfill_id,
            state=backfills_pb2.BACKFILL_STATE_PLANNED,
            definition_id=request.definition_id,
            definition_version=3,
            due_from=request.due_from,
            due_to=request.due_to,
            mode=request.mode,
            order=request.order,
            concurrency=request.concurrency,
            plan_hash="abc",
            due_times=2,
            starts=1,
            created_by="local/ann",
            created_reason=request.reason,
            tallies=[
                backfills_pb2.BackfillTally(outcome="planned", due_times=1),
                backfills_pb2.BackfillTally(outcome="left", standing="completed", due_times=1),
            ],
        )
        self.backfill.created_at.FromJsonString("2026-03-02T12:00:00Z")
        return backfills_pb2.PlanBackfillResponse(backfill=self.backfill)

    def GetBackfill(self, request: Any, context: Any) -> Any:
        return backfills_pb2.GetBackfillResponse(backfill=self.backfill)

    def ListBackfills(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        known = [self.backfill] if self.backfill.backfill_id else []
        return backfills_pb2.ListBackfillsResponse(backfills=known)

    def ListBackfillDueTimes(self, request: Any, context: Any) -> Any:
        at = int(request.page_token or 0)
        one = backfills_pb2.BackfillDueTime(
            ordinal=at,
            trigger_names=["hourly"],
            standing=("no_run", "completed")[at],
            step=("start", "leave")[at],
            run_id=f"a.b:2026-03-02T1{at}:00:00Z",
            outcome=("planned", "left")[at],
            told=("it has no run", "it has run, and an instant runs once")[at],
        )
        one.due_at.FromJsonString(f"2026-03-02T1{at}:00:00Z")
        return backfills_pb2.ListBackfillDueTimesResponse(
            due_times=[one], next_page_token="" if at else "1"
        )

    def _changed(self, request: Any, state: Any) -> Any:
        self.asked.append(request)
        self.backfill.state = state
        self.backfill.changed_by, self.backfill.changed_reason = "local/ann", request.reason
        self.backfill.changed_at.FromJsonString("2026-03-02T13:00:00Z")
        return self.backfill

    def ApplyBackfill(self, request: Any, context: Any) -> Any:
        changed = self._changed(request, backfills_pb2.BACKFILL_STATE_RUNNING)
        return backfills_pb2.ApplyBackfillResponse(backfill=changed)

    def PauseBackfill(self, request: Any, context: Any) -> Any:
        changed = self._changed(request, backfills_pb2.BACKFILL_STATE_PAUSED)
        return backfills_pb2.PauseBackfillResponse(backfill=changed)

    def ResumeBackfill(self, request: Any, context: Any) -> Any:
        changed = self._changed(request, backfills_pb2.BACKFILL_STATE_RUNNING)
        return backfills_pb2.ResumeBackfillResponse(backfill=changed)

    def CancelBackfill(self, request: Any, context: Any) -> Any:
        changed = self._changed(request, backfills_pb2.BACKFILL_STATE_CANCELLED)
        return backfills_pb2.CancelBackfillResponse(backfill=changed)


class FakeScheduleStates(registry_schedules_pb2_grpc.ScheduleServiceServicer):
    """Holds what a test puts here; lists two at a time."""

    def __init__(self) -> None:
        self.listed: list[registry_schedules_pb2.ListSchedulesRequest] = []
        self.schedules: list[registry_schedules_pb2.Schedule] = []
        self.full = registry_schedules_pb2.GetScheduleResponse()
        self.drifts: list[registry_schedules_pb2.ScheduleDrift] = []

    def ListSchedules(self, request: Any, context: Any) -> Any:
        self.listed.append(request)
        at = int(request.page_token or 0)
        end = at + min(2, request.page_size)
        return registry_schedules_pb2.ListSchedulesResponse(
            schedules=self.schedules[at:end],
            next_page_token=str(end) if end < len(self.schedules) else "",
        )

    def GetSchedule(self, request: Any, context: Any) -> Any:
        if request.definition_id != self.full.schedule.definition_id:
            fail(context, rpcerrors.NotFoundError(f"there is no {request.definition_id!r}"))
        return self.full

    def ListScheduleDrifts(self, request: Any, context: Any) -> Any:
        status = registry_schedules_pb2.ReconcilerStatus(leader="one", term=7)
        return registry_schedules_pb2.ListScheduleDriftsResponse(
            drifts=self.drifts[: request.page_size], reconciler=status
        )


class FakeTaskQueues(task_queues_pb2_grpc.TaskQueueServiceServicer):
    """Holds what a test puts here."""

    def __init__(self) -> None:
        self.answer = task_queues_pb2.ListTaskQueuesResponse()

    def ListTaskQueues(self, request: Any, context: Any) -> Any:
        return self.answer


class Services:
    """The fakes, served on one port."""

    def __init__(self, registry: Any) -> None:
        self.registry = registry
        self.router = FakeRouter()
        self.ledger = FakeLedger()
        self.decisions = FakeDecisions()
        self.control = FakeControl()
        self.instances = FakeInstances()
        self.replays = FakeReplays()
        self.shadows = FakeShadows()
        self.subjects = FakeSubjects()
        self.schedules = FakeSchedules()
        self.switches = FakeSwitches()
        self.backfills = FakeBackfills()
        self.schedule_states = FakeScheduleStates()
        self.task_queues = FakeTaskQueues()
        self.health = HealthServicer()
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(self.registry, self._server)
        router_pb2_grpc.add_RouterServiceServicer_to_server(self.router, self._server)
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server(self.ledger, self._server)
        ledger_pb2_grpc.add_TaskServiceServicer_to_server(self.ledger, self._server)
        routing_pb2_grpc.add_RoutingServiceServicer_to_server(self.decisions, self._server)
        control_pb2_grpc.add_ControlServiceServicer_to_server(self.control, self._server)
        instances_pb2_grpc.add_InstanceServiceServicer_to_server(self.instances, self._server)
        replay_pb2_grpc.add_ReplayServiceServicer_to_server(self.replays, self._server)
        subjects_pb2_grpc.add_SubjectServiceServicer_to_server(self.subjects, self._server)
        shadows_pb2_grpc.add_ShadowServiceServicer_to_server(self.shadows, self._server)
        schedules_pb2_grpc.add_ScheduleServiceServicer_to_server(self.schedules, self._server)
        switches_pb2_grpc.add_KillSwitchServiceServicer_to_server(self.switches, self._server)
        backfills_pb2_grpc.add_BackfillServiceServicer_to_server(self.backfills, self._server)
        registry_schedules_pb2_grpc.add_ScheduleServiceServicer_to_server(
            self.schedule_states, self._server
        )
        task_queues_pb2_grpc.add_TaskQueueServiceServicer_to_server(self.task_queues, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        self._empty = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
        self.empty_address = f"127.0.0.1:{self._empty.add_insecure_port('127.0.0.1:0')}"
        self._empty.start()

    def stop(self) -> None:
        self._server.stop(None).wait()
        self._empty.stop(None).wait()


@pytest.fixture
def services(fake_registry: Any) -> Iterator[Services]:
    """Fakes that answer."""
    running = Services(fake_registry)
    yield running
    running.stop()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder without a stack, and no `BACKBONE_*` in the environment."""
    for name in list(os.environ):
        if name.startswith("BACKBONE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stack(nowhere: Path, services: Services) -> Path:
    """A folder with the file that a running stack writes, naming the fakes."""
    state = nowhere / ".backbone"
    state.mkdir()
    (state / "env").write_text(
        f"BACKBONE_REGISTRY_ADDRESS={services.address}\n"
        f"BACKBONE_LEDGER_ADDRESS={services.address}\n"
        f"BACKBONE_ROUTER_ADDRESS={services.address}\n"
    )
    return nowhere


Backbone = Callable[..., Result]


@pytest.fixture
def backbone() -> Backbone:
    """The command: `backbone("runs", "-o", "json").stdout`."""

    def run(*arguments: str, stdin: bytes | str | None = None) -> Result:
        result: Result = CliRunner().invoke(app, list(arguments), input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        return result

    return run


@pytest.fixture
def document() -> Callable[..., str]:
    """Makes documents as the fake registry reads them: `document("a.b", every=5)`."""

    def make(name: str, *, kind: str = "ActivityDefinition", owner: str = "me", **more: Any) -> str:
        top = {key: more.pop(key) for key in ("broken", "uses") if key in more}
        metadata = {"id": name, "namespace": more.pop("namespace", "dev"), "owner": owner}
        return json.dumps({"kind": kind, "metadata": metadata, "spec": more, **top}, indent=1)

    return make


@pytest.fixture
def folder(stack: Path, document: Callable[..., str]) -> Path:
    """Three definitions, and what is none."""
    folder = stack / "definitions"
    (folder / "deeper").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "a.yml").write_text(document("a.first"))
    (folder / "b.json").write_text(document("b.second", owner="you"))
    (folder / "deeper" / "c.yaml").write_text(document("c.third"))
    (folder / "README.md").write_text("not a definition")
    (folder / ".git" / "config.yaml").write_text("not a definition either")
    return folder
