"""Whole registries on one database and one Temporal: hands, crashes and hangs leave no trace."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import sampling
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc, schedules_pb2, schedules_pb2_grpc
from contracts import identifiers
from registry import app
from runtime import grpcclient, migrations


@dataclass
class Process:
    """A registry that serves, and what it has logged."""

    process: asyncio.subprocess.Process
    log: list[dict[str, Any]] = field(default_factory=list)
    channel: grpc.aio.Channel | None = None
    reader: asyncio.Task[None] | None = None

    def told(self, event: str) -> bool:
        """Say whether an event was logged."""
        return any(entry["event"] == event for entry in self.log)

    async def read(self) -> None:
        """Read the log to its end."""
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log.append(json.loads(line))

    async def apply(self, content: bytes) -> None:
        """Apply one document."""
        stub = registry_pb2_grpc.RegistryServiceStub(self.channel)
        await stub.ApplyResources(
            registry_pb2.ApplyResourcesRequest(
                documents=[registry_pb2.Document(content=content)], reason="why"
            )
        )

    async def show(self, definition_id: str) -> schedules_pb2.GetScheduleResponse:
        """Ask how a definition's schedules stand."""
        stub = schedules_pb2_grpc.ScheduleServiceStub(self.channel)
        request = schedules_pb2.GetScheduleRequest(namespace="dev", definition_id=definition_id)
        return await stub.GetSchedule(request)

    async def drifts(self, definition_id: str) -> list[schedules_pb2.ScheduleDrift]:
        """Ask what was done by hand, oldest first."""
        stub = schedules_pb2_grpc.ScheduleServiceStub(self.channel)
        request = schedules_pb2.ListScheduleDriftsRequest(
            namespace="dev", definition_id=definition_id
        )
        return list((await stub.ListScheduleDrifts(request)).drifts)[::-1]


@pytest.fixture
async def serve(
    postgres_dsn: str,
    temporal_address: str,
    ledger: Any,
    until: Callable[..., Awaitable[None]],
    forget: Callable[[str], None],
) -> AsyncIterator[Any]:
    """Starts registries: `await serve(BACKBONE_FAULTPOINT=...)`.

    They have ended before the schedules are forgotten: one that still leads puts them back, for
    the next test to find.
    """
    del forget
    migrations.apply(postgres_dsn, schema=app.SCHEMA, sources=app.MIGRATIONS)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BACKBONE_")},
        "BACKBONE_ENVIRONMENT": "local",
        "BACKBONE_POSTGRES_DSN": postgres_dsn,
        "BACKBONE_LEDGER_ADDRESS": ledger.address,
        "BACKBONE_TEMPORAL_ADDRESS": temporal_address,
        "BACKBONE_RECONCILE_INTERVAL": "PT0.5S",
        "BACKBONE_RECONCILER_LEASE": "PT3S",
    }
    started: list[Process] = []

    async def start(*, ready: bool = True, **env: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "registry", "serve"),
            env={**environment, **env},
            stderr=asyncio.subprocess.PIPE,
        )
        made = Process(process)
        started.append(made)
        made.reader = asyncio.create_task(made.read())
        if ready:
            await until(lambda: made.told("ready"), "the registry serves", within_s=60)
            port = next(entry["port"] for entry in made.log if "port" in entry)
            made.channel = grpcclient.channel(f"127.0.0.1:{port}", actor="ada")
        return made

    yield start
    for one in started:
        if one.channel is not None:
            await one.channel.close()
        if one.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                one.process.kill()
        await one.process.wait()
        assert one.reader is not None
        await one.reader


@pytest.fixture
def definition_id(unique_name: str, forget: Callable[[str], None]) -> str:
    """The id of a definition whose Schedule is removed after the test."""
    forget(unique_name)
    return unique_name


async def every(client: Client, definition_id: str) -> float | None:
    """Return the seconds between two wake-ups of a definition, None when nothing wakes it.

    -1 while Temporal does not say: a busy server answers late, or no more.
    """
    handle = client.get_schedule_handle(identifiers.schedule_id(definition_id))
    try:
        schedule = (await handle.describe(rpc_timeout=timedelta(seconds=10))).schedule
    except RPCError as exc:
        if exc.status is RPCStatusCode.NOT_FOUND:
            return None
        if exc.status is RPCStatusCode.DEADLINE_EXCEEDED:
            return -1
        raise
    assert not schedule.state.paused
    return schedule.spec.intervals[0].every.total_seconds()


