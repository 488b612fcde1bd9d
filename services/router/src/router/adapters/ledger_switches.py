"""Which definitions the labels of kill switches select, told to the ledger."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import grpc

from backbone.ledger.v1 import switches_pb2 as pb
from backbone.ledger.v1 import switches_pb2_grpc
from router.errors import TransientError
from runtime.faultpoints import faultpoint


class LedgerKillSwitchSelections:
    """`ports.KillSwitchSelections` in the ledger."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout: timedelta) -> None:
        # Its async form is told by the channel; the stubs' overloads need the annotation.
        self._stub: switches_pb2_grpc.KillSwitchServiceAsyncStub = (
            switches_pb2_grpc.KillSwitchServiceStub(channel)
        )
        self._timeout_s = timeout.total_seconds()

    async def select(
        self, namespace: str, selected: Mapping[str, Sequence[str]], *, revision: int
    ) -> None:
        """Tell the definitions that each switch selects."""
        request = pb.SelectDefinitionsRequest(
            namespace=namespace,
            registry_revision=revision,
            selections=[
                pb.DefinitionSelection(switch_id=switch_id, definition_ids=definition_ids)
                for switch_id, definition_ids in selected.items()
            ],
        )
        try:
            faultpoint("router.before_select_definitions")
            await self._stub.SelectDefinitions(request, timeout=self._timeout_s)
            faultpoint("router.after_select_definitions")
        except grpc.aio.AioRpcError as exc:
            raise TransientError(f"the ledger: {exc.code().name}: {exc.details()}") from exc
