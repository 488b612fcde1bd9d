"""What people do to the suite while one of its processes dies: by hand, by schedule, by applying.

Each asks until it is answered, with one request id: whoever is asked may die of it. What was
intended is written down for the checker, which judges it with everything else.
"""

import asyncio
import json
import random
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import asyncpg
import grpc
import identity
import observing
import replays
import yaml
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from history import Answered, Applied, Intents, Scheduled, Sent, Triggered, digest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError
from waiting import until

from backbone.audit.v1 import audit_pb2, audit_pb2_grpc
from backbone.ledger.v1 import (
    backfills_pb2,
    backfills_pb2_grpc,
    control_pb2,
    control_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    replay_pb2_grpc,
    schedules_pb2,
    schedules_pb2_grpc,
    shadows_pb2,
    shadows_pb2_grpc,
    switches_pb2,
    switches_pb2_grpc,
)
from backbone.outbox.v1 import outbox_pb2, outbox_pb2_grpc
from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from backbone.router.v1 import router_pb2, router_pb2_grpc
from devstack.suite import Suite
from runtime import grpcclient

T = TypeVar("T")

DEFINITIONS = Path(__file__).parent / "definitions"
ORDERS = "e2e.orders"
SHARES = "e2e.shares"
STRANDED = "e2e.stranded"
TIMED = "e2e.timed"
LARGEST = 10_000  # bytes
ORDERS_AT_LEAST = 5
PATIENCE = 60.0  # seconds that anything here may take, a crash included
AWAY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