async def edit(handle: Any) -> None:
    """Change the times, as somebody does in Temporal's own interface."""

    def changed(present: ScheduleUpdateInput) -> ScheduleUpdate:
        present.description.schedule.spec.intervals = [
            ScheduleIntervalSpec(every=timedelta(hours=7))
        ]
        return ScheduleUpdate(present.description.schedule)

    await handle.update(changed)


async def test_what_is_done_by_hand_is_put_back_and_recorded_and_others_are_left_alone(
    serve: Callable[..., Awaitable[Process]],
    client: Client,
    document: Callable[..., bytes],
    definition_id: str,
    until: Callable[..., Awaitable[None]],
) -> None:
    registry = await serve()
    await registry.apply(document(definition_id, every="1h"))

    async def stands() -> bool:
        return await every(client, definition_id) == 3600

    async def recorded(count: int) -> bool:
        found = await registry.drifts(definition_id)
        return len(found) == count and all(one.HasField("repaired_at") for one in found)

    await until(stands, "it is woken")
    await client.create_schedule(
        foreign := f"foreign-{definition_id}",
        Schedule(
            action=ScheduleActionStartWorkflow("Other", id="other", task_queue="other"),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=5))]),
        ),
    )
    handle = client.get_schedule_handle(identifiers.schedule_id(definition_id))
    for count, by_hand in enumerate((handle.delete, handle.pause, lambda: edit(handle)), start=1):
        await by_hand()
        await until(lambda n=count: recorded(n), f"{by_hand} is put back and recorded")
        assert await stands()
    kinds = [one.kind for one in await registry.drifts(definition_id)]
    assert kinds == [
        schedules_pb2.SCHEDULE_DRIFT_KIND_MISSING,
        schedules_pb2.SCHEDULE_DRIFT_KIND_DIFFERENT,
        schedules_pb2.SCHEDULE_DRIFT_KIND_DIFFERENT,
    ]
    _, paused, edited = await registry.drifts(definition_id)
    assert {one.path: (one.wanted, one.found) for one in paused.differences}["state.paused"] == (
        *("false", "true"),
    )
    assert [(one.path, one.wanted, one.found) for one in edited.differences] == [
        ("spec.intervals", "[every 3600s from 0s]", "[every 25200s from 0s]")
    ]
    shown = await registry.show(definition_id)
    assert shown.schedule.state == schedules_pb2.SCHEDULE_STATE_ACTIVE
    assert (shown.wanted, len(shown.differences), len(shown.next_due)) == (shown.found, 0, 5)
    assert shown.reconciler.leader
    assert (await client.get_schedule_handle(foreign).describe()).schedule.spec.intervals
    await client.get_schedule_handle(foreign).delete()


async def test_leader_that_is_killed_is_succeeded_by_the_other(
    serve: Callable[..., Awaitable[Process]],
    client: Client,
    document: Callable[..., bytes],
    definition_id: str,
    until: Callable[..., Awaitable[None]],
) -> None:
    leader = await serve()
    await until(lambda: leader.told("reconciler_leads"), "the first one leads")
    other = await serve()
    await other.apply(document(definition_id, every="1h"))

    async def wakes(seconds: float) -> bool:
        return await every(client, definition_id) == seconds

    await until(lambda: wakes(3600), "the leader hands on what the other took in")
    assert not other.told("reconciler_leads")
    leader.process.kill()
    await other.apply(document(definition_id, every="2h"))
    await until(lambda: wakes(7200), "the other one hands on", within_s=60)
    assert other.told("reconciler_leads")
    assert await other.drifts(definition_id) == []


