"""Carries out a plan of faults, writes down what it did, and heals everything in the end.

Only processes of the stack are signalled, by the pid that their supervisor recorded.
"""

import asyncio
import contextlib
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import identity
import observing
import psutil
import redis.asyncio as redis
from confluent_kafka import KafkaException
from faults import Fault
from history import HistoryFile
from stack import REPLICAS, Stack
from temporalio.service import RPCError
from visits import VISITS
from waiting import until

from devstack.errors import DevstackError
from devstack.infrastructure import temporal_client

RUNNING = 30.0  # seconds that a process has to be there, before a fault gives up on it
REPLICA_READY = 15.0  # seconds; it may be in vain while another fault lasts
LONGEST_WAIT = 8.0  # seconds for something to be published, while its acknowledgement is lost
ATTEMPTS = 3  # at having something published meanwhile: another fault may keep it from that
ALL_READY = 90.0  # seconds that everything has to be ready after the last fault
DELAY_MS, JITTER_MS = 600, 400
WAKING = 120.0  # seconds until an instance has a timer: other faults may keep its events away
ANSWERED = 5.0  # seconds that a server has for an answer, before it is asked again


@dataclass
class Inflicted:
    """A fault that began, in monotonic seconds since the nemesis did."""

    fault: Fault
    began: float
    healed: float | None = None
    failure: str | None = None