class People:
    """Those who use one suite, with an answer to everything they ask."""

    def __init__(self, suite: Suite, source: str) -> None:
        """`source` tells their requests from those of others, and begins their ids."""
        self.suite, self.source = suite, source
        self._channels = {
            service: grpcclient.channel(address.grpc, actor="people", timeout_s=10)
            for service, address in suite.addresses.items()
            if address.grpc
        }
        self.registry = registry_pb2_grpc.RegistryServiceStub(self._channels["registry"])
        self.router = router_pb2_grpc.RouterServiceStub(self._channels["router"])
        self.outbox = outbox_pb2_grpc.OutboxServiceStub(self._channels["registry"])
        self.runs_outbox = outbox_pb2_grpc.OutboxServiceStub(self._channels["ledger"])
        self.audit = audit_pb2_grpc.AuditServiceStub(self._channels["ledger"])
        self.replays = replay_pb2_grpc.ReplayServiceStub(self._channels["ledger"])
        self.shadows = shadows_pb2_grpc.ShadowServiceStub(self._channels["ledger"])
        self.ledger = ledger_pb2_grpc.LedgerServiceStub(self._channels["ledger"])
        self.tasks = ledger_pb2_grpc.TaskServiceStub(self._channels["ledger"])
        self.control = control_pb2_grpc.ControlServiceStub(self._channels["ledger"])
        self.schedules = schedules_pb2_grpc.ScheduleServiceStub(self._channels["ledger"])
        self.switches = switches_pb2_grpc.KillSwitchServiceStub(self._channels["ledger"])
        self.backfills = backfills_pb2_grpc.BackfillServiceStub(self._channels["ledger"])

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)

    async def apply(self, document: dict, intents: Intents | None = None) -> None:
        """Apply one resource; what is intended is written down where there is somewhere."""
        kind = {"ActivityDefinition": "definition", "EventType": "event-type"}[document["kind"]]
        resource_id = document["metadata"]["id"]
        content = json.dumps(document)
        request = registry_pb2.ApplyResourcesRequest(
            namespace="dev",
            documents=[registry_pb2.Document(content=content.encode())],
            request_id=identity.short_hash(self.source, content),
            reason="a crash point",
        )
        await answered(lambda: self.registry.ApplyResources(request))
        if intents is not None:
            intents.applied.append(Applied(f"{kind}:{resource_id}", acknowledged=True))

    async def trigger(
        self,
        intents: Intents,
        *,
        expect: tuple[str, ...],
        definition_id: str = SHARES,
        parts: int | None = None,
    ) -> str:
        """Start a definition by hand, and once more by the same request; return the run's id."""
        request_id = self.source if parts is None else f"{self.source}-{parts}"
        request = router_pb2.TriggerDefinitionRequest(
            namespace="dev",
            definition_id=definition_id,
            request_id=request_id,
            input=b"" if parts is None else json.dumps({"parts": parts}).encode(),
            reason="a crash point",
        )

        async def started() -> bool:
            try:
                answers.append(await answered(lambda: self.router.TriggerDefinition(request)))
            except grpc.aio.AioRpcError as exc:
                # The router has not heard of a definition that was applied just now.
                if exc.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            return len(answers) == 2

        answers: list[router_pb2.TriggerDefinitionResponse] = []
        assert await until(started, seconds=PATIENCE), f"{definition_id} is not started"
        run_id = identity.manual_run(definition_id, request_id)
        assert {answer.run_id for answer in answers} == {run_id}
        assert not answers[1].started
        intents.triggered.append(
            Triggered(definition_id, request_id, acknowledged=True, expect_tasks=expect)
        )
        return answers[0].run_id

    async def complete(self, intents: Intents, run_id: str, task: str) -> None:
        """Complete a human task once it is there, and once more by the same request."""
        task_id = identity.task(run_id, task)
        request = ledger_pb2.CompleteTaskRequest(
            namespace="dev",
            task_id=task_id,
            answer=b'{"fine": true}',
            request_id=f"{self.source}-{task_id}",
            reason="a crash point",
        )

        async def completed() -> bool:
            try:
                await answered(lambda: self.tasks.CompleteTask(request))
            except grpc.aio.AioRpcError as exc:
                if exc.code() is grpc.StatusCode.NOT_FOUND:
                    return False
                raise
            return True

        assert await until(completed, seconds=PATIENCE), f"no task {task} of {run_id}"
        await answered(lambda: self.tasks.CompleteTask(request))
        intents.answered.append(Answered(run_id, task, acknowledged=True))

    async def switch(self, definition_id: str) -> None:
        """Disable a definition and enable it again."""
        names = {"namespace": "dev", "definition_id": definition_id, "reason": "a crash point"}
        off = registry_pb2.DisableDefinitionRequest(**names, request_id=f"{definition_id}-off")
        on = registry_pb2.EnableDefinitionRequest(**names, request_id=f"{definition_id}-on")
        await answered(lambda: self.registry.DisableDefinition(off))
        assert await until(lambda: self._clock(definition_id, {True}), seconds=PATIENCE)
        await answered(lambda: self.registry.EnableDefinition(on))
        assert await until(lambda: self._clock(definition_id, {False}), seconds=PATIENCE)

    async def tamper(self, definition_id: str) -> None:
        """Delete a definition's clock in Temporal; return once that is recorded as put back."""
        temporal = await Client.connect(self.suite.endpoints.temporal_address, namespace="dev")
        await temporal.get_schedule_handle(f"schedule:{definition_id}").delete()
        connection = await asyncpg.connect(self.suite.endpoints.postgres.dsn())
        try:

            async def repaired() -> bool:
                found = await connection.fetch(
                    "SELECT kind, repaired_at FROM registry.schedule_drifts"
                    " WHERE definition_id = $1",
                    definition_id,
                )
                assert [row["kind"] for row in found] in ([], ["missing"])
                return bool(found) and found[0]["repaired_at"] is not None

            assert await until(repaired, seconds=PATIENCE), "the clock is not put back"
        finally:
            await connection.close()

    async def no_clock(self, definition_id: str) -> bool:
        """Say whether Temporal has no Schedule of a definition any more."""
        return await self._clock(definition_id, set())

    async def no_tick(self) -> bool:
        """Say whether no wake-up is at work."""
        temporal = await Client.connect(self.suite.endpoints.temporal_address, namespace="dev")
        ticks = 'WorkflowType = "ScheduledTick" AND ExecutionStatus = "Running"'
        return (await temporal.count_workflows(ticks)).count == 0

    async def _clock(self, definition_id: str, paused: set[bool]) -> bool:
        temporal = await Client.connect(self.suite.endpoints.temporal_address, namespace="dev")
        found = {
            one.schedule.state.paused
            async for one in await temporal.list_schedules()
            if definition_id in one.id and one.schedule
        }
        return found == paused