async def test_leader_that_hung_and_wakes_writes_nothing_any_more(
    serve: Callable[..., Awaitable[Process]],
    client: Client,
    document: Callable[..., bytes],
    definition_id: str,
    until: Callable[..., Awaitable[None]],
) -> None:
    leader = await serve()
    await until(lambda: leader.told("reconciler_leads"), "the first one leads")
    other = await serve()
    await leader.apply(document(definition_id, every="1h"))

    async def wakes(seconds: float) -> bool:
        return await every(client, definition_id) == seconds

    await until(lambda: wakes(3600), "it is handed on")
    leader.process.send_signal(signal.SIGSTOP)
    await other.apply(document(definition_id, every="2h"))
    await until(lambda: wakes(7200), "the other one hands on", within_s=60)
    leader.process.send_signal(signal.SIGCONT)
    await until(
        lambda: leader.told("reconciler_waits"), "the first one knows that it leads no more"
    )
    shown = await other.show(definition_id)
    assert shown.wanted == shown.found
    assert await wakes(7200)
    assert await other.drifts(definition_id) == []
    # It is as good as any other by now.
    other.process.send_signal(signal.SIGTERM)
    await other.process.wait()
    await leader.apply(document(definition_id, every="3h"))
    await until(lambda: wakes(10800), "the first one leads again", within_s=60)


CALLS = (
    *("lead", "list_wakeups", "describe_wakeup", "put_schedule", "record_drift", "create_wakeup"),
    *("update_wakeup", "trigger_wakeup", "delete_wakeup", "record_repair"),
    *("record_materialisation", "record_comparison"),
)


@pytest.mark.parametrize(
    ("call", "side"), sampling.of_today(list(itertools.product(CALLS, ("before", "after"))), 5)
)
async def test_leader_that_dies_at_any_call_leaves_nothing_undone_and_nothing_twice(  # noqa: PLR0917
    serve: Callable[..., Awaitable[Process]],
    client: Client,
    document: Callable[..., bytes],
    definition_id: str,
    forget: Callable[[str], None],
    until: Callable[..., Awaitable[None]],
    tmp_path: Path,
    call: str,
    side: str,
) -> None:
    """One was deleted by hand, one edited, one is new, one ends, and the leader dies of it."""
    deleted, edited, new, ended = (f"{definition_id}.{n}" for n in ("del", "edit", "new", "end"))
    for one in (deleted, edited, new, ended):
        forget(one)
    first = await serve()
    for one in (deleted, edited, ended):
        await first.apply(document(one, every="1s"))
    applied_at = datetime.now(UTC)

    async def woken(*expected: float | None) -> bool:
        found = [await every(client, one) for one in (deleted, edited, new, ended)]
        return found == list(expected)

    await until(lambda: woken(1, 1, None, 1), "all are handed on")
    first.process.send_signal(signal.SIGTERM)
    await first.process.wait()
    await client.get_schedule_handle(identifiers.schedule_id(deleted)).delete()
    await edit(client.get_schedule_handle(identifiers.schedule_id(edited)))
    # What is put back after a due time has passed is triggered as well.
    await until(
        lambda: datetime.now(UTC) > applied_at + timedelta(seconds=1), "a due time has passed"
    )
    # Long enough that one that starts beside it on a busy machine does not take the lead from it.
    lease = {"BACKBONE_RECONCILER_LEASE": "PT8S"}
    dying = await serve(
        ready=False, **lease, BACKBONE_FAULTPOINT=f"registry.{side}_{call}:1:{tmp_path / 'died'}"
    )

    def died() -> bool:
        return dying.process.returncode is not None

    await until(lambda: died() or dying.told("reconciler_leads"), "it leads", within_s=60)
    last = await serve(**lease)
    await last.apply(document(new, every="1s"))
    await last.apply(document(ended))
    await until(died, "it has died", within_s=60)
    assert dying.process.returncode == -signal.SIGKILL
    await until(lambda: woken(1, 1, 1, None), "all is as it should be", within_s=60)

    async def repaired() -> bool:
        found = await last.drifts("")
        return all(one.HasField("repaired_at") for one in found)

    await until(repaired, "every drift is put back")
    found = {(one.definition_id, one.kind) for one in await last.drifts("")}
    assert found == {
        (deleted, schedules_pb2.SCHEDULE_DRIFT_KIND_MISSING),
        (edited, schedules_pb2.SCHEDULE_DRIFT_KIND_DIFFERENT),
    }
    assert len(await last.drifts("")) == 2
