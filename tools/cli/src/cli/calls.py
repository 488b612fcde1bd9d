"""What the calls to a service have in common: a stub, the namespace, and errors as sentences."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Generic, TypeVar

import grpc

from cli.errors import CliError

S = TypeVar("S")
T = TypeVar("T")


class Calls(Generic[S]):
    """The calls of one stub, of type S, for one namespace. Every method raises CliError."""

    stub: ClassVar[type[Any]]
    """The generated class of the stub."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        namespace: str,
        explain: Callable[[grpc.aio.AioRpcError], CliError],
    ) -> None:
        """`explain` makes the sentence of what a call failed with."""
        self._stub: S = self.stub(channel)
        self._namespace = namespace
        self._explain = explain

    async def _ask(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as exc:
            raise self._explain(exc) from exc
