"""One scenario: the records of a plan are sent at their pace, and what came of them is judged."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import checker
import identity
import observing
import visits
from history import HistoryFile, Intents, Observation, Sent
from observing import Mark, Scope
from sending import Sender
from waiting import until
from workload import Planned

from devstack.infrastructure import Endpoints, temporal_client
from devstack.suite import Suite
from runtime.kafka import Brokers

PATIENCE = 60.0  # seconds that Kafka has to acknowledge a record
AT_REST = 3  # looks in a row, since what is on its way from one place to another is in neither


@dataclass(frozen=True)
class Outcome:
    """What was done, what was found, and what is wrong with it: nothing, when all is well."""

    intents: Intents
    seen: Observation
    violations: list[str]
    settled: bool  # everything came to its end in time
    settling_s: float  # how long that took after the last operation
    mark: Mark

    @property
    def sent(self) -> list[Sent]:
        """The records that Kafka acknowledged."""
        return [sent for sent in self.intents.sent if sent.offset is not None]


async def run(
    suite: Suite,
    *,
    source: str,
    records: list[Planned],
    seconds: float,
    history: HistoryFile,
    during: Callable[[int], Awaitable[None]] | None = None,
    settle_s: float = 120,
    alongside: Callable[[Intents], Awaitable[None]] | None = None,
    bootstrap: Brokers | None = None,
    patience_s: float = PATIENCE,
    hasty_s: float = PATIENCE,
) -> Outcome:
    """Send `records` over `seconds`, wait until all is quiet, observe and judge.

    Args:
        suite: Where the definition `e2e.orders` is active.
        source: That of the records' events, and of no others.
        records: What to send, in this order.
        seconds: Over which the sending is spread.
        history: Where every operation is written.
        during: Called with the number of each record before it is sent.
        settle_s: Seconds that the suite has to come to rest after the last operation.
        alongside: Works at the same time, and adds what else it intends; runs to its end.
        bootstrap: Where the records are sent, if not to Kafka directly.
        patience_s: Seconds after which a record that was not acknowledged may be there or not.
        hasty_s: The same of every sixth record.
    """
    endpoints = suite.endpoints
    connection = await asyncpg.connect(endpoints.postgres.dsn())
    try:
        mark = await observing.mark(connection, endpoints.brokers)
    finally:
        await connection.close()
    intents = Intents()
    sender = Sender(
        bootstrap or endpoints.brokers,
        history,
        intents,
        patience_s=patience_s,
        hasty_s=hasty_s,
    )

    async def send() -> None:
        began = time.monotonic()
        for number, planned in enumerate(records):
            due = began + number * seconds / len(records)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if during is not None:
                await during(number)
            sender.send(source, planned)

    try:
        async with asyncio.TaskGroup() as work:
            work.create_task(send())
            if alongside is not None:
                work.create_task(alongside(intents))
    finally:
        await asyncio.to_thread(sender.finish)
    began = time.monotonic()
    moving = await _settled(endpoints, intents, source, mark, settle_s)
    settling_s = time.monotonic() - began
    scheduled = intents.scheduled.definition_id if intents.scheduled else None
    seen = await observing.observe(
        endpoints,
        mark=mark,
        scope=_scope(intents, source),
        scheduled=scheduled,
        data_keys=suite.data_keys,
    )
    violations = checker.violations(intents, seen)
    if moving:
        violations.append(f"I10: not at rest {settle_s:.0f} s after the end: {', '.join(moving)}")
    return Outcome(intents, seen, violations, not moving, settling_s, mark)


def _scope(intents: Intents, source: str) -> Scope:
    by_hand = {identity.manual_run(request.definition_id, source) for request in intents.triggered}
    schedule = [f"{intents.scheduled.definition_id}:"] if intents.scheduled else []
    bundles = [f"{intents.bundling}:batch:"] if intents.bundling else []
    early = [f"{intents.early}:event:"] if intents.early else []
    timers = visits.timer_prefixes(intents)
    return Scope(source=source, prefixes=(*by_hand, *schedule, *bundles, *early, *timers))


async def _settled(
    endpoints: Endpoints, intents: Intents, source: str, mark: Mark, settle_s: float
) -> list[str]:
    """Wait until nothing is on its way any more; return what was when the time was over."""
    scope = _scope(intents, source)
    prefixes = observing.started_by_events(scope)
    bootstrap = endpoints.brokers
    temporal = await temporal_client(endpoints, namespace="dev")
    connection = await asyncpg.connect(endpoints.postgres.dsn())
    due = {
        identity.event_run(checker.ORDERS, sent.source, sent.event_id)
        for sent in intents.sent
        if sent.offset is not None and sent.starts
    } | {
        identity.manual_run(request.definition_id, request.request_id)
        for request in intents.triggered
        if request.acknowledged
    }
    due |= {
        identity.event_run(intents.early, sent.source, sent.event_id)
        for sent in intents.sent
        if intents.early is not None and sent.early and sent.offset is not None
    }
    due |= visits.event_runs(intents)
    looks = 0
    moving: list[str] = []

    async def at_rest() -> bool:
        nonlocal looks
        runs = await observing.runs_of(connection, scope, mark)
        started = await observing.executions(temporal, prefixes, mark)
        counts = {
            "runs that are due": len(due - {run.run_id for run in runs}),
            "runs": sum(run.status == "running" for run in runs),
            "rows of the outbox": await observing.pending_outbox(connection),
            "what waits": await observing.waiting(connection),
            "events of instances": await observing.queued(connection),
            "timers": await observing.timers_set(connection),
            "records": await asyncio.to_thread(observing.uncommitted, bootstrap),
            "executions": await observing.open_executions(temporal),
            "runs that Temporal lists": sum(map(visits.is_carried_out, runs)) - len(started),
        }
        moving[:] = [f"{count} {what}" for what, count in counts.items() if count > 0]
        looks = 0 if moving else looks + 1
        return looks >= AT_REST

    try:
        settled = await until(at_rest, seconds=settle_s)
    finally:
        await connection.close()
    return [] if settled else moving or ["it had only just come to rest"]
