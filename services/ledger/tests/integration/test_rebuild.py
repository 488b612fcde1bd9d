"""The tables of runs and tasks follow from the events: made again, they are the same."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeAlias
from uuid import UUID

import grpc
import hypothesis
import pytest
from hypothesis import strategies as st

from backbone.ledger.v1 import control_pb2, control_pb2_grpc
from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from contracts import canonical, identifiers
from contracts.decisions import AutomatedInstance, Decision, HumanInstance
from contracts.definitions import Assignees, Retry
from contracts.triggers import Trigger, TriggerKind
from devstack.infrastructure.endpoints import PostgresEndpoint
from eventstore import sealing, store
from ledger import app
from ledger.adapters import projections
from ledger.adapters.projections import RebuildError
from runtime import grpcclient, migrations
from runtime.grpcserver import GrpcServer
from runtime.identity import LocalAuthenticator
from runtime.postgres import Postgres

# The stubs know these types in their type hints only.
LedgerStub: TypeAlias = "pb_grpc.LedgerServiceAsyncStub"
Channels = Callable[..., Awaitable[grpc.aio.Channel]]

MADE_AGAIN = ("runs", "tasks", "task_changes", "run_retries", "failure_calls")
KEPT = ("events", "stream_heads", "outbox_pending", "trigger_keys", "documents", "requests")


async def rows(postgres: Postgres, *tables: str) -> dict[str, list[str]]:
    async with postgres.transaction("dev") as transaction:
        return {
            table: sorted(map(repr, await transaction.fetch(f"SELECT * FROM {table}")))  # noqa: S608 - ours
            for table in tables
        }


class Working:
    """Runs that are recorded, carried out, completed by people, or that fail, side by side."""

    def __init__(self, channel: grpc.aio.Channel, rng: random.Random) -> None:
        self.ledger: pb_grpc.LedgerServiceAsyncStub = pb_grpc.LedgerServiceStub(channel)
        self.inbox: pb_grpc.TaskServiceAsyncStub = pb_grpc.TaskServiceStub(channel)
        self.control: control_pb2_grpc.ControlServiceAsyncStub = (
            control_pb2_grpc.ControlServiceStub(channel)
        )
        self.rng = rng
        self.runs: list[tuple[pb.RecordRunRequest, Decision]] = []

    async def steps(self, count: int) -> None:
        weighted = {
            self.record: 3,
            self.fail: 1,
            self.record_outcome: 6,
            self.change: 6,
            self.complete: 3,
            self.order: 4,
        }
        for _ in range(count):
            [step] = self.rng.choices(list(weighted), list(weighted.values()))
            await step()

    async def record(self) -> None:
        request, decision = self._run()
        await self.ledger.RecordRun(request)
        self.runs.append((request, decision))

    async def fail(self) -> None:
        """A run that could not decide, or one that is abandoned in the middle."""
        if self.runs and self.rng.random() < 0.5:
            request, _ = self.rng.choice(self.runs)
        else:
            request, _ = self._run()
        failure = pb.Failure(type="ContextError", message="the database is away")
        await self.ledger.RecordRunFailure(
            pb.RecordRunFailureRequest(
                namespace=request.namespace,
                run_id=request.run_id,
                definition_id=request.definition_id,
                trigger=request.trigger,
                workflow_run_id=request.workflow_run_id,
                failure=failure,
            )
        )

    async def record_outcome(self) -> None:
        if not self.runs:
            return
        request, decision = self.rng.choice(self.runs)
        tasks = [task for task in decision.tasks if isinstance(task, AutomatedInstance)]
        if tasks:
            failed = self.rng.random() < 0.3
            await self.ledger.RecordTaskOutcome(
                pb.RecordTaskOutcomeRequest(
                    namespace=request.namespace,
                    run_id=request.run_id,
                    task_id=str(self.rng.choice(tasks).task_id),
                    output=json.dumps({"sent": self.rng.random()}).encode(),
                    failure=pb.Failure(type="SmtpError", message="away") if failed else None,
                )
            )

    async def complete(self) -> None:
        if not self.runs:
            return
        request, decision = self.rng.choice(self.runs)
        tasks = [task for task in decision.tasks if isinstance(task, HumanInstance)]
        if tasks:
            try:
                await self.inbox.CompleteTask(
                    pb.CompleteTaskRequest(
                        namespace=request.namespace,
                        task_id=str(self.rng.choice(tasks).task_id),
                        answer=b'{"fine": true}',
                        request_id=f"r{self.rng.getrandbits(64)}",
                        reason="asked",
                    )
                )
            except grpc.aio.AioRpcError as exc:
                # It was completed before.
                if exc.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise

    async def change(self) -> None:
        """A person claims a task, gives it back or away, writes about it, or takes it back."""
        if not self.runs:
            return
        request, decision = self.rng.choice(self.runs)
        tasks = [task for task in decision.tasks if isinstance(task, HumanInstance)]
        if not tasks:
            return
        asked = {
            "namespace": request.namespace,
            "task_id": str(self.rng.choice(tasks).task_id),
            "request_id": f"r{self.rng.getrandbits(64)}",
        }
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: self.inbox.ClaimTask(pb.ClaimTaskRequest(**asked)),
            lambda: self.inbox.ReleaseTask(pb.ReleaseTaskRequest(reason="busy", **asked)),
            lambda: self.inbox.CommentTask(pb.CommentTaskRequest(comment="he calls", **asked)),
            lambda: self.inbox.ReassignTask(
                pb.ReassignTaskRequest(reason="ill", assigned_users=["bo"], **asked)
            ),
            lambda: self.inbox.CancelTask(pb.CancelTaskRequest(reason="paid", **asked)),
        ]
        try:
            await self.rng.choice(calls)()
        except grpc.aio.AioRpcError as exc:
            # It was closed before.
            if exc.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise

    async def order(self) -> None:
        """A run is cancelled or retried, a task of it is, or somebody was told of its failure."""
        if not self.runs:
            return
        request, decision = self.rng.choice(self.runs)
        asked = {
            "namespace": request.namespace,
            "request_id": f"r{self.rng.getrandbits(64)}",
            "reason": "asked",
        }
        of_run = {**asked, "run_id": request.run_id}
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: self.control.CancelRun(control_pb2.CancelRunRequest(**of_run)),
            lambda: self.control.RetryRun(control_pb2.RetryRunRequest(**of_run)),
            lambda: self.control.RecordFailureHandled(
                control_pb2.RecordFailureHandledRequest(
                    namespace=request.namespace,
                    run_id=request.run_id,
                    call_id=str(UUID(int=self.rng.getrandbits(128))),
                    handler="notify_owner",
                )
            ),
            *(
                partial(
                    self.control.RetryTask,
                    control_pb2.RetryTaskRequest(task_id=str(task.task_id), **asked),
                )
                for task in decision.tasks
            ),
        ]
        try:
            await self.rng.choice(calls)()
        except grpc.aio.AioRpcError as exc:
            # It does not stand so that this can be done to it.
            if exc.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise

    def _run(self) -> tuple[pb.RecordRunRequest, Decision]:
        namespace = self.rng.choice(["dev", "prod"])
        trigger = Trigger(
            kind=TriggerKind.MANUAL,
            definition_version=self.rng.randint(1, 3),
            request_id=f"r{self.rng.getrandbits(64)}",
        )
        run_id = identifiers.run_id("billing", trigger.key)
        decision = Decision(
            definition_id="billing",
            definition_version=trigger.definition_version,
            snapshot_sha256=canonical.digest(b"{}"),
            tasks=[
                self._task(namespace, run_id, str(key)) for key in range(self.rng.randint(0, 4))
            ],
            rules=[],
        )
        request = pb.RecordRunRequest(
            namespace=namespace,
            run_id=run_id,
            definition_id="billing",
            trigger=canonical.render(trigger),
            snapshot=b"{}",
            decision=canonical.render(decision),
            workflow_run_id="w-1",
        )
        return request, decision

    def _task(self, namespace: str, run_id: str, key: str) -> AutomatedInstance | HumanInstance:
        task_id = identifiers.task_id(namespace, run_id, "rule", key)
        if self.rng.random() < 0.4:
            return HumanInstance(
                task_id=task_id, rule="rule", key=key, title=f"Call {key}", input={},
                assignees=Assignees(groups=["collections"]), due=timedelta(days=2), form=None,
            )  # fmt: skip
        return AutomatedInstance(
            task_id=task_id, rule="rule", key=key, handler="send", task_queue="mail-tq",
            input={"invoice": key}, timeout=timedelta(seconds=30), retry=Retry(),
        )  # fmt: skip


def test_projections_after_a_rebuild_are_those_kept_live(
    database: PostgresEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Batches end anywhere, also between the events of one append.
    monkeypatch.setattr(store, "_REBUILD_BATCH", 7)
    dsn = database.dsn("ledger_owner")
    migrations.apply(dsn, schema=app.SCHEMA, sources=app.MIGRATIONS)
    with asyncio.Runner() as runner:

        async def play(seed: int) -> None:
            postgres = await Postgres.connect(dsn, application="tests", schema=app.SCHEMA)
            server = GrpcServer(
                listen="127.0.0.1:0",
                services=app.grpc_services(postgres, app.event_store(), namespaces=["dev", "prod"]),
                authenticator=LocalAuthenticator(),
                grace=timedelta(seconds=1),
            )
            await server.start()
            channel = grpcclient.channel(f"127.0.0.1:{server.port}", actor="anna")
            try:
                working = Working(channel, random.Random(seed))
                await working.steps(40)
                before = await rows(postgres, *MADE_AGAIN)
                kept = await rows(postgres, *KEPT)
                async with postgres.transaction("dev") as transaction:
                    await transaction.execute(
                        "UPDATE tasks SET title = 'forged', handler = NULL WHERE type = 'human'"
                    )
                    await transaction.execute("UPDATE runs SET definition_version = 99")
                counts = await projections.rebuild(postgres, app.event_store(), ["dev", "prod"])
                assert sum(counts.values()) == len(kept["events"])
                assert await rows(postgres, *MADE_AGAIN) == before
                assert await rows(postgres, *KEPT) == kept
                # And life goes on from there.
                await working.steps(5)
            finally:
                await channel.close()
                await server.stop()
                await postgres.close()

        @hypothesis.settings(
            max_examples=15,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(seed=st.integers(0, 2**64))
        def game(seed: int) -> None:
            runner.run(play(seed))

        game()


async def test_a_rebuild_waits_for_nobody_and_nobody_is_lost_beside_it(
    postgres: Postgres, calls: Channels
) -> None:
    working = Working(await calls(), random.Random(1))
    await working.steps(30)
    rebuilding = asyncio.gather(
        *(projections.rebuild(postgres, app.event_store(), ["dev", "prod"]) for _ in range(2))
    )
    await asyncio.gather(working.steps(20), working.steps(20))
    await rebuilding
    before = await rows(postgres, *MADE_AGAIN)
    await projections.rebuild(postgres, app.event_store(), ["dev", "prod"])
    assert await rows(postgres, *MADE_AGAIN) == before


async def test_a_rebuild_that_fails_leaves_the_tables_as_they_were(
    postgres: Postgres, calls: Channels
) -> None:
    await Working(await calls(), random.Random(2)).steps(20)
    before = await rows(postgres, *MADE_AGAIN)
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("DELETE FROM events WHERE type = 'backbone.RunDecided'")
    with pytest.raises(RebuildError, match="backbone audit verify"):
        await projections.rebuild(postgres, app.event_store(), ["dev", "prod"])
    assert await rows(postgres, *MADE_AGAIN) == before


async def test_what_dropped_months_told_is_not_lost(postgres: Postgres, calls: Channels) -> None:
    await Working(await calls(), random.Random(3)).steps(20)
    async with postgres.transaction("dev") as transaction:
        settled = await sealing.Horizon().advance(transaction)
        assert await sealing.seal(transaction, up_to=settled)
        await sealing.hold_chain(transaction)
        await sealing.record_dropped(transaction, datetime.now(UTC).date().replace(day=1))
    before = await rows(postgres, *MADE_AGAIN)
    with pytest.raises(RebuildError, match="1 months of events were dropped"):
        await projections.rebuild(postgres, app.event_store(), ["dev", "prod"])
    assert await rows(postgres, *MADE_AGAIN) == before
