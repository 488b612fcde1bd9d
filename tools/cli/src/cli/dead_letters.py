"""Dead letters as the commands see them: one method a call, messages out, errors as sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from backbone.router.v1 import router_pb2 as pb
from backbone.router.v1 import router_pb2_grpc
from cli import paging
from cli.calls import Calls

_PAGE = 200
_ROUTED = 100  # dead letters that one call routes
_TIMEOUT_S = 60.0  # of a call that routes or looks at many


@dataclass(frozen=True)
class Order:
    """What is to be done with which dead letters, and why. A dry run does nothing."""

    filter: pb.DeadLetterFilter
    dry_run: bool
    request_id: str
    reason: str
    limit: int


class DeadLetters(Calls["router_pb2_grpc.RouterServiceAsyncStub"]):
    """The calls about the dead letters of one namespace. Every method raises CliError."""

    stub = router_pb2_grpc.RouterServiceStub

    async def list(self, wanted: pb.DeadLetterFilter, *, limit: int) -> list[pb.DeadLetter]:
        """Return at most `limit` dead letters, the oldest first."""
        request = pb.ListDeadLettersRequest(
            namespace=self._namespace,
            filter=wanted,
        )
        return await paging.gathered(
            request,
            lambda: self._ask(self._stub.ListDeadLetters(request, timeout=_TIMEOUT_S)),
            items=lambda page: page.dead_letters,
            limit=limit,
        )

    async def get(
        self, partition: int, offset: int, *, reveal: bool, reason: str, request_id: str
    ) -> pb.GetDeadLetterResponse:
        """Return one dead letter; revealed, it has the sender's record."""
        request = pb.GetDeadLetterRequest(
            namespace=self._namespace,
            place=pb.Place(partition=partition, offset=offset),
            reveal=reveal,
            reason=reason,
            request_id=request_id,
        )
        return await self._ask(self._stub.GetDeadLetter(request))

    async def redrive(self, order: Order) -> tuple[Sequence[pb.Redriven], bool]:
        """Route dead letters again; return what became of them, and whether there may be more."""
        found: list[pb.Redriven] = []
        token = ""
        while True:
            request = pb.RedriveDeadLettersRequest(
                namespace=self._namespace,
                filter=order.filter,
                dry_run=order.dry_run,
                request_id=order.request_id,
                reason=order.reason,
                limit=min(_ROUTED, order.limit - len(found)),
                page_token=token,
            )
            page = await self._ask(self._stub.RedriveDeadLetters(request, timeout=_TIMEOUT_S))
            found.extend(page.redriven)
            token = page.next_page_token
            if not token or len(found) >= order.limit:
                return found, bool(token)

    async def discard(self, order: Order) -> tuple[Sequence[pb.DeadLetter], bool]:
        """Give dead letters up; return them, and whether there may be more."""
        found: list[pb.DeadLetter] = []
        token = ""
        while True:
            request = pb.DiscardDeadLettersRequest(
                namespace=self._namespace,
                filter=order.filter,
                dry_run=order.dry_run,
                request_id=order.request_id,
                reason=order.reason,
                limit=min(_PAGE, order.limit - len(found)),
                page_token=token,
            )
            page = await self._ask(self._stub.DiscardDeadLetters(request, timeout=_TIMEOUT_S))
            found.extend(page.discarded)
            token = page.next_page_token
            if not token or len(found) >= order.limit:
                return found, bool(token)
