"""One seed of a campaign: workload and nemesis at once, then the verdict."""

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import checker
import controlling
import faults
import observing
import scenario
import visits
import workload
from faults import Fault
from history import HistoryFile, Intents
from nemesis import Inflicted, Nemesis
from observing import Mark, Scope
from people import People, documents
from scenario import Outcome
from stack import Stack

PACE = 6.0  # records a second
# Seconds that Kafka has to acknowledge a record, and every sixth one, before nobody knows.
PATIENCE, HASTY = 40.0, 3.0
# Seconds that requests are tried after the last fault, and that all has to come to rest: what is
# stuck is stuck for ever, and a busy machine is slow.
ANSWER = 150.0
READY = 60.0  # seconds that the router has to hear of what a scenario needs
BY_CHANCE = (
    "no event was published twice",
    "terminate instance was not carried out",
    "no instance came back after its workflow was terminated",
)
"""What of `idle` one seed alone may leave undone: a relay has to die between publishing and noting
it, and an instance to wait for its timer, with nobody else to come, when it is looked for."""
BUNDLES = "chaos.bundles"
VISITORS = 5


@dataclass(frozen=True)
class Verdict:
    """What one seed came to."""

    seed: int
    source: str
    begun: datetime
    seconds: float
    planned: list[Fault]
    inflicted: list[Inflicted]
    restarts: int  # of processes that ended, by whomever
    outcome: Outcome
    duplicates: dict[str, int]
    violations: list[str]
    history: Path

    @property
    def green(self) -> bool:
        """Whether every invariant holds."""
        return not self.violations

    @property
    def kills(self) -> int:
        """How many processes the nemesis killed."""
        return sum(one.fault.kills for one in self.inflicted if one.healed is not None)

    def by_invariant(self) -> dict[str, list[str]]:
        """Return the violations of each invariant."""
        found: dict[str, list[str]] = defaultdict(list)
        for violation in self.violations:
            found[violation.partition(":")[0]].append(violation)
        return {name: found.get(name, []) for name in checker.INVARIANTS}

    def line(self) -> str:
        """Return it in one line."""
        out = self.outcome
        unknown = sum(sent.offset is None for sent in out.intents.sent)
        repeats = " ".join(f"{name}={count}" for name, count in self.duplicates.items())
        return (
            f"seed={self.seed} {'green' if self.green else 'RED'} records={len(out.intents.sent)} "
            f"unknown={unknown} "
            f"runs={len(out.seen.runs)} rows={len(out.seen.rows_here())} "
            f"faults={len(self.inflicted)} kills={self.kills} duplicates: {repeats} "
            f"at_rest_s={out.settling_s:.0f} seconds={self.seconds:.0f}"
        )


async def prepare(stack: Stack, folder: Path) -> None:
    """Apply what every trial needs."""
    history = HistoryFile(folder / "prepare.jsonl")
    async with People(
        stack.suite, source="prepare", seed=0, history=history, intents=Intents()
    ) as people:
        await people.apply(*documents("bundles", "controlled", "timed", "visit", "visits"))
    history.close()


