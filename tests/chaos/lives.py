"""Judges the lives of runs and tasks by their events, and what people asked of them: I15.

Shares no code with Backbone. A task is open from its creation or retry to one outcome; a run ends
when all of its tasks have, and is opened again by a retry only; of a failure somebody is told once.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import identity
from history import Intents, Observation, Row

CREATED, RETRIED = "backbone.TaskCreated", "backbone.TaskRetried"
ENDS = {f"backbone.Task{end}" for end in ("Completed", "Failed", "Cancelled", "Expired")}
ONCE = {f"backbone.Task{what}" for what in ("Overdue", "Escalated")}
RUN_ENDS = {f"backbone.Run{end}" for end in ("Completed", "Failed", "Cancelled")}
REOPENED, TOLD = "backbone.RunReopened", "backbone.FailureHandled"


@dataclass
class Life:
    """What became of one run, and what is wrong with that."""

    generations: dict[str, int] = field(default_factory=dict)  # of each task
    open_tasks: set[str] = field(default_factory=set)
    failures: list[tuple[str, int]] = field(default_factory=list)  # task and generation
    calls: Counter[str] = field(default_factory=Counter)
    clock: Counter[tuple[str, str]] = field(default_factory=Counter)
    ended: str = ""
    wrong: list[str] = field(default_factory=list)


def violations(intents: Intents, seen: Observation) -> list[str]:
    """Return which lives are impossible, and what was asked of a run and is not so."""
    lives = _lives(seen)
    wrong = [f"I15: {stream}: {one}" for stream, life in lives.items() for one in life.wrong]
    for asked in intents.controlled:
        life = lives.get(f"run:{asked.run_id}", Life())
        task_id = identity.task(asked.run_id, asked.task)
        end = "backbone.RunCancelled" if asked.cancelled else "backbone.RunFailed"
        if life.ended != end:
            wrong.append(f"I15: {asked.run_id} has the end {life.ended or 'none'}, expected {end}")
        if life.generations.get(task_id) != asked.retries + 1:
            wrong.append(
                f"I15: {asked.task} of {asked.run_id} was retried {asked.retries} times and has "
                f"the generation {life.generations.get(task_id)}"
            )
        due = {identity.failure_call(asked.run_id, *failure) for failure in life.failures}
        told = set(life.calls)
        # Who cancels a run is not told any more.
        if not (told <= due if asked.cancelled else told == due):
            wrong.append(f"I15: the failures of {asked.run_id} were told by {told}, expected {due}")
        if len(due) != asked.retries + 1:
            wrong.append(f"I15: {asked.task} of {asked.run_id} failed {len(due)} times")
    return wrong


def violations_of_all(seen: Observation) -> list[str]:
    """Return which lives are impossible, whatever was asked."""
    return violations(Intents(), seen)


def _lives(seen: Observation) -> dict[str, Life]:
    of_stream: dict[str, list[Row]] = defaultdict(list)
    for row in seen.rows:
        if row.service == "ledger" and row.stream.startswith("run:"):
            of_stream[row.stream].append(row)
    return {stream: _life(rows) for stream, rows in of_stream.items()}


def _life(rows: Sequence[Row]) -> Life:
    life = Life()
    for row in sorted(rows, key=lambda row: row.version):
        payload = row.payload()
        _task(life, row.type, str(payload.get("task_id")))
        if row.type in RUN_ENDS:
            if life.ended:
                life.wrong.append(f"it ends as {row.type} after {life.ended}")
            if life.open_tasks:
                life.wrong.append(f"it ends as {row.type} with {len(life.open_tasks)} open tasks")
            life.ended = row.type
        elif row.type == REOPENED:
            if not life.ended:
                life.wrong.append("it is opened again and was open")
            life.ended = ""
        elif row.type == TOLD:
            life.calls[payload["call_id"]] += 1
    life.wrong += [f"the call {call} was made {n} times" for call, n in life.calls.items() if n > 1]
    life.wrong += [f"{what} is there {n} times" for what, n in life.clock.items() if n > 1]
    return life


def _task(life: Life, event_type: str, task_id: str) -> None:
    if event_type == CREATED:
        life.generations[task_id] = 1
        life.open_tasks.add(task_id)
    elif event_type == RETRIED:
        if task_id in life.open_tasks:
            life.wrong.append(f"the task {task_id} is retried while it is open")
        life.generations[task_id] = life.generations.get(task_id, 0) + 1
        life.open_tasks.add(task_id)
    elif event_type in ENDS:
        if task_id not in life.open_tasks:
            life.wrong.append(f"the task {task_id} ends as {event_type} and was not open")
        life.open_tasks.discard(task_id)
        if event_type == "backbone.TaskFailed":
            life.failures.append((task_id, life.generations.get(task_id, 0)))
    elif event_type in ONCE:
        life.clock[event_type, task_id] += 1
