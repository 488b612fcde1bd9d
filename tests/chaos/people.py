"""The workload beside Kafka: starts by hand, answers, new versions, a schedule, redrives.

Each request is tried with one request id until it is answered. Some are given up after one try,
so that nobody knows what became of them.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import asyncpg
import grpc
import identity
import observing
import redrives
import replays
import workload
import yaml
from checker import ORDERS
from confluent_kafka import KafkaException
from history import Answered, Applied, DueTime, HistoryFile, Intents, Scheduled, Triggered
from waiting import until
from workload import Planned

from backbone.ledger.v1 import (
    control_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    replay_pb2_grpc,
    shadows_pb2_grpc,
)
from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from backbone.router.v1 import router_pb2, router_pb2_grpc
from devstack.suite import Suite
from runtime import grpcclient

T = TypeVar("T")

HERE = Path(__file__).parent
BY_HAND = "chaos.by-hand"
APPROVE = "approve/"
EVERY = 2.0  # seconds between two due times
ONE_TRY = 4.0  # seconds
PAUSE = 0.5  # seconds between two tries
GIVEN_UP = 0.2  # the share of requests that get one try
DEFINITIVE = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)


class RefusedError(AssertionError):
    """A request that nothing is wrong with was refused."""


@dataclass(frozen=True)
class Stubs:
    """The services that `controlling` calls."""

    control: Any
    ledger: Any
    shadows: Any
    router: Any


class People:
    """Those who call the services' gRPC APIs, directly and not through a proxy."""

    def __init__(
        self, suite: Suite, *, source: str, seed: int, history: HistoryFile, intents: Intents
    ) -> None:
        certified = suite.endpoints.certificates
        tls = None if certified is None else certified.member()
        self._channels = {
            service: grpcclient.channel(suite.addresses[service].grpc or "", actor="chaos", tls=tls)
            for service in ("router", "ledger", "registry")
        }
        self._router = router_pb2_grpc.RouterServiceStub(self._channels["router"])
        self._replays = replay_pb2_grpc.ReplayServiceStub(self._channels["ledger"])
        self._tasks = ledger_pb2_grpc.TaskServiceStub(self._channels["ledger"])
        self._registry = registry_pb2_grpc.RegistryServiceStub(self._channels["registry"])
        self.stubs = Stubs(
            control=control_pb2_grpc.ControlServiceStub(self._channels["ledger"]),
            ledger=ledger_pb2_grpc.LedgerServiceStub(self._channels["ledger"]),
            shadows=shadows_pb2_grpc.ShadowServiceStub(self._channels["ledger"]),
            router=self._router,
        )
        self.source = self._source = source
        self._chance = random.Random(f"people {seed}")
        self._history = history
        self.intents = self._intents = intents
        self._beat = f"chaos.beat-{source}"
        self.unanswered: list[str] = []
        self._dsn = suite.endpoints.postgres.dsn()
        self._brokers = suite.endpoints.brokers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def apply(self, *documents: dict[str, Any], wait_s: float = 60.0) -> None:
        """Make documents the current versions.

        Raises:
            TimeoutError: The registry did not answer in time.
        """
        request = _applying(documents, f"{self._source}-{self._chance.randrange(10**12)}")
        if not await self.attempt(
            "registry", self._registry.ApplyResources, request, wait_s=wait_s
        ):
            raise TimeoutError(documents)

    async def begin_schedule(self) -> None:
        """Apply a definition of this scenario's own that is due every few seconds."""
        await self.apply(definition("beat", id=self._beat))
        self._begun = datetime.now(UTC)

    async def end_schedule(self, *, seconds: float) -> None:
        """Take its schedule away once all that was due by now is accounted for, and started.

        Without a schedule there are no ticks, and nobody to look after what one of them left.

        Raises:
            TimeoutError: It was not within `seconds`.
        """
        now = datetime.now(UTC)
        found: list[DueTime] = []
        connection = await asyncpg.connect(self._dsn)

        async def caught_up() -> bool:
            found[:] = await observing.due_times(connection, self._beat)
            return (
                bool(found)
                and found[-1].due_at > now
                and all(due.acknowledged for due in found if due.outcome == "run")
            )

        try:
            if not await until(caught_up, seconds=seconds):
                late = [due.due_at for due in found if not due.acknowledged]
                message = f"{self._beat}: {len(found)} due times, not started: {late}"
                raise TimeoutError(message)
        finally:
            await connection.close()
        document = definition("beat", id=self._beat)
        document["spec"]["triggers"] = [{"name": "by-hand", "manual": {}}]
        await self.apply(document)
        self._intents.scheduled = Scheduled(
            definition_id=self._beat,
            every_s=EVERY,
            begin=self._begun,
            end=found[-1].due_at,
            expect_tasks=("note/",),
        )

    async def await_early_events(self, *, seconds: float) -> None:
        """Apply what early events are for, and return once the router refuses them.

        Raises:
            TimeoutError: It did not within `seconds`.
        """
        listening = definition("early", id=f"chaos.early-{self._source}")
        event_type = workload.early_type(self._source)
        listening["spec"]["triggers"][0]["event"]["type"] = event_type
        await self.apply(_event_type(event_type, 1), listening)
        self._intents.early = listening["metadata"]["id"]
        request = router_pb2.EvaluateEventRequest(
            namespace=identity.NAMESPACE, event=workload.early_event(self._source, 0).value
        )

        async def refused() -> bool:
            answer = await self._router.EvaluateEvent(request, timeout=ONE_TRY)
            return answer.rejection == redrives.REASON and answer.listening == 1

        if not await until(refused, seconds=seconds):
            raise TimeoutError(event_type)

    async def redrive_early_events(
        self, records: list[Planned], *, seconds: float, give_up_at: float
    ) -> None:
        """Register their schema version midway, and redrive until no dead letter of them is open.

        Two do so at a time, of which each may be the first.

        Raises:
            TimeoutError: Some are open at a monotonic time.
        """
        await asyncio.sleep(seconds * 0.4)
        both = _event_type(workload.early_type(self._source), 1, workload.EARLY_VERSION)
        await self.apply(both, wait_s=max(0.0, give_up_at - time.monotonic()))
        count, number = sum(record.early for record in records), 0
        while True:
            # All that can become a dead letter is one, before it is asked whether any is open.
            sent = sum(sent.early for sent in self._intents.sent)
            decided = sent == count and await self._all_decided()
            number += 2
            left = await asyncio.gather(
                *(self._redrive(f"{self._source}-redrive-{number + n}") for n in range(2))
            )
            if decided and 0 in left:
                return
            if time.monotonic() > give_up_at:
                message = f"dead letters of {self._source} are open: {left}"
                raise TimeoutError(message)
            await asyncio.sleep(seconds / 20)

    async def start_by_hand(self, *, count: int, seconds: float, give_up_at: float) -> None:
        """Start runs by hand, one after the other; try until a monotonic time."""
        for number in range(count):
            lines = [f"line-{n}" for n in range(self._chance.choice([0, 1, 2]))]
            request_id = f"{self._source}-{number}"
            request = router_pb2.TriggerDefinitionRequest(
                namespace=identity.NAMESPACE,
                definition_id=BY_HAND,
                input=json.dumps({"lines": lines}).encode(),
                request_id=request_id,
                reason="chaos",
            )
            call = self._router.TriggerDefinition
            done = await self.attempt("router", call, request, wait_s=self.patience(give_up_at))
            if done and self._chance.random() < 0.5:
                # Who asks again gets the same run.
                await self.attempt("router", call, request, wait_s=ONE_TRY)
            self._intents.triggered.append(
                Triggered(
                    definition_id=BY_HAND,
                    request_id=request_id,
                    acknowledged=done,
                    expect_tasks=tuple(f"pack/{line}" for line in lines),
                )
            )
            await asyncio.sleep(seconds / count)

    async def answer_tasks(
        self, records: list[Planned], *, count: int, seconds: float, give_up_at: float
    ) -> None:
        """Have two people at once complete human tasks of the orders, as soon as they are there."""
        originals = [r for r in records if APPROVE in r.expect_tasks and not r.duplicate]
        # Of the first half, so that their runs are there before this ends.
        chosen = originals[: max(count, len(originals) // 2)]
        chosen = sorted(self._chance.sample(chosen, min(count, len(chosen))), key=records.index)
        for record in chosen:
            await asyncio.sleep(seconds / (2 * count))
            if not await until(partial(self._is_there, record), seconds=ONE_TRY):
                continue
            run_id = identity.event_run(ORDERS, self._source, record.event_id or "")
            # Two people at once: one of them closes it, whoever that is.
            requests = [
                ledger_pb2.CompleteTaskRequest(
                    namespace=identity.NAMESPACE,
                    task_id=identity.task(run_id, APPROVE),
                    answer=b"{}",
                    request_id=f"{self._source}-{record.event_id}{rival}",
                    reason="chaos",
                )
                for rival in ("", "-rival")
            ]
            wait_s = self.patience(give_up_at)
            done = await asyncio.gather(
                *(
                    self.attempt(
                        "ledger", self._tasks.CompleteTask, one, wait_s=wait_s, too_late=True
                    )
                    for one in requests
                )
            )
            self._intents.answered.append(Answered(run_id, APPROVE, acknowledged=any(done)))

    async def replay_orders(self, *, after: int, seconds: float, give_up_at: float) -> None:
        """Have the orders started once more that have come by the time so many were sent."""

        async def so_many() -> bool:
            return sum(sent.starts for sent in self._intents.sent) >= after

        async def ask(call: Callable[[], Awaitable[T]]) -> T:
            while True:
                try:
                    return await call()
                except grpc.aio.AioRpcError as exc:
                    if exc.code() in DEFINITIVE or time.monotonic() > give_up_at:
                        raise
                await asyncio.sleep(PAUSE)

        since = datetime.now(UTC)
        assert await until(so_many, seconds=seconds + ONE_TRY), "too few orders come"
        await replays.replay(
            ask,
            router=self._router,
            replays=self._replays,
            intents=self._intents,
            definition_id=ORDERS,
            source=self._source,
            since=since,
            until_=datetime.now(UTC),
            seconds=max(0.0, give_up_at - time.monotonic()),
        )

    async def publish_versions(self, *, count: int, seconds: float, give_up_at: float) -> None:
        """Apply a definition again and again, each time with another content."""
        churn = f"chaos.churn-{self._source}"
        for number in range(count):
            document = definition("by-hand", id=churn)
            document["metadata"]["labels"] = {"number": str(number)}
            request = _applying([document], f"{churn}-{number}")
            done = await self.attempt(
                "registry",
                self._registry.ApplyResources,
                request,
                wait_s=self.patience(give_up_at),
            )
            self._intents.applied.append(Applied(f"definition:{churn}", acknowledged=done))
            await asyncio.sleep(seconds / count)

    async def _is_there(self, record: Planned) -> bool:
        """Say whether Kafka has acknowledged the record."""
        return any(
            sent.event_id == record.event_id and sent.offset is not None
            for sent in self._intents.sent
        )

    async def _all_decided(self) -> bool:
        # A broker that is away says so, or nothing in time.
        with contextlib.suppress(KafkaException, TimeoutError):
            return await asyncio.to_thread(observing.uncommitted, self._brokers) == 0
        return False

    async def _redrive(self, request_id: str) -> int | None:
        """Redrive what is open; return how many there were, None when nobody knows."""
        found: list[router_pb2.RedriveDeadLettersResponse] = []

        async def call(request: Any, *, timeout: float) -> None:  # noqa: ASYNC109 - the stub's
            found.append(await self._router.RedriveDeadLetters(request, timeout=timeout))

        wanted = router_pb2.DeadLetterFilter(
            source=self._source, reason=redrives.REASON, state="open"
        )
        token = ""
        while True:
            request = router_pb2.RedriveDeadLettersRequest(
                namespace=identity.NAMESPACE,
                filter=wanted,
                request_id=request_id,
                reason="chaos",
                limit=10,
                page_token=token,
            )
            # Given up after a few tries, it is a surprise to nobody: there are more requests.
            if not await self.attempt("router", call, request, wait_s=ONE_TRY):
                return None
            token = found[-1].next_page_token
            if not token:
                return sum(len(page.redriven) for page in found)

    def patience(self, give_up_at: float) -> float:
        """Return the seconds that a request is tried for."""
        if self._chance.random() < GIVEN_UP:
            return 0.0
        return max(0.0, give_up_at - time.monotonic())

    async def attempt(
        self,
        service: str,
        call: Callable[..., Awaitable[Any]],
        request: Any,
        *,
        wait_s: float,
        too_late: bool = False,
    ) -> bool:
        """Ask until there is an answer; return whether there was one.

        Where others do the same, it may be `too_late`, which is an answer.

        Raises:
            RefusedError: The answer was that something is wrong with the request.
        """
        named = getattr(request, "request_id", type(request).__name__)
        operation = self._history.begin(
            f"people-{service}", type(request).__name__, request_id=named
        )
        deadline = time.monotonic() + wait_s
        while True:
            try:
                await call(request, timeout=ONE_TRY)
            except grpc.aio.AioRpcError as exc:
                if exc.code() in DEFINITIVE:
                    self._history.end(operation, "fail", error=str(exc.code()))
                    raise RefusedError(f"{named}: {exc.details()}") from exc
                if too_late and exc.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    self._history.end(operation, "fail", error=str(exc.code()))
                    return True
                if time.monotonic() > deadline:
                    self._history.end(operation, "info", error=str(exc.code()))
                    # Given up after one try it is no surprise.
                    if wait_s > ONE_TRY:
                        self.unanswered.append(f"{service}: {named}: {exc.details()}")
                    return False
                await asyncio.sleep(PAUSE)
            else:
                self._history.end(operation, "ok")
                return True


def documents(*more: str) -> list[dict[str, Any]]:
    """Return what every scenario needs: the orders' definition and its event type, and by-hand.

    `more` are the names of further files.
    """
    names = ("order-placed", "orders", "by-hand", *more)
    return [yaml.safe_load((HERE / "definitions" / f"{name}.yaml").read_text()) for name in names]


def _event_type(name: str, *versions: int) -> dict[str, Any]:
    return {
        "apiVersion": "backbone/v1",
        "kind": "EventType",
        "metadata": {"id": name, "namespace": identity.NAMESPACE, "owner": "e2e"},
        "spec": {"schemas": [{"version": one, "schema": {"type": "object"}} for one in versions]},
    }


def definition(name: str, *, id: str) -> dict[str, Any]:  # noqa: A002 - the field's name
    document = yaml.safe_load((HERE / "definitions" / f"{name}.yaml").read_text())
    document["metadata"]["id"] = id
    return document


def _applying(
    documents: tuple[dict[str, Any], ...] | list[dict[str, Any]], request_id: str
) -> registry_pb2.ApplyResourcesRequest:
    return registry_pb2.ApplyResourcesRequest(
        namespace=identity.NAMESPACE,
        documents=[
            registry_pb2.Document(name=d["metadata"]["id"], content=json.dumps(d).encode())
            for d in documents
        ],
        request_id=request_id,
        reason="chaos",
    )