async def run(
    stack: Stack,
    *,
    seed: int,
    events: int,
    fault_count: int,
    folder: Path,
    every_kind: bool = False,
) -> Verdict:
    """Run one seed on a stack that is up; everything about it comes from the seed.

    Args:
        stack: All of it ready.
        seed: Of workload and faults.
        events: How many; a third of them is sent twice. Visits come beside them.
        fault_count: How many faults.
        folder: Where the history goes.
        every_kind: Whether there is a fault of each kind, see `faults.plan`.
    """
    # The same seed may run twice on one stack: its events are then others.
    source = f"s{seed}-{uuid.uuid4().hex[:6]}"
    records = workload.plan(
        seed, source, events=events, duplicates=events // 3, cloudevents=True, early=events // 20
    )
    records = workload.with_visits(
        records, seed, source, visitors=VISITORS, each=max(6, events // 30)
    )
    seconds = len(records) / PACE
    planned = faults.plan(seed, count=fault_count, seconds=seconds, every_kind=every_kind)
    path = folder / f"{source}.jsonl"
    history = HistoryFile(path)
    history.write({"seed": seed, "events": events, "faults": fault_count, "source": source})
    nemesis = Nemesis(stack, history)
    begun, began = datetime.now(UTC), time.monotonic()
    restarts = _restarts(stack)
    found: list[str] = []
    prepared = asyncio.Event()

    async def begin(_number: int) -> None:
        await prepared.wait()

    async def alongside(intents: Intents) -> None:
        intents.bundling = BUNDLES
        async with People(
            stack.suite, source=source, seed=seed, history=history, intents=intents
        ) as people:
            await people.await_early_events(seconds=READY)
            await people.begin_schedule()
            await controlling.begin_shadow(people, give_up_at=time.monotonic() + READY)
            prepared.set()
            end = time.monotonic() + seconds + ANSWER
            each = max(3, events // 25)
            shared = {"count": each, "seconds": seconds, "give_up_at": end}
            few = {**shared, "count": max(2, events // 75)}
            await asyncio.gather(
                _told(found, "I2", people.start_by_hand(**shared)),
                _told(found, "I3", people.answer_tasks(records, **shared)),
                _told(found, "I2", people.publish_versions(**shared)),
                _told(
                    found,
                    "I14",
                    people.redrive_early_events(records, seconds=seconds, give_up_at=end),
                ),
                _told(
                    found,
                    "I2",
                    people.replay_orders(after=events // 3, seconds=seconds, give_up_at=end),
                ),
                _told(found, "I15", controlling.control_runs(people, **few)),
                _told(found, "I15", controlling.leave_to_the_clock(people, **few)),
                # What did not come back by itself is a finding too.
                _told(found, "I10", nemesis.run(planned)),
            )
            await _told(found, "I9", people.end_schedule(seconds=ANSWER))
            until = time.monotonic() + ANSWER
            await _told(found, "I15", controlling.end_shadow(people, give_up_at=until))
            found.extend(f"I10: {name} was never answered" for name in people.unanswered)

    try:
        outcome = await scenario.run(
            stack.suite,
            source=source,
            records=records,
            seconds=seconds,
            history=history,
            during=begin,
            alongside=alongside,
            bootstrap=stack.workload_brokers,
            patience_s=PATIENCE,
            hasty_s=HASTY,
            settle_s=ANSWER,
        )
    finally:
        history.close()
    return Verdict(
        seed=seed,
        source=source,
        begun=begun,
        seconds=time.monotonic() - began,
        planned=planned,
        inflicted=nemesis.inflicted,
        restarts=_restarts(stack) - restarts,
        outcome=outcome,
        duplicates=checker.duplicates(outcome.seen),
        violations=outcome.violations + found,
        history=path,
    )


def idle(verdicts: Sequence[Verdict]) -> list[str]:
    """Return what the nemesis left undone: a campaign without faults proves nothing."""
    wrong = []
    for verdict in verdicts:
        done = {one.fault.number for one in verdict.inflicted if one.healed is not None}
        wrong += [
            f"seed {verdict.seed}: {fault.name} was not carried out"
            for fault in verdict.planned
            if fault.number not in done
        ]
        if verdict.restarts < verdict.kills:
            wrong.append(f"seed {verdict.seed}: {verdict.kills} kills ended no process each")
    if not sum(verdict.kills for verdict in verdicts):
        wrong.append("nothing was killed")
    if not sum(verdict.duplicates["events"] for verdict in verdicts):
        wrong.append("no event was published twice")
    if not sum(len(verdict.outcome.intents.controlled) for verdict in verdicts):
        wrong.append("no run was retried and cancelled")
    if not sum(len(verdict.outcome.seen.resolutions) for verdict in verdicts):
        wrong.append("no dead letter was redriven")
    applied = [one for v in verdicts for one in visits.steps(v.outcome.seen.rows_here())]
    if not applied:
        wrong.append("no event was applied to an instance")
    if not any(step.ended for step in applied):
        wrong.append("no instance ended")
    if not any(step.of_timer for step in applied):
        wrong.append("no timer of an instance fired")
    if not sum(visits.came_back(verdict.outcome.seen) for verdict in verdicts):
        wrong.append("no instance came back after its workflow was terminated")
    return wrong


async def from_the_beginning(stack: Stack) -> list[str]:
    """Judge all that the stack holds, of every trial, from the first offset and row on."""
    seen = await observing.observe(
        stack.suite.endpoints,
        mark=Mark(),
        scope=Scope(prefixes=("",)),
        data_keys=stack.suite.data_keys,
    )
    return checker.violations_of_all(seen)


async def _told(found: list[str], invariant: str, work: Coroutine[Any, Any, None]) -> None:
    """Do it; an exception is a violation of the invariant, and no reason to end the others."""
    try:
        await work
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is a finding
        found.append(f"{invariant}: {type(exc).__name__}: {exc}")


def _restarts(stack: Stack) -> int:
    return sum(process.restarts for process in stack.suite.status())
