# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.LedgerService`: reads a request, calls a use case, tells the answer."""

from typing import Any

import grpc

from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts import canonical
from contracts.roles import Role
from ledger.adapters import messages, pages, requests
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.requests import RequestReader
from ledger.errors import InvalidRequestError
from ledger.service.control import ControlLedger
from ledger.service.overviews import HOUR, Overviews
from ledger.service.redactions import Redactions
from ledger.service.runs import RunLedger
from ledger.service.schedules import ScheduleLedger
from runtime import authorisation, identity

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["LedgerService"].full_name

POLICY = authorisation.policy(
    NAME,
    {
        "RecordRun": {Role.SERVICE},
        "RecordRunFailure": {Role.SERVICE},
        "RecordTaskOutcome": {Role.SERVICE, Role.TASK_WORKER},
        "PutSchedule": {Role.SERVICE},
        "AdvanceSchedule": {Role.SERVICE},
        "AcknowledgeRuns": {Role.SERVICE},
        "GetRun": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "GetLastRun": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "RedactSnapshot": {Role.OPERATOR},
        "ListRuns": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "ListDueTimes": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "GetOverview": {Role.VIEWER, Role.OPERATOR},
    },
)

_RUN_STATUS_OF = {message: status for status, message in messages.RUN_STATUS.items()}