@asynccontextmanager
async def people(suite: Suite, source: str) -> AsyncIterator[People]:
    """Open the channels of people to a suite."""
    made = People(suite, source)
    try:
        yield made
    finally:
        await made.close()


async def answered(call: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer."""
    found: list[T] = []

    async def asked() -> bool:
        try:
            found.append(await call())
        except grpc.aio.AioRpcError as exc:
            if exc.code() not in AWAY:
                raise
        return bool(found)

    assert await until(asked, seconds=PATIENCE), "nobody answers"
    return found[0]


async def orders(_: People, __: Intents) -> None:
    """Nothing more than the events that are sent anyway."""


async def orders_slowly(_: People, __: Intents) -> None:
    """The same over a longer time: a Redis that was slow once is left alone for 5 s."""


async def held(people: People, _: Intents) -> None:
    """Disable what orders start, and enable it once some wait: each is started, in its order."""
    names = {"namespace": "dev", "definition_id": ORDERS, "reason": "a crash point"}
    off = registry_pb2.DisableDefinitionRequest(**names, request_id=f"{people.source}-off")
    on = registry_pb2.EnableDefinitionRequest(
        **names, request_id=f"{people.source}-on", held=registry_pb2.HELD_EVENTS_START
    )
    connection = await asyncpg.connect(people.suite.endpoints.postgres.dsn())
    try:

        async def waiting() -> int:
            return await connection.fetchval("SELECT count(*) FROM ledger.pending_events")

        async def nothing_waits() -> bool:
            return await waiting() == 0

        await answered(lambda: people.registry.DisableDefinition(off))
        # Who dies of the disabling may come back when all orders are sent: then none is held.
        await until(waiting, seconds=PATIENCE / 3)
        await answered(lambda: people.registry.EnableDefinition(on))
        assert await until(nothing_waits, seconds=PATIENCE), "what was held still waits"
    finally:
        await connection.close()


async def replayed(people: People, intents: Intents) -> None:
    """Have the orders started once more that have come by now."""
    since = datetime.now(UTC) - timedelta(seconds=5)

    async def some_came() -> bool:
        return sum(sent.starts for sent in intents.sent) >= ORDERS_AT_LEAST

    assert await until(some_came, seconds=PATIENCE), "no orders come"
    await replays.replay(
        answered,
        router=people.router,
        replays=people.replays,
        intents=intents,
        definition_id=ORDERS,
        source=people.source,
        since=since,
        until_=datetime.now(UTC),
        seconds=PATIENCE,
    )
    assert intents.replayed


async def shadowed(people: People, intents: Intents) -> None:
    """Let a shadow that decides otherwise decide beside runs by hand, and end it.

    What it decides is nobody's task: the checker would find it, were it carried out.
    """
    document = yaml.safe_load((DEFINITIONS / "shares.yaml").read_text())
    for rule in document["spec"]["rules"]:
        rule["name"] = f"shadow-{rule['name']}"
    start = shadows_pb2.StartShadowRequest(
        namespace="dev",
        definition_id=SHARES,
        definition_version=2,
        content=json.dumps(document).encode(),
        request_id=people.source,
        reason="a crash point",
    )
    start.expires_at.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    shadow_id = (await answered(lambda: people.shadows.StartShadow(start))).shadow.shadow_id
    asked = 0

    async def decided() -> bool:
        # A worker that dies leaves what it has not decided beside: the next run is decided.
        nonlocal asked
        asked += 1
        run_id = await people.trigger(intents, parts=4 + asked, expect=("cut/", "look/"))
        await people.complete(intents, run_id, "look/")
        get = shadows_pb2.GetShadowRequest(namespace="dev", shadow_id=shadow_id)
        return (await answered(lambda: people.shadows.GetShadow(get))).shadow.decided > 0

    assert await until(decided, seconds=PATIENCE), "the shadow decides nothing"
    stop = shadows_pb2.StopShadowRequest(
        namespace="dev", definition_id=SHARES, reason="a crash point"
    )
    await answered(lambda: people.shadows.StopShadow(stop))


async def by_hand(people: People, intents: Intents) -> None:
    """Start a run whose task fails and which a person ends, and one that cannot be decided."""
    run_id = await people.trigger(intents, parts=4, expect=("cut/", "look/"))
    await people.trigger(intents, parts=0, expect=())
    await people.complete(intents, run_id, "look/")


async def timed(people: People, intents: Intents) -> None:
    """Leave a task to the clock, which does to it all that a clock can do, once each."""
    await people.apply(yaml.safe_load((DEFINITIONS / "timed.yaml").read_text()))
    run_id = await people.trigger(intents, definition_id=TIMED, expect=("wait/",))
    asked = ledger_pb2.ListTaskChangesRequest(
        namespace="dev", task_id=identity.task(run_id, "wait/")
    )
    happened: list[str] = []

    async def over() -> bool:
        try:
            found = await answered(lambda: people.tasks.ListTaskChanges(asked))
        except grpc.aio.AioRpcError as exc:
            if exc.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return False
        happened[:] = [one.event_type.removeprefix("backbone.Task") for one in found.changes]
        return happened[-1] == "Expired"

    assert await until(over, seconds=PATIENCE), f"it does not expire: {happened}"
    # What falls into the time of a crash is skipped when the task has expired meanwhile.
    assert happened[0] == "Created"
    assert set(happened) <= {"Created", "Overdue", "Reminded", "Escalated", "Expired"}
    assert len(set(happened)) == len(happened)
    intents.answered.append(Answered(run_id, "wait/", acknowledged=True))


async def redacted(people: People, intents: Intents) -> None:
    """Redact what a run found, and once more by the same request."""
    run_id = await people.trigger(intents, parts=4, expect=("cut/", "look/"))
    await people.complete(intents, run_id, "look/")
    request = ledger_pb2.RedactSnapshotRequest(
        namespace="dev",
        run_id=run_id,
        fields=["share.size"],
        request_id=people.source,
        reason="a crash point",
    )
    answers = [await answered(lambda: people.ledger.RedactSnapshot(request)) for _ in "12"]
    assert {json.dumps(json.loads(one.snapshot)["share"]) for one in answers} == {
        '[{"size": {"$redacted": null}}]'
    }


async def control(people: People, _: Intents) -> None:
    """Retry what failed, terminate a run's workflow, retry the run, and cancel it."""
    request_id = f"{people.source}-stranded"
    trigger = router_pb2.TriggerDefinitionRequest(
        namespace="dev", definition_id=STRANDED, request_id=request_id, reason="a crash point"
    )
    run_id = (await answered(lambda: people.router.TriggerDefinition(trigger))).run_id
    asked = {"namespace": "dev", "request_id": request_id, "reason": "a crash point"}
    cut, wait, look = (identity.task(run_id, f"{rule}/") for rule in ("cut", "wait", "look"))

    async def found() -> ledger_pb2.GetRunResponse | None:
        request = ledger_pb2.GetRunRequest(namespace="dev", run_id=run_id)
        try:
            return await answered(lambda: people.ledger.GetRun(request))
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    async def told(times: int) -> bool:
        run = await found()
        return run is not None and len(run.failure_calls) == times

    async def stands(task_id: str, status: str, generation: int) -> bool:
        run = await found()
        tasks = {task.task_id: task for task in run.tasks} if run else {}
        return task_id in tasks and (
            ledger_pb2.TaskStatus.Name(tasks[task_id].status),
            tasks[task_id].generation,
        ) == (f"TASK_STATUS_{status}", generation)

    assert await until(lambda: told(1), seconds=PATIENCE), "nobody is told of the failure"
    retry_task = control_pb2.RetryTaskRequest(task_id=cut, **asked)
    for _ in "12":
        await answered(lambda: people.control.RetryTask(retry_task))
    assert await until(lambda: stands(cut, "FAILED", 2), seconds=PATIENCE), "it is not retried"
    assert await until(lambda: told(2), seconds=PATIENCE), "nobody is told of the second failure"
    temporal = await Client.connect(people.suite.endpoints.temporal_address, namespace="dev")
    await temporal.get_workflow_handle(run_id).terminate(reason="a crash point")
    assert await until(lambda: stands(wait, "FAILED", 1), seconds=PATIENCE), "nobody sweeps"
    assert await until(lambda: told(3), seconds=PATIENCE), "nobody is told of what was swept"
    complete = ledger_pb2.CompleteTaskRequest(task_id=look, answer=b"{}", **asked)
    await answered(lambda: people.tasks.CompleteTask(complete))
    retry_run = control_pb2.RetryRunRequest(run_id=run_id, **asked)
    for _ in "12":
        assert (await answered(lambda: people.control.RetryRun(retry_run))).run_id == run_id
    assert await until(lambda: stands(cut, "FAILED", 3), seconds=PATIENCE), "it is not retried"
    assert await until(lambda: told(4), seconds=PATIENCE), "nobody is told of the third failure"
    again = temporal.get_workflow_handle(f"task:{wait}:2")

    async def under_way() -> bool:
        try:
            return (await again.describe()).status is WorkflowExecutionStatus.RUNNING
        except RPCError:
            return False

    assert await until(under_way, seconds=PATIENCE), "the other task is not retried"
    cancel = control_pb2.CancelRunRequest(run_id=run_id, **asked)
    for _ in "12":
        run = (await answered(lambda: people.control.CancelRun(cancel))).run
        assert run.status == ledger_pb2.RUN_STATUS_CANCELLED

    async def ended() -> bool:
        return (await again.describe()).status is WorkflowExecutionStatus.CANCELED

    assert await until(ended, seconds=PATIENCE), "the workflow is not cancelled"
    for task_id, status, generation in (
        *((cut, "FAILED", 3), (wait, "CANCELLED", 2), (look, "COMPLETED", 1)),
    ):
        assert await stands(task_id, status, generation)
    assert await told(4)


async def pulse(people: People, intents: Intents) -> None:
    """Apply a definition that is due every second, disable and enable it, and end it."""
    await _pulse(people, intents, people.switch)


async def tampered(people: People, intents: Intents) -> None:
    """The same, with its clock deleted by hand meanwhile."""
    await _pulse(people, intents, people.tamper)


async def _pulse(
    people: People, intents: Intents, meanwhile: Callable[[str], Awaitable[None]]
) -> None:
    document = yaml.safe_load((DEFINITIONS / "pulse.yaml").read_text())
    definition_id = f"e2e.pulse-{people.source}"
    document["metadata"]["id"] = definition_id
    await people.apply(document, intents)
    begin = datetime.now(UTC)
    # Without an end yet: all that is accounted for belongs to it.
    intents.scheduled = Scheduled(definition_id, 1.0, begin, begin, expect_tasks=("note/",))
    connection = await asyncpg.connect(people.suite.endpoints.postgres.dsn())
    try:

        async def accounted(count: int) -> bool:
            return len(await observing.due_times(connection, definition_id)) >= count

        assert await until(lambda: accounted(2), seconds=PATIENCE), "nothing is due"
        await meanwhile(definition_id)
        before = len(await observing.due_times(connection, definition_id))
        assert await until(lambda: accounted(before + 2), seconds=PATIENCE), "nothing is due again"
        document["spec"]["triggers"] = [{"name": "by-hand", "manual": {}}]
        await people.apply(document, intents)
        assert await until(lambda: people.no_clock(definition_id), seconds=PATIENCE)

        async def all_started() -> bool:
            return await people.no_tick() and not await connection.fetchval(
                "SELECT count(*) FROM ledger.due_times"
                " WHERE definition_id = $1 AND run_id IS NOT NULL AND acknowledged_at IS NULL",
                definition_id,
            )

        assert await until(all_started, seconds=PATIENCE), "a due run is not started"
        last = (await observing.due_times(connection, definition_id))[-1].due_at
        intents.scheduled = replace(intents.scheduled, end=last)
    finally:
        await connection.close()


async def tended(people: People, intents: Intents) -> None:
    """Hold the clock of a definition, let it go, have it be due now, and skip its next time."""
    document = yaml.safe_load((DEFINITIONS / "pulse.yaml").read_text())
    definition_id = f"e2e.tended-{people.source}"
    document["metadata"]["id"] = definition_id
    document["spec"]["triggers"][0]["schedule"]["every"] = "12h"
    await people.apply(document, intents)
    asked = {"namespace": "dev", "definition_id": definition_id, "reason": "a crash point"}

    async def known() -> bool:
        request = schedules_pb2.GetScheduleRequest(namespace="dev", definition_id=definition_id)
        try:
            await answered(lambda: people.schedules.GetSchedule(request))
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True

    assert await until(known, seconds=PATIENCE), "the ledger has no schedules of it"
    pause = schedules_pb2.PauseScheduleRequest(request_id=f"{people.source}-pause", **asked)
    resume = schedules_pb2.ResumeScheduleRequest(request_id=f"{people.source}-resume", **asked)
    now = schedules_pb2.TriggerScheduleRequest(
        request_id=f"{people.source}-now", overlap=schedules_pb2.OVERLAP_POLICY_ALLOW_ALL, **asked
    )
    skip = schedules_pb2.SkipNextDueTimeRequest(request_id=f"{people.source}-skip", **asked)
    for _ in "12":
        held = (await answered(lambda: people.schedules.PauseSchedule(pause))).schedule
        assert held.HasField("pause")
    for _ in "12":
        free = (await answered(lambda: people.schedules.ResumeSchedule(resume))).schedule
        assert not free.HasField("pause")
    due = [(await answered(lambda: people.schedules.TriggerSchedule(now))).due_time for _ in "12"]
    assert due[0].run_id == due[1].run_id
    skipped = [
        (await answered(lambda: people.schedules.SkipNextDueTime(skip))).due_at for _ in "12"
    ]
    assert skipped[0] == skipped[1]

    async def ran() -> bool:
        request = ledger_pb2.GetRunRequest(namespace="dev", run_id=due[0].run_id)
        try:
            found = await answered(lambda: people.ledger.GetRun(request))
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return found.run.status == ledger_pb2.RUN_STATUS_COMPLETED and found.run.tasks == 1

    # The scenario's checker does not see it: it is no run of the scenario.
    assert await until(ran, seconds=PATIENCE), "it is due now, and does not run"
    document["spec"]["triggers"] = [{"name": "by-hand", "manual": {}}]
    await people.apply(document, intents)
    assert await until(lambda: people.no_clock(definition_id), seconds=PATIENCE)


async def switched(people: People, intents: Intents) -> None:
    """Stop what has a label that nothing else has, and let it go on."""
    del intents
    asked = {"namespace": "dev", "reason": "a crash point"}
    throw = switches_pb2.ThrowKillSwitchRequest(
        point=switches_pb2.KILL_SWITCH_POINT_RUN, labels={"source": people.source},
        request_id=f"{people.source}-throw", **asked,
    )  # fmt: skip
    thrown = [
        (await answered(lambda: people.switches.ThrowKillSwitch(throw))).kill_switch.switch_id
        for _ in "12"
    ]
    assert thrown[0] == thrown[1]

    async def selected() -> bool:
        request = switches_pb2.ListKillSwitchesRequest(namespace="dev")
        found = await answered(lambda: people.switches.ListKillSwitches(request))
        return {one.switch_id: one.selected for one in found.kill_switches}[thrown[0]]

    assert await until(selected, seconds=PATIENCE), "no router tells what it selects"
    reset = switches_pb2.ResetKillSwitchRequest(
        switch_id=thrown[0], request_id=f"{people.source}-reset", **asked
    )
    for _ in "12":
        done = (await answered(lambda: people.switches.ResetKillSwitch(reset))).kill_switch
        assert done.HasField("reset_at")


async def backfilled(people: People, intents: Intents) -> None:
    """Have due times run that lie before a definition was there, one after the other."""
    document = yaml.safe_load((DEFINITIONS / "pulse.yaml").read_text())
    definition_id = backfill_id = f"e2e.backfilled-{people.source}"
    document["metadata"]["id"] = definition_id
    document["spec"]["triggers"][0]["schedule"]["every"] = "12h"
    now = datetime.now(UTC)
    await people.apply(document, intents)
    plan = backfills_pb2.PlanBackfillRequest(
        namespace="dev", backfill_id=backfill_id, definition_id=definition_id,
        mode=backfills_pb2.BACKFILL_MODE_MISSING, concurrency=1, reason="a crash point",
    )  # fmt: skip
    plan.due_from.FromDatetime(now - timedelta(hours=36))
    plan.due_to.FromDatetime(now)
    found = backfills_pb2.Backfill()

    async def planned() -> bool:
        nonlocal found
        try:
            found = (await answered(lambda: people.backfills.PlanBackfill(plan))).backfill
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True

    assert await until(planned, seconds=PATIENCE), "the ledger has no schedules of it"
    assert (found.due_times, found.starts) == (3, 3)
    asked = {"namespace": "dev", "backfill_id": backfill_id, "reason": "a crash point"}
    apply = backfills_pb2.ApplyBackfillRequest(
        plan_hash=found.plan_hash, request_id=f"{people.source}-apply", **asked
    )
    for _ in "12":
        await answered(lambda: people.backfills.ApplyBackfill(apply))
    get = backfills_pb2.GetBackfillRequest(namespace="dev", backfill_id=backfill_id)

    async def finished() -> bool:
        nonlocal found
        found = (await answered(lambda: people.backfills.GetBackfill(get))).backfill
        return found.state == backfills_pb2.BACKFILL_STATE_FINISHED

    # The scenario's checker does not see them: they are no runs of the scenario.
    assert await until(finished, seconds=PATIENCE), "the backfill does not come to its end"
    assert [(one.outcome, one.due_times) for one in found.tallies] == [("completed", 3)]
    document["spec"]["triggers"] = [{"name": "by-hand", "manual": {}}]
    await people.apply(document, intents)
    assert await until(lambda: people.no_clock(definition_id), seconds=PATIENCE)


async def too_large(people: People, intents: Intents) -> None:
    """Apply a resource whose event the broker refuses, and have it published when it may be."""
    bootstrap = people.suite.endpoints.kafka_bootstrap_servers
    name = f"e2e.large-{people.source}"
    schema = {"description": random.Random(people.source).randbytes(20_000).hex()}
    document = {
        "apiVersion": "backbone/v1",
        "kind": "EventType",
        "metadata": {"id": name, "namespace": "dev", "owner": "e2e"},
        "spec": {"schemas": [{"version": 1, "schema": schema}]},
    }
    await asyncio.to_thread(limit, bootstrap, LARGEST)
    try:
        await people.apply(document, intents)
        connection = await asyncpg.connect(people.suite.endpoints.postgres.dsn())
        try:

            async def parked() -> bool:
                return await observing.parked(connection) == 1

            assert await until(parked, seconds=PATIENCE), "nothing is parked"
        finally:
            await connection.close()
    finally:
        await asyncio.to_thread(limit, bootstrap, None)
    listing = outbox_pb2.ListParkedEventsRequest(namespace="dev")
    (event,) = (await answered(lambda: people.outbox.ListParkedEvents(listing))).events
    assert event.stream == f"event-type:{name}"
    request = outbox_pb2.RetryParkedEventRequest(
        namespace="dev", position=event.position, request_id=name, reason="a crash point"
    )
    await answered(lambda: people.outbox.RetryParkedEvent(request))


async def republish(people: People, _: Intents) -> None:
    """Have everything published once more that was recorded before this."""
    end = datetime.now(UTC)
    request = outbox_pb2.RepublishEventsRequest(
        namespace="dev", request_id=people.source, reason="a crash point"
    )
    request.recorded_from.FromDatetime(end - timedelta(minutes=5))
    request.recorded_to.FromDatetime(end)

    async def complete() -> bool:
        return (await answered(lambda: people.runs_outbox.RepublishEvents(request))).complete

    assert await until(complete, seconds=PATIENCE), "the republication has no end"


async def sealed(people: People, _: Intents) -> None:
    """Wait until what is recorded by now is sealed, and find nothing wrong with any of it."""
    connection = await asyncpg.connect(people.suite.endpoints.postgres.dsn())
    try:

        async def recorded() -> int:
            return await connection.fetchval("SELECT max(position) FROM ledger.events") or 0

        assert await until(recorded, seconds=PATIENCE), "nothing is recorded"
        last = await recorded()

        async def all_sealed() -> bool:
            return await connection.fetchval("SELECT ledger.events_sealed_to()") >= last

        assert await until(all_sealed, seconds=PATIENCE), "it is not sealed"
    finally:
        await connection.close()
    request = audit_pb2.VerifyEventsRequest(namespace="dev")
    while True:
        page = await answered(lambda: people.audit.VerifyEvents(request))
        assert not page.findings, page.findings
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def discard(people: People, _: Intents) -> None:
    """Look into a dead letter and give all of them up that there are by now, each twice."""
    since = datetime.now(UTC) - timedelta(seconds=5)
    wanted = router_pb2.DeadLetterFilter(state="open")
    wanted.parked_from.FromDatetime(since)
    listing = router_pb2.ListDeadLettersRequest(namespace="dev", filter=wanted)

    async def parked() -> bool:
        return bool((await answered(lambda: people.router.ListDeadLetters(listing))).dead_letters)

    assert await until(parked, seconds=PATIENCE), "nothing is parked"
    listed = await answered(lambda: people.router.ListDeadLetters(listing))
    opening = router_pb2.GetDeadLetterRequest(
        namespace="dev",
        place=listed.dead_letters[0].place,
        reveal=True,
        reason="a crash point",
        request_id=people.source,
    )
    seen = [await answered(lambda: people.router.GetDeadLetter(opening)) for _ in "12"]
    assert seen[0].value == seen[1].value
    request = router_pb2.DiscardDeadLettersRequest(
        namespace="dev",
        filter=wanted,
        request_id=people.source,
        reason="a crash point",
        limit=1000,
    )
    first, again = [
        {
            (one.place.partition, one.place.offset): one.state
            for one in (await answered(lambda: people.router.DiscardDeadLetters(request))).discarded
        }
        for _ in "12"
    ]
    assert first
    assert set(first.values()) == {"discarded"}
    assert first.items() <= again.items()


async def posted(people: People, intents: Intents) -> None:
    """Send one event by HTTP until it is accepted."""
    event = {
        "event_id": "posted",
        "type": "e2e.order.placed",
        "source": people.source,
        "occurred_at": "2026-01-01T00:00:00Z",
        "payload": {"amount": 5, "currency": "EUR", "lines": ["line-0"]},
    }
    value = json.dumps(event).encode()
    # Where it will be, and how often, nobody is told.
    intents.sent.append(
        Sent(
            source=people.source,
            event_id="posted",
            digest=digest(value),
            partition=None,
            offset=None,
            expect_tasks=("pack/line-0",),
        )
    )
    request = urllib.request.Request(
        f"http://{people.suite.addresses['router'].http}/events",
        data=value,
        headers={"Content-Type": "application/json"},
    )

    def post() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own
                return answer.status == 202
        except urllib.error.HTTPError as exc:
            if exc.code not in {429, 503}:
                raise
        except OSError:
            pass
        return False

    assert await until(lambda: asyncio.to_thread(post), seconds=PATIENCE), "it is not accepted"


def limit(bootstrap: str, largest: int | None) -> None:
    """Have the topic of definitions take batches of so many bytes, or as many as by default."""
    operation = AlterConfigOpType.DELETE if largest is None else AlterConfigOpType.SET
    entry = ConfigEntry(
        "max.message.bytes",
        "" if largest is None else str(largest),
        incremental_operation=operation,
    )
    topic = ConfigResource(
        ConfigResource.Type.TOPIC, observing.DEFINITIONS, incremental_configs=[entry]
    )
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for answer in admin.incremental_alter_configs([topic]).values():
        answer.result(30)


STIMULI: dict[str, Callable[[People, Intents], Awaitable[None]]] = {
    "orders": orders,
    "orders_slowly": orders_slowly,
    "by_hand": by_hand,
    "timed": timed,
    "held": held,
    "replayed": replayed,
    "shadowed": shadowed,
    "redacted": redacted,
    "pulse": pulse,
    "tended": tended,
    "switched": switched,
    "backfilled": backfilled,
    "tampered": tampered,
    "control": control,
    "republish": republish,
    "sealed": sealed,
    "too_large": too_large,
    "discard": discard,
    "posted": posted,
}
