"""The life of a process: components start in order, a signal or a failure ends them in reverse.

The order of the end is what keeps promises: not ready first, then stop taking work, then let work
in flight end, then close what it used.
"""

import abc
import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol, runtime_checkable

from runtime import logs
from runtime.httpserver import Health

_log = logs.get_logger(__name__)


class Component(Protocol):
    """A part of a process with a beginning and an end."""

    name: str

    async def start(self) -> None:
        """Begin; return when begun."""
        ...

    async def stop(self) -> None:
        """End: finish work in flight and release everything. Called once, after a start."""
        ...


@runtime_checkable
class Running(Protocol):
    """A component that works in the background and can fail there."""

    async def wait(self) -> None:
        """Return or raise when the background work has ended by itself."""
        ...


class Process:
    """Runs components from start to SIGTERM or SIGINT."""

    def __init__(
        self, components: Sequence[Component], *, health: Health, grace: timedelta
    ) -> None:
        """Run `components`; each has `grace` to stop before it is abandoned."""
        self._components = components
        self._health = health
        self._grace = grace.total_seconds()

    async def run(self) -> None:
        """Start, wait for the end, stop.

        Raises:
            Exception: what made a component's start or background work fail.
        """
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        started: list[Component] = []
        try:
            for component in self._components:
                # A signal during start-up must not wait for a neighbour that never comes.
                if not await _unless(ending, component.start()):
                    return
                started.append(component)
            self._health.set_serving(True)
            _log.info("ready")
            await self._until_end(ending, started)
        finally:
            self._health.set_serving(False)
            _log.info("stopping")
            for component in reversed(started):
                await self._stop(component)
            _log.info("stopped")

    async def _until_end(self, ending: asyncio.Event, started: Sequence[Component]) -> None:
        waits = {
            asyncio.create_task(component.wait(), name=component.name)
            for component in started
            if isinstance(component, Running)
        }
        signalled = asyncio.create_task(ending.wait(), name="signal")
        done, rest = await asyncio.wait({signalled, *waits}, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for task in done - {signalled}:
            _log.error("component_ended", component=task.get_name())
            task.result()
            raise RuntimeError(f"{task.get_name()} ended by itself")

    async def _stop(self, component: Component) -> None:
        try:
            async with asyncio.timeout(self._grace):
                await component.stop()
        except TimeoutError:
            _log.warning("component_abandoned", component=component.name, after_s=self._grace)
        except Exception:  # noqa: BLE001 - the others still have to stop
            _log.exception("component_stop_failed", component=component.name)


async def _unless(ending: asyncio.Event, work: Awaitable[None]) -> bool:
    """Run `work`; give it up and return False when `ending` is set first."""
    task = asyncio.ensure_future(work)
    signalled = asyncio.create_task(ending.wait())
    await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    signalled.cancel()
    task.result()
    return True


class Background(abc.ABC):
    """A component whose work is one coroutine: begun by `start`, cancelled by `stop`."""

    name: str
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin the work."""
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def wait(self) -> None:
        """Wait for the end of the work, which only a fault brings."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Cancel the work and wait until it has let go."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @abc.abstractmethod
    async def _run(self) -> None:
        """Work until cancelled."""


class Closing:
    """A component made of something that only has to be closed: a pool, a channel, a client."""

    def __init__(self, name: str, close: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._close = close

    async def start(self) -> None:
        """Nothing: it was open when it was made."""

    async def stop(self) -> None:
        """Close it."""
        await self._close()
