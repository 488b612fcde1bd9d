"""Every missed-run policy after every cause of lateness, through gRPC, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import uuid4

import grpc
import pytest

from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from backbone.ledger.v1 import schedules_pb2, schedules_pb2_grpc
from contracts import canonical, identifiers
from contracts.decisions import Decision
from contracts.triggers import Trigger
from runtime.postgres import Postgres

# The stub knows this type in its type hints only.
LedgerStub: TypeAlias = "pb_grpc.LedgerServiceAsyncStub"
ScheduleStub: TypeAlias = "schedules_pb2_grpc.ScheduleServiceAsyncStub"
Channels = Callable[..., Awaitable[grpc.aio.Channel]]

DEFINITION = "billing.hourly"
OUTAGE = timedelta(hours=6)

# The newest due time is less than an hour old, and the one before it less than two.
SKIP = {"policy": "skip", "tolerance": "2h"}
CATCH_UP = {"policy": "catchUp", "window": "P7D", "limit": 3}
COMPRESS = {"policy": "compress", "window": "P7D"}

LETTERS = {
    pb.DUE_OUTCOME_RUN: "R",
    pb.DUE_OUTCOME_COALESCED: "C",
    pb.DUE_OUTCOME_WAITING: "W",
    pb.DUE_OUTCOME_SKIPPED: "S",
    pb.DUE_OUTCOME_DROPPED: "D",
    pb.DUE_OUTCOME_DISABLED: "-",
}


class Clockwork:
    """A definition that is due every hour, and what happens to it."""

    def __init__(
        self, ledger: LedgerStub, schedules: ScheduleStub, postgres: Postgres, missed: Any
    ) -> None:
        self.ledger, self.schedules, self.postgres, self.missed = (
            *(ledger, schedules, postgres, missed),
        )

    async def put(self, ago: timedelta, *, enabled: bool = True, overlap: str = "allowAll") -> None:
        schedule = {"every": "1h", "missedRuns": self.missed, "overlap": overlap}
        request = pb.PutScheduleRequest(
            namespace="dev",
            definition_id=DEFINITION,
            definition_version=1,
            schedules=json.dumps({"hourly": schedule}).encode(),
            task_queue="billing-tq",
            enabled=enabled,
        )
        request.effective_from.FromDatetime(datetime.now(UTC) - ago)
        await self.ledger.PutSchedule(request)

    async def advance(self) -> list[Trigger]:
        request = pb.AdvanceScheduleRequest(namespace="dev", definition_id=DEFINITION)
        response = await self.ledger.AdvanceSchedule(request)
        return [Trigger.model_validate_json(run.trigger) for run in response.runs]

    async def complete(self, trigger: Trigger) -> None:
        decision = Decision(
            definition_id=DEFINITION,
            definition_version=1,
            snapshot_sha256=canonical.digest(b"{}"),
            tasks=[],
            rules=[],
        )
        await self.ledger.RecordRun(
            pb.RecordRunRequest(
                namespace="dev",
                run_id=identifiers.run_id(DEFINITION, trigger.key),
                definition_id=DEFINITION,
                trigger=canonical.render(trigger),
                snapshot=b"{}",
                decision=canonical.render(decision),
                workflow_run_id="w-1",
            )
        )

    async def pass_time(self, outage: timedelta = OUTAGE) -> None:
        """Let all that has happened be an outage ago."""
        async with self.postgres.transaction("dev") as transaction:
            for statement in (
                "UPDATE schedules SET effective_from = effective_from - $1::interval",
                "UPDATE schedule_cursors SET covered_until = covered_until - $1::interval",
                "UPDATE schedule_pauses SET paused_at = paused_at - $1::interval",
                "UPDATE due_times SET due_at = due_at - $1::interval",
            ):
                await transaction.execute(statement, outage)

    async def nobody_ticks(self) -> None:
        """Temporal, the workers or the ledger are away."""
        await self.put(timedelta(0))
        assert await self.advance() == []
        await self.pass_time()

    async def created_late(self) -> None:
        await self.put(OUTAGE)

    async def disabled(self) -> None:
        await self.put(OUTAGE, enabled=False)
        assert await self.advance() == []
        await self.put(timedelta(0))

    async def paused(self) -> None:
        asked = {"namespace": "dev", "definition_id": DEFINITION, "reason": "maintenance"}
        await self.put(timedelta(0))
        await self.schedules.PauseSchedule(
            schedules_pb2.PauseScheduleRequest(request_id=uuid4().hex, **asked)
        )
        await self.pass_time()
        assert await self.advance() == []
        await self.schedules.ResumeSchedule(
            schedules_pb2.ResumeScheduleRequest(request_id=uuid4().hex, **asked)
        )

    async def blocked(self) -> None:
        """A run is open all the time, and closed then."""
        await self.put(timedelta(hours=1), overlap="bufferAll")
        [first] = await self.advance()
        await self.pass_time()
        assert await self.advance() == []
        await self.complete(first)

    async def outcomes(self) -> str:
        """Return what became of the due times of the outage, oldest first."""
        response = await self.ledger.ListDueTimes(
            pb.ListDueTimesRequest(namespace="dev", definition_id=DEFINITION)
        )
        return "".join(LETTERS[row.outcome] for row in response.due_times[:6])[::-1]


@pytest.fixture(autouse=True)
async def away_from_the_hour() -> None:
    """Let an ending hour end: the ledger goes by the database's clock, and tests count hours."""
    while datetime.now(UTC).minute == 59:  # noqa: ASYNC110 - a clock tells nobody
        await asyncio.sleep(0.5)


