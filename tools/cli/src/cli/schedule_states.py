"""How schedules stand, as the commands see it: one method a call, errors as sentences."""

from backbone.registry.v1 import schedules_pb2, schedules_pb2_grpc
from cli import paging
from cli.calls import Calls


class ScheduleStates(Calls["schedules_pb2_grpc.ScheduleServiceAsyncStub"]):
    """The calls about schedules of one namespace. Every method raises CliError."""

    stub = schedules_pb2_grpc.ScheduleServiceStub

    async def page(self, *, state: str, limit: int) -> list[schedules_pb2.Schedule]:
        """Return at most `limit` definitions that a clock wakes, by id."""
        request = schedules_pb2.ListSchedulesRequest(
            namespace=self._namespace,
            state=schedules_pb2.ScheduleState.Value(f"SCHEDULE_STATE_{state.upper()}"),
        )
        return await paging.gathered(
            request,
            lambda: self._ask(self._stub.ListSchedules(request)),
            items=lambda page: page.schedules,
            limit=limit,
        )

    async def get(self, definition_id: str) -> schedules_pb2.GetScheduleResponse:
        """Return one definition's, looked at in Temporal; NotFoundError when there is none."""
        request = schedules_pb2.GetScheduleRequest(
            namespace=self._namespace, definition_id=definition_id
        )
        return await self._ask(self._stub.GetSchedule(request))

    async def drifts(self, *, limit: int) -> schedules_pb2.ListScheduleDriftsResponse:
        """Return the newest of what was changed by hand, at most `limit` of them up to 50."""
        request = schedules_pb2.ListScheduleDriftsRequest(
            namespace=self._namespace, page_size=limit
        )
        return await self._ask(self._stub.ListScheduleDrifts(request))
