"""Schedules as the commands see them: one method a call, messages out, errors as sentences."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from backbone.ledger.v1 import ledger_pb2, schedules_pb2, schedules_pb2_grpc
from cli import stamps
from cli.calls import Calls


class Schedules(Calls["schedules_pb2_grpc.ScheduleServiceAsyncStub"]):
    """The calls about schedules for one namespace. Every method raises CliError."""

    stub = schedules_pb2_grpc.ScheduleServiceStub

    async def pause(
        self, definition_id: str, *, request_id: str, reason: str
    ) -> schedules_pb2.ScheduleState:
        """Hold a definition's schedules."""
        request = schedules_pb2.PauseScheduleRequest(
            namespace=self._namespace,
            definition_id=definition_id,
            request_id=request_id,
            reason=reason,
        )
        return (await self._ask(self._stub.PauseSchedule(request))).schedule

    async def resume(
        self, definition_id: str, *, request_id: str, reason: str
    ) -> schedules_pb2.ScheduleState:
        """Let held schedules go on."""
        request = schedules_pb2.ResumeScheduleRequest(
            namespace=self._namespace,
            definition_id=definition_id,
            request_id=request_id,
            reason=reason,
        )
        return (await self._ask(self._stub.ResumeSchedule(request))).schedule

    async def trigger(
        self,
        definition_id: str,
        *,
        trigger_name: str,
        overlap: "schedules_pb2.OverlapPolicy.ValueType",
        request_id: str,
        reason: str,
    ) -> ledger_pb2.DueTime:
        """Have a trigger be due now."""
        request = schedules_pb2.TriggerScheduleRequest(
            namespace=self._namespace,
            definition_id=definition_id,
            trigger_name=trigger_name,
            overlap=overlap,
            request_id=request_id,
            reason=reason,
        )
        return (await self._ask(self._stub.TriggerSchedule(request))).due_time

    async def skip_next(
        self, definition_id: str, *, request_id: str, reason: str
    ) -> schedules_pb2.SkipNextDueTimeResponse:
        """Let the next due time not run."""
        request = schedules_pb2.SkipNextDueTimeRequest(
            namespace=self._namespace,
            definition_id=definition_id,
            request_id=request_id,
            reason=reason,
        )
        return await self._ask(self._stub.SkipNextDueTime(request))

    async def get(self, definition_id: str) -> schedules_pb2.ScheduleState:
        """Return how a definition's schedules stand."""
        request = schedules_pb2.GetScheduleRequest(
            namespace=self._namespace, definition_id=definition_id
        )
        return (await self._ask(self._stub.GetSchedule(request))).schedule

    async def explain(
        self, definition_id: str, at: datetime
    ) -> schedules_pb2.ExplainDueTimeResponse:
        """Say what became of an instant."""
        request = schedules_pb2.ExplainDueTimeRequest(
            namespace=self._namespace, definition_id=definition_id, at=stamps.stamp(at)
        )
        return await self._ask(self._stub.ExplainDueTime(request))

    async def overdue(
        self, *, min_age: timedelta, limit: int
    ) -> Sequence[schedules_pb2.OverdueSchedule]:
        """Return at most `limit` definitions that are due for longer than `min_age`."""
        waited = Duration()
        waited.FromTimedelta(min_age)
        request = schedules_pb2.ListOverdueSchedulesRequest(
            namespace=self._namespace, min_age=waited, page_size=limit
        )
        return (await self._ask(self._stub.ListOverdueSchedules(request))).schedules