@pytest.mark.parametrize(
    ("cause", "missed", "expected"),
    [
        (Clockwork.nobody_ticks, SKIP, "SSSSRR"),
        (Clockwork.nobody_ticks, CATCH_UP, "DDDRRR"),
        (Clockwork.nobody_ticks, COMPRESS, "CCCCCR"),
        (Clockwork.created_late, SKIP, "SSSSRR"),
        (Clockwork.created_late, CATCH_UP, "DDDRRR"),
        (Clockwork.created_late, COMPRESS, "CCCCCR"),
        (Clockwork.disabled, SKIP, "----RR"),
        (Clockwork.disabled, CATCH_UP, "---RRR"),
        (Clockwork.disabled, COMPRESS, "CCCCCR"),
        (Clockwork.paused, SKIP, "----RR"),
        (Clockwork.paused, CATCH_UP, "---RRR"),
        (Clockwork.paused, COMPRESS, "CCCCCR"),
        (Clockwork.blocked, SKIP, "SSSSRW"),
        (Clockwork.blocked, CATCH_UP, "DDDRWW"),
        (Clockwork.blocked, COMPRESS, "CCCCCR"),
    ],
)
async def test_a_policy_decides_the_same_whatever_made_it_late(
    ledger: LedgerStub,
    calls: Channels,
    postgres: Postgres,
    *,
    cause: Callable[[Clockwork], Awaitable[None]],
    missed: dict[str, Any],
    expected: str,
) -> None:
    schedules: ScheduleStub = schedules_pb2_grpc.ScheduleServiceStub(await calls())
    clockwork = Clockwork(ledger, schedules, postgres, missed)
    await cause(clockwork)
    runs = await clockwork.advance()
    assert await clockwork.outcomes() == expected
    assert len(runs) == expected.count("R")


async def test_a_long_stretch_that_waited_is_one_run_and_nothing_of_it_waits_on(
    ledger: LedgerStub, calls: Channels, postgres: Postgres
) -> None:
    schedules: ScheduleStub = schedules_pb2_grpc.ScheduleServiceStub(await calls())
    clockwork = Clockwork(ledger, schedules, postgres, COMPRESS)
    await clockwork.put(timedelta(hours=1), overlap="bufferOne")
    [first] = await clockwork.advance()
    await clockwork.pass_time(timedelta(hours=150))
    assert await clockwork.advance() == []
    await clockwork.complete(first)
    [run] = await clockwork.advance()
    assert len(run.coalesced) == 149
    async with postgres.transaction("dev") as transaction:
        found = await transaction.fetch("SELECT outcome, count(*) FROM due_times GROUP BY outcome")
    assert {row["outcome"]: row["count"] for row in found} == {"run": 2, "coalesced": 149}
