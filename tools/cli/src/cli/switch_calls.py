"""Kill switches as the commands see them: messages out, errors as sentences."""

from collections.abc import Mapping

from backbone.ledger.v1 import switches_pb2, switches_pb2_grpc
from cli import paging
from cli.calls import Calls
from contracts.switches import Point

POINTS: Mapping[Point, switches_pb2.KillSwitchPoint.ValueType] = {
    Point.INGRESS: switches_pb2.KILL_SWITCH_POINT_INGRESS,
    Point.RUN: switches_pb2.KILL_SWITCH_POINT_RUN,
    Point.EFFECT: switches_pb2.KILL_SWITCH_POINT_EFFECT,
}


class Switches(Calls["switches_pb2_grpc.KillSwitchServiceAsyncStub"]):
    """The calls about kill switches for one namespace. Every method raises CliError."""

    stub = switches_pb2_grpc.KillSwitchServiceStub

    async def throw(
        self, point: Point, labels: Mapping[str, str], *, request_id: str, reason: str
    ) -> switches_pb2.KillSwitch:
        """Stop the namespace, or its definitions with all of `labels`, at a point."""
        request = switches_pb2.ThrowKillSwitchRequest(
            namespace=self._namespace,
            point=POINTS[point],
            labels=labels,
            request_id=request_id,
            reason=reason,
        )
        return (await self._ask(self._stub.ThrowKillSwitch(request))).kill_switch

    async def reset(
        self, switch_id: str, *, request_id: str, reason: str
    ) -> switches_pb2.KillSwitch:
        """Let what a switch stopped go on."""
        request = switches_pb2.ResetKillSwitchRequest(
            namespace=self._namespace, switch_id=switch_id, request_id=request_id, reason=reason
        )
        return (await self._ask(self._stub.ResetKillSwitch(request))).kill_switch

    async def page(self, *, with_reset: bool, limit: int) -> list[switches_pb2.KillSwitch]:
        """Return at most `limit` switches, the newest first."""
        request = switches_pb2.ListKillSwitchesRequest(
            namespace=self._namespace, with_reset=with_reset
        )
        return await paging.gathered(
            request,
            lambda: self._ask(self._stub.ListKillSwitches(request)),
            items=lambda page: page.kill_switches,
            limit=limit,
        )

    async def namespaces(self) -> list[str]:
        """Return the namespaces that the ledger serves and that the caller may ask for."""
        request = switches_pb2.ListServedNamespacesRequest(namespace=self._namespace)
        return list((await self._ask(self._stub.ListServedNamespaces(request))).namespaces)