class Nemesis:
    """Disturbs one stack."""

    def __init__(self, stack: Stack, history: HistoryFile) -> None:
        self._stack = stack
        self._suite = stack.suite
        self._history = history
        # Two faults of one target take turns: neither may heal the other.
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.inflicted: list[Inflicted] = []

    async def run(self, faults: Sequence[Fault]) -> None:
        """Carry out the plan; return once all is healed and everything is ready.

        Raises:
            NotReadyError: Something did not come back.
        """
        began = time.monotonic()
        async with asyncio.TaskGroup() as work:
            for fault in faults:
                work.create_task(self._at_its_time(fault, began))
        await asyncio.to_thread(self._suite.wait_ready, timeout=ALL_READY)

    async def _at_its_time(self, fault: Fault, began: float) -> None:
        await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
        async with contextlib.AsyncExitStack() as turns:
            for target in fault.turns:
                await turns.enter_async_context(self._turns[target])
            operation = self._history.begin(
                "nemesis", fault.kind, target=fault.target, seconds=fault.seconds, fault=fault.name
            )
            record = Inflicted(fault, time.monotonic() - began)
            self.inflicted.append(record)
            try:
                await self._inflict(fault)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the others go on
                record.failure = f"{type(exc).__name__}: {exc}"
                self._history.end(operation, "fail", error=record.failure)
                return
            record.healed = time.monotonic() - began
            self._history.end(operation, "ok")

    async def _inflict(self, fault: Fault) -> None:
        match fault.kind:
            case "kill":
                await self._kill(fault.target)
            case "stop":
                async with self._stopped(fault.target):
                    await asyncio.sleep(fault.seconds)
            case "restart":
                await asyncio.to_thread(self._suite.restart, fault.target)
            case "flush":
                await self._flush()
            case "lose-replies-and-kill":
                await self._lose_replies_and_kill(fault)
            case "scale":
                async with self._scaled_up(fault.target):
                    await asyncio.sleep(fault.seconds)
            case "fail-over":
                await self._fail_over(fault)
            case "terminate":
                await self._terminate()
            case "hold-transaction":
                await self._hold_transaction(fault.target, fault.seconds)
            case _:
                async with self._disturbed(fault.kind, fault.target):
                    await asyncio.sleep(fault.seconds)

    async def _pid(self, name: str) -> int:
        found: list[int] = []

        async def running() -> bool:
            found[:] = [s.pid for s in self._suite.status() if s.name == name and s.pid]
            return bool(found)

        if not await until(running, seconds=RUNNING):
            message = f"{name} is not running"
            raise DevstackError(message)
        return found[0]

    async def _kill(self, name: str) -> None:
        pid = await self._pid(name)
        self._history.write({"nemesis": "SIGKILL", "process": name, "pid": pid})
        await asyncio.to_thread(self._suite.kill, name)

    @contextlib.asynccontextmanager
    async def _stopped(self, name: str) -> AsyncIterator[None]:
        """Have a process and its children stand still."""
        process = psutil.Process(await self._pid(name))
        stopped: list[psutil.Process] = []
        try:
            # The parent first: it has no more children then than those that are found.
            process.send_signal(signal.SIGSTOP)
            stopped.append(process)
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGSTOP)
                    stopped.append(child)
            self._history.write({"nemesis": "SIGSTOP", "pids": [one.pid for one in stopped]})
            yield
        finally:
            for one in reversed(stopped):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def _disturbed(
        self, kind: str, edge: str, *, streams: Sequence[str] = ("upstream", "downstream")
    ) -> AsyncIterator[None]:
        proxies = self._stack.proxies
        try:
            if kind == "cut":
                await asyncio.to_thread(proxies.cut, edge)
            for stream in streams if kind != "cut" else ():
                toxic, attributes = {
                    # Without a time it lets nothing through; healed, it closes the connection.
                    "black-hole": ("timeout", {"timeout": 0}),
                    "slow": ("latency", {"latency": DELAY_MS, "jitter": JITTER_MS}),
                    "reset": ("reset_peer", {"timeout": 0}),
                }[kind]
                await asyncio.to_thread(
                    proxies.poison, edge, toxic, stream=stream, attributes=attributes
                )
            yield
        finally:
            await asyncio.to_thread(proxies.heal, edge)

    @contextlib.asynccontextmanager
    async def _scaled_up(self, replica: str) -> AsyncIterator[None]:
        try:
            await asyncio.to_thread(self._suite.start_process, replica)
            with contextlib.suppress(DevstackError):
                await asyncio.to_thread(self._suite.wait_ready, replica, timeout=REPLICA_READY)
            yield
        finally:
            await asyncio.to_thread(self._suite.stop, replica)

    async def _fail_over(self, fault: Fault) -> None:
        """Have a replica take over from one that ends, or that stands still and wakes again."""
        first = REPLICAS[fault.target]
        async with self._scaled_up(fault.target):
            if fault.detail == "kill":
                await self._kill(first)
                await asyncio.sleep(fault.seconds)
            else:
                async with self._stopped(first):
                    await asyncio.sleep(fault.seconds)
                await asyncio.sleep(1.0)  # both at work: the one that woke, and who replaced it

    async def _lose_replies_and_kill(self, fault: Fault) -> None:
        """Kill a process that has not heard what became of what it asked for."""
        if fault.detail != "relay-kafka":
            async with self._disturbed("black-hole", fault.detail, streams=("downstream",)):
                await asyncio.sleep(fault.seconds)
                await self._kill(fault.target)
            return
        for attempt in range(1, ATTEMPTS + 1):
            # Without a connection it would ask for nothing.
            await self._something_published()
            async with self._disturbed("black-hole", fault.detail, streams=("downstream",)):
                await asyncio.sleep(fault.seconds)
                # What is there now, the relay does not know of, and will send again.
                unheard = await self._something_published()
                if unheard or attempt == ATTEMPTS:
                    await self._kill(fault.target)
                    return

    async def _something_published(self) -> bool:
        """Wait until there are more events on Kafka than now, but not for ever."""
        before: observing.Offsets = {}

        async def more() -> bool:
            nonlocal before
            now = await asyncio.to_thread(self._published)
            # A broker that is away says nothing of what is there.
            before = before or now
            return bool(now) and now != before

        return await until(more, seconds=LONGEST_WAIT)

    def _published(self) -> observing.Offsets:
        with contextlib.suppress(KafkaException):
            brokers = self._suite.endpoints.brokers
            return observing.ends(brokers, (observing.TASK_EVENTS, observing.RUN_EVENTS))
        return {}

    async def _flush(self) -> None:
        await asyncio.to_thread(self._suite.wait_ready, "redis", timeout=RUNNING)
        client = redis.Redis.from_url(self._suite.endpoints.redis_admin_url)
        try:
            await client.flushall()
        finally:
            await client.aclose()

    async def _terminate(self) -> None:
        """End the workflow of an instance whose timer is to fire, as somebody may by mistake.

        Nobody may come who would wake it, so that it has to come back by itself.

        Raises:
            DevstackError: There is none for so long.
        """
        endpoints = self._suite.endpoints
        temporal = await temporal_client(endpoints, namespace=identity.NAMESPACE, lazy=True)
        # Kept for all looks: a timer is set for two seconds, and to connect takes of them.
        connections: list[asyncpg.Connection[asyncpg.Record]] = []

        async def waking() -> str | None:
            if not connections:
                connections.append(
                    await asyncpg.connect(
                        endpoints.postgres.dsn(), timeout=ANSWERED, command_timeout=ANSWERED
                    )
                )
            try:
                return await observing.waking(connections[0])
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connections.pop().terminate()
                raise

        async def terminated() -> bool:
            # Another fault may keep a server from answering, or may have ended the workflow.
            with contextlib.suppress(
                OSError, asyncpg.PostgresError, asyncpg.InterfaceError, RPCError, RuntimeError
            ):
                if (key := await waking()) is None:
                    return False
                workflow_id = identity.instance_workflow(VISITS, key)
                handle = temporal.get_workflow_handle(workflow_id)
                await handle.terminate(reason="chaos", rpc_timeout=timedelta(seconds=ANSWERED))
                self._history.write({"nemesis": "terminate", "workflow": workflow_id})
                return True
            return False

        try:
            if not await until(terminated, seconds=WAKING):
                message = "the workflow of no instance could be terminated"
                raise DevstackError(message)
        finally:
            for connection in connections:
                connection.terminate()

    async def _hold_transaction(self, database: str, seconds: float) -> None:
        dsn = self._suite.endpoints.postgres.within(database).dsn()
        await asyncio.to_thread(self._suite.wait_ready, "postgres", timeout=RUNNING)
        connection = await asyncpg.connect(dsn)
        # Another fault may end the server, and the transaction with it.
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with connection.transaction():
                await connection.fetchval("SELECT pg_current_xact_id()")
                await asyncio.sleep(seconds)
            await connection.close()