class LedgerServicer(pb_grpc.LedgerServiceServicer):
    """The ledger, as services and viewers call it."""

    def __init__(
        self,
        *,
        runs: RunLedger,
        redactions: Redactions,
        control: ControlLedger,
        schedules: ScheduleLedger,
        overviews: Overviews,
        reader: RequestReader,
    ) -> None:
        self._runs = runs
        self._redactions = redactions
        self._control = control
        self._schedules = schedules
        self._overviews = overviews
        self._reader = reader

    async def RecordRun(
        self, request: pb.RecordRunRequest, context: Context
    ) -> pb.RecordRunResponse:
        """Record a decided run."""
        with as_statuses():
            recorded = await self._runs.record_run(self._reader.recording(request))
        return pb.RecordRunResponse(
            outcome=messages.RECORD_OUTCOME[recorded.outcome],
            decision=recorded.decision,
            shadow_id=recorded.shadow_id or "",
            effects_halted=recorded.effects_halted,
        )

    async def RecordRunFailure(
        self, request: pb.RecordRunFailureRequest, context: Context
    ) -> pb.RecordRunFailureResponse:
        """Record that a run could not decide."""
        with as_statuses():
            outcome = await self._runs.record_run_failure(
                self._reader.occasion(request),
                requests.failure(request.failure),
                actor=identity.current_identity().subject,
                unattended=request.unattended,
            )
        return pb.RecordRunFailureResponse(outcome=messages.RECORD_OUTCOME[outcome])

    async def RecordTaskOutcome(
        self, request: pb.RecordTaskOutcomeRequest, context: Context
    ) -> pb.RecordTaskOutcomeResponse:
        """Record the outcome of an automated task."""
        with as_statuses():
            recorded, status = await self._runs.record_task_outcome(
                namespace=self._reader.namespace(request.namespace),
                run_id=requests.run_id(request.run_id),
                task_id=requests.task_id(request.task_id),
                done=requests.done(request),
                generation=request.generation or None,
                actor=identity.current_identity().subject,
            )
        return pb.RecordTaskOutcomeResponse(recorded=recorded, status=messages.TASK_STATUS[status])

    async def PutSchedule(
        self, request: pb.PutScheduleRequest, context: Context
    ) -> pb.PutScheduleResponse:
        """Put a new epoch of schedules in force."""
        with as_statuses():
            changed = await self._schedules.put(
                namespace=self._reader.namespace(request.namespace),
                definition_id=requests.definition(request.definition_id),
                epoch=self._reader.epoch(request),
                reason=requests.optional_text("reason", request.reason),
                actor=identity.current_identity().subject,
            )
        return pb.PutScheduleResponse(changed=changed)

    async def AdvanceSchedule(
        self, request: pb.AdvanceScheduleRequest, context: Context
    ) -> pb.AdvanceScheduleResponse:
        """Account for every due time up to now."""
        with as_statuses():
            woken_for = (
                requests.moment("woken_for", request.woken_for)
                if request.HasField("woken_for")
                else None
            )
            advanced = await self._schedules.advance(
                namespace=self._reader.namespace(request.namespace),
                definition_id=requests.definition(request.definition_id),
                woken_for=woken_for,
            )
        response = pb.AdvanceScheduleResponse(
            runs=[
                pb.DueRun(
                    run_id=run.run_id,
                    task_queue=run.task_queue,
                    trigger=canonical.render(run.trigger),
                )
                for run in advanced.runs
            ]
        )
        if advanced.next_at is not None:
            response.next_at.FromDatetime(advanced.next_at)
        return response

    async def AcknowledgeRuns(
        self, request: pb.AcknowledgeRunsRequest, context: Context
    ) -> pb.AcknowledgeRunsResponse:
        """Take note that due runs were started."""
        with as_statuses():
            if len(request.run_ids) > requests.MAX_ACKNOWLEDGED:
                raise InvalidRequestError(
                    f"{len(request.run_ids)} runs, more than the {requests.MAX_ACKNOWLEDGED} "
                    "that one call acknowledges"
                )
            await self._schedules.acknowledge(
                namespace=self._reader.namespace(request.namespace),
                definition_id=requests.definition(request.definition_id),
                run_ids=[requests.run_id(run_id) for run_id in request.run_ids],
            )
        return pb.AcknowledgeRunsResponse()

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        """Tell everything of a run."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            run_id = requests.run_id(request.run_id)
            found = await self._runs.get_run(namespace=namespace, run_id=run_id)
            calls, retries = await self._control.history_of(namespace=namespace, run_id=run_id)
        return pb.GetRunResponse(
            run=messages.run(found.run),
            trigger=found.trigger,
            snapshot=found.snapshot,
            decision=found.decision,
            tasks=[messages.task(row) for row in found.tasks],
            failure_calls=[messages.failure_call(row) for row in calls],
            retries=[messages.run_retry(row) for row in retries],
            state_before=found.state_before,
            state_after=found.state_after,
        )

    async def GetLastRun(
        self, request: pb.GetLastRunRequest, context: Context
    ) -> pb.GetLastRunResponse:
        """Tell the newest run of a definition besides one."""
        with as_statuses():
            found = await self._runs.last_run(
                namespace=self._reader.namespace(request.namespace),
                definition_id=requests.definition(request.definition_id),
                other_than=requests.optional_text(
                    "other_than_run_id", request.other_than_run_id, requests.MAX_RUN_ID_LENGTH
                ),
                status=requests.one_of("status", request.status, _RUN_STATUS_OF),
            )
        return messages.last_run(found)

    async def RedactSnapshot(
        self, request: pb.RedactSnapshotRequest, context: Context
    ) -> pb.RedactSnapshotResponse:
        """Replace fields of a run's snapshot by marks."""
        with as_statuses():
            left = await self._redactions.redact_snapshot(
                namespace=self._reader.namespace(request.namespace),
                run_id=requests.run_id(request.run_id),
                fields=requests.fields(request.fields),
                request_id=requests.request_id(request.request_id),
                actor=identity.current_identity().subject,
                reason=requests.text("reason", request.reason),
            )
        return pb.RedactSnapshotResponse(snapshot=left)

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        """List runs, newest first."""
        with as_statuses():
            size = pages.size(request.page_size)
            filters = (
                *("runs", request.namespace, request.definition_id, str(request.status)),
                *(request.correlation_id, request.subject),
            )
            if request.correlation_id and request.subject:
                raise InvalidRequestError("give either a correlation_id or a subject")
            rows, last = pages.split(
                await self._runs.list_runs(
                    namespace=self._reader.namespace(request.namespace),
                    before=pages.position(request.page_token, *filters),
                    definition_id=requests.definition(request.definition_id)
                    if request.definition_id
                    else None,
                    status=requests.one_of("status", request.status, _RUN_STATUS_OF),
                    correlation_id=requests.optional_text("correlation_id", request.correlation_id)
                    or None,
                    subject=requests.optional_text("subject", request.subject) or None,
                    limit=size + 1,
                ),
                size,
            )
        return pb.ListRunsResponse(
            runs=[messages.run(row) for row in rows],
            next_page_token=pages.token(str(last.position), *filters) if last else "",
        )

    async def ListDueTimes(
        self, request: pb.ListDueTimesRequest, context: Context
    ) -> pb.ListDueTimesResponse:
        """List accounted due times, newest first."""
        with as_statuses():
            size = pages.size(request.page_size)
            since = requests.moment("since", request.since) if request.HasField("since") else None
            filters = ("due-times", request.namespace, request.definition_id, str(since))
            rows, last = pages.split(
                await self._schedules.list_due_times(
                    namespace=self._reader.namespace(request.namespace),
                    definition_id=requests.definition(request.definition_id),
                    before=pages.instant(request.page_token, *filters),
                    since=since,
                    limit=size + 1,
                ),
                size,
            )
        return pb.ListDueTimesResponse(
            due_times=[messages.due_time(row) for row in rows],
            next_page_token=pages.token(last.due_at.isoformat(), *filters) if last else "",
        )

    async def GetOverview(
        self, request: pb.GetOverviewRequest, context: Context
    ) -> pb.GetOverviewResponse:
        """Tell what ran, what waits, what failed and what is late."""
        with as_statuses():
            found = await self._overviews.look(
                namespace=self._reader.namespace(request.namespace),
                back=requests.any_duration("since", request.since)
                if request.HasField("since")
                else HOUR,
            )
        return messages.overview(found)
