"""HTTP connections of strangers, bounded: in number, and in the time that each may do nothing.

uvicorn waits for ever for the rest of a request's head, for a body that nobody reads, and for a
client that does not read its answer; a few thousand such connections cost their owner nothing.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from runtime import logs

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Limits:
    """What connections may take.

    Beyond `connections` the one that has waited longest without a request is closed for a new one;
    the new one is, when all of them are being answered. `head_time` is for a request's head, from
    the connection or the answer before it; `unread_time` is how long an answer may find no reader.
    """

    connections: int = 1000
    head_bytes: int = 16 * 1024
    head_time: timedelta = timedelta(seconds=10)
    unread_time: timedelta = timedelta(seconds=30)


DEFAULT = Limits()


def bounded(limits: Limits) -> type[H11Protocol]:
    """Return uvicorn's protocol within `limits`, for the connections of one server."""
    idle: dict[H11Protocol, None] = {}

    class Bounded(H11Protocol):
        """One connection."""

        _head: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections and not _make_room(idle):
                _log.warning("http_connection_refused", connections=limits.connections)
                transport.abort()
                return
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_waiting()
            _cancel(self._unread)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()

        def on_response_complete(self) -> None:
            # A request that came behind may be answered at once: then nothing is waited for.
            super().on_response_complete()
            if self.cycle.response_complete:
                self._wait()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(
                limits.unread_time.total_seconds(), self.transport.abort
            )

        def resume_writing(self) -> None:
            super().resume_writing()
            _cancel(self._unread)

        def _wait(self) -> None:
            """Wait for a request's head; what comes of it byte by byte gains no time."""
            self._stop_waiting()
            idle[self] = None
            self._head = self.loop.call_later(
                limits.head_time.total_seconds(), self.transport.close
            )

        def _stop_waiting(self) -> None:
            idle.pop(self, None)
            _cancel(self._head)

    return Bounded


def _make_room(idle: dict[H11Protocol, None]) -> bool:
    """Close the connection that has waited longest; False when none waits."""
    longest = next(iter(idle), None)
    if longest is None:
        return False
    del idle[longest]
    longest.transport.abort()
    return True


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
