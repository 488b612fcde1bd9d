"""Shadows as the commands see them: one method a call, messages out, errors as sentences."""

from collections.abc import AsyncGenerator
from datetime import datetime

from backbone.ledger.v1 import shadows_pb2, shadows_pb2_grpc
from cli import stamps
from cli.calls import Calls
from contracts import definitions
from rules.backtests import Version

_PAGE = 200


class Shadows(Calls["shadows_pb2_grpc.ShadowServiceAsyncStub"]):
    """The calls about shadows for one namespace. Every method raises CliError."""

    stub = shadows_pb2_grpc.ShadowServiceStub

    async def start(
        self, version: Version, *, max_runs: int, expires_at: datetime, request_id: str, reason: str
    ) -> shadows_pb2.Shadow:
        """Let a version decide beside each run from now on."""
        request = shadows_pb2.StartShadowRequest(
            namespace=self._namespace,
            definition_id=version.definition.metadata.id,
            definition_version=version.number,
            content=definitions.content(version.definition),
            max_runs=max_runs,
            expires_at=stamps.stamp(expires_at),
            request_id=request_id,
            reason=reason,
        )
        return (await self._ask(self._stub.StartShadow(request))).shadow

    async def stop(self, definition_id: str, *, reason: str) -> shadows_pb2.Shadow:
        """Let the shadow of a definition decide nothing more."""
        request = shadows_pb2.StopShadowRequest(
            namespace=self._namespace, definition_id=definition_id, reason=reason
        )
        return (await self._ask(self._stub.StopShadow(request))).shadow

    async def list(self, *, definition_id: str = "") -> list[shadows_pb2.Shadow]:
        """Return the last shadow of each definition, or of one."""
        request = shadows_pb2.ListShadowsRequest(
            namespace=self._namespace, page_size=_PAGE, definition_id=definition_id
        )
        found: list[shadows_pb2.Shadow] = []
        while True:
            page = await self._ask(self._stub.ListShadows(request))
            found.extend(page.shadows)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def decisions(self, shadow_id: str) -> AsyncGenerator[shadows_pb2.ShadowDecision, None]:
        """Return what a shadow decided, newest first."""
        request = shadows_pb2.ListShadowDecisionsRequest(
            namespace=self._namespace, shadow_id=shadow_id, page_size=_PAGE
        )
        while True:
            page = await self._ask(self._stub.ListShadowDecisions(request))
            for decision in page.decisions:
                yield decision
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
