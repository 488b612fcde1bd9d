"""Judges a history: what was done against what came of it. Shares no code with Backbone.

Each violation is one sentence that begins with the invariant's name (see `INVARIANTS`).
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import timedelta

import bundles
import explanations
import identity
import lives
import publication
import redrives
import visits
from history import FoundRun, Intents, Observation, Record, Row, digest

INVARIANTS = {
    "I1": "every record that Kafka has is decided or dead-lettered, never neither, never both; "
    "nothing appears that was never sent",
    "I2": "one run and one execution for each key, one effect for each request",
    "I3": "a run has exactly the tasks that the oracle expects, and each its outcome once",
    "I4": "state and event exist together: every task, run and row has its event on Kafka, "
    "and nothing else is there",
    "I5": "every copy of an event is what the table holds, byte for byte, under the id it must "
    "have",
    "I6": "what is left after de-duplication is every event once",
    "I7": "the events of a stream come in order, without a gap",
    "I8": "each accepted event of a key is applied once, in the order of its partition, to one "
    "generation; the state is what was applied comes to, and a timer fires once in a silence",
    "I9": "every due time is accounted for, once",
    "I10": "after the last fault everything comes to rest in time, without anybody's help",
    "I11": "duplicates are counted; none is a loss",
    "I12": "of every accepted record the ledger says what it meant to each candidate, or that "
    "nobody wanted it; of an event's copies the effect is one's",
    "I13": "every event that is gathered is in exactly one run",
    "I14": "a dead letter that is redriven is resolved once, and its event has exactly one run",
    "I15": "a task has one outcome for each time that it was begun, a run ends once for each time "
    "that it was opened, what a person asked of either is so, and a failure is told of once",
}

ORDERS = "e2e.orders"
CREATED = "backbone.TaskCreated"
APPLIED = "backbone.ResourceApplied"
STATUS_OF = {
    "backbone.TaskCompleted": "completed",
    "backbone.TaskFailed": "failed",
    "backbone.TaskCancelled": "cancelled",
    "backbone.TaskExpired": "expired",
}
RUN_ENDED = {
    "backbone.RunCompleted": "completed",
    "backbone.RunFailed": "failed",
    "backbone.RunCancelled": "cancelled",
}
RETRIED, REOPENED = "backbone.TaskRetried", "backbone.RunReopened"


def violations(intents: Intents, seen: Observation) -> list[str]:
    """Return what is wrong; an empty list is a pass."""
    return [
        *_decided_or_dead(intents, seen),
        *_one_run(intents, seen),
        *_expected_tasks(intents, seen),
        *_state_and_event(seen),
        *publication.violations(seen),
        *_due_times(intents, seen),
        *explanations.violations(intents, seen),
        *bundles.violations(intents, seen),
        *redrives.violations(intents, seen),
        *lives.violations(intents, seen),
        *visits.violations(intents, seen),
        *_rest(seen),
    ]


def violations_of_all(seen: Observation) -> list[str]:
    """Return what is wrong whatever was intended: of all runs and rows that there are."""
    return [
        *_executions(seen),
        *_state_and_event(seen),
        *publication.violations(seen),
        *lives.violations_of_all(seen),
        *visits.places(visits.steps(seen.rows)),
        *_rest(seen),
    ]


def duplicates(seen: Observation) -> dict[str, int]:
    """Return how many records came more than once: I11."""
    origins = Counter(_origin(letter) for letter in seen.dead_letters)
    return {
        "inputs": len(seen.inputs) - len({digest(record.value) for record in seen.inputs}),
        "events": publication.duplicates(seen.events),
        "dead_letters": sum(origins.values()) - len(origins),
    }


def _origin(letter: Record) -> tuple[int, int]:
    headers = letter.headers
    return int(headers["backbone-origin-partition"]), int(headers["backbone-origin-offset"])


def _decided_or_dead(intents: Intents, seen: Observation) -> list[str]:
    wrong = []
    log = {(record.partition, record.offset): record for record in seen.inputs}
    reasons = {sent.digest: sent.expect_reason for sent in intents.sent}
    early = {sent.digest for sent in intents.sent if sent.early}
    for sent in intents.sent:
        if sent.partition is None or sent.offset is None:
            continue
        record = log.get((sent.partition, sent.offset))
        if record is None or digest(record.value) != sent.digest:
            place = (sent.partition, sent.offset)
            wrong.append(f"I1: Kafka does not have at {place} what it acknowledged there")
    letters: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for letter in seen.dead_letters:
        letters[_origin(letter)].append(letter)
    for place, record in log.items():
        found = {letter.headers["backbone-reason"] for letter in letters.get(place, ())}
        if digest(record.value) not in reasons:
            wrong.append(f"I1: the record {place} was never sent")
        elif (reason := reasons[digest(record.value)]) is None:
            if found:
                wrong.append(f"I1: the event at {place} was dead-lettered: {sorted(found)}")
        elif found != {reason} and (found or digest(record.value) not in early):
            wrong.append(f"I1: the record {place} has the dead letters {sorted(found)}, "
                         f"expected {reason}")  # fmt: skip
        wrong += [
            f"I1: the dead letter of {place} has other bytes"
            for letter in letters.get(place, ())
            if not _carries(letter, record)
        ]
    wrong += [f"I1: a dead letter of {p}, which is no record" for p in letters.keys() - log.keys()]
    return wrong


def _carries(letter: Record, record: Record) -> bool:
    """Say whether a dead letter holds the record's bytes, or as many as it says it could."""
    cut_from = letter.headers.get("backbone-value-cut-from")
    if cut_from is None:
        return letter.value == record.value
    value = record.value or b""
    return int(cut_from) == len(value) and value.startswith(letter.value or b"-")


def _expected_runs(intents: Intents, seen: Observation) -> dict[str, tuple[str, ...]]:
    """Return the tasks of each run that there must be, by the oracle."""
    had = {digest(record.value) for record in seen.inputs}
    expected = {
        identity.event_run(ORDERS, sent.source, sent.event_id): sent.expect_tasks
        for sent in intents.sent
        if sent.starts and sent.digest in had
    }
    for request in intents.triggered:
        if request.acknowledged:
            run_id = identity.manual_run(request.definition_id, request.request_id)
            expected[run_id] = request.expect_tasks
    for due in seen.due_times:
        if due.outcome == "run" and intents.scheduled is not None:
            run_id = identity.scheduled_run(intents.scheduled.definition_id, due.due_at)
            expected[run_id] = intents.scheduled.expect_tasks
    expected |= intents.replayed | redrives.expected_runs(intents, seen)
    return expected | visits.expected_runs(intents, seen)


def _possible_runs(intents: Intents, seen: Observation) -> dict[str, tuple[str, ...]]:
    """Return the tasks of each run that there may be: whether it was caused, nobody knows."""
    by_hand = {
        identity.manual_run(request.definition_id, request.request_id): request.expect_tasks
        for request in intents.triggered
        if not request.acknowledged
    }
    gathered = {run.run_id: bundles.TASKS for run in seen.runs if bundles.is_one(intents, run)}
    return by_hand | gathered | visits.possible_runs(seen)


def _one_run(intents: Intents, seen: Observation) -> list[str]:
    expected, possible = _expected_runs(intents, seen), _possible_runs(intents, seen)
    runs = Counter(run.run_id for run in seen.runs)
    wrong = [f"I2: the run {run_id} is not there" for run_id in expected.keys() - runs.keys()]
    wrong += [f"I2: the run {run_id} is there {n} times" for run_id, n in runs.items() if n > 1]
    wrong += [
        f"I1: the run {run_id} has no cause that Kafka or a person knows of"
        for run_id in runs.keys() - expected.keys() - possible.keys()
    ]
    wrong += _executions(seen)
    applied = Counter(row.stream for row in seen.rows_here() if row.type == APPLIED)
    for stream in {request.stream for request in intents.applied}:
        requests = [request for request in intents.applied if request.stream == stream]
        sure = sum(request.acknowledged for request in requests)
        if not sure <= applied[stream] <= len(requests):
            wrong.append(
                f"I2: {stream} was applied {applied[stream]} times by {len(requests)} requests, "
                f"{sure} of them acknowledged"
            )
    return wrong


def _executions(seen: Observation) -> list[str]:
    run_ids = {run.run_id for run in seen.runs if visits.is_carried_out(run)}
    return [
        f"I2: the run {run_id} has {seen.executions.get(run_id, 0)} executions"
        for run_id in run_ids
        if seen.executions.get(run_id) != 1
    ] + [
        f"I2: the execution {workflow_id} has no run"
        for workflow_id in seen.executions.keys() - run_ids
    ]


def _expected_tasks(intents: Intents, seen: Observation) -> list[str]:
    expected = {**_possible_runs(intents, seen), **_expected_runs(intents, seen)}
    outcomes: dict[str, list[str]] = defaultdict(list)
    for row in seen.rows:
        if row.type in STATUS_OF:
            outcomes[row.payload()["task_id"]].append(STATUS_OF[row.type])
        elif row.type == RETRIED:
            outcomes[row.payload()["task_id"]].clear()
    answers: dict[str, bool] = {}
    for answer in intents.answered:
        task_id = identity.task(answer.run_id, answer.task)
        answers[task_id] = answers.get(task_id, False) or answer.acknowledged
    wrong = []
    for run in seen.runs:
        if run.run_id not in expected:
            continue
        names = sorted(expected[run.run_id])
        if sorted(task.name for task in run.tasks) != names:
            found = sorted(task.name for task in run.tasks)
            wrong.append(f"I3: the run {run.run_id} has the tasks {found}, expected {names}")
        ids = {task.task_id for task in run.tasks}
        if ids != {identity.task(run.run_id, name) for name in names}:
            wrong.append(f"I3: the run {run.run_id} has tasks of other ids")
        for task in run.tasks:
            ends = outcomes.get(task.task_id, [])
            least, most = _outcomes_due(task.type, answers.get(task.task_id))
            if not least <= len(ends) <= most:
                wrong.append(f"I3: the task {task.name} of {run.run_id} has the outcomes {ends}")
            elif task.status != (ends[0] if ends else "open"):
                wrong.append(
                    f"I4: the task {task.name} of {run.run_id} is {task.status}, its events say "
                    f"{ends}"
                )
    return wrong


def _outcomes_due(task_type: str, answer: bool | None) -> tuple[int, int]:  # noqa: FBT001
    """Return how many outcomes a task has at least and at most."""
    if task_type == "automated" or answer:
        return 1, 1
    return (0, 0) if answer is None else (0, 1)


def _state_and_event(seen: Observation) -> list[str]:
    wrong = []
    of_stream: dict[str, list[Row]] = defaultdict(list)
    for row in seen.rows:
        of_stream[row.stream].append(row)
    for run in seen.runs:
        rows = of_stream.get(f"run:{run.run_id}", [])
        created = Counter(row.payload()["task_id"] for row in rows if row.type == CREATED)
        if created != Counter(task.task_id for task in run.tasks):
            wrong.append(
                f"I4: the run {run.run_id} has {len(run.tasks)} tasks and "
                f"{created.total()} TaskCreated for {len(created)}"
            )
        ends = []
        for row in rows:
            if row.type in RUN_ENDED:
                ends.append(RUN_ENDED[row.type])
            elif row.type == REOPENED:
                ends.clear()
        if ends != ([run.status] if run.status in RUN_ENDED.values() else []):
            wrong.append(f"I4: the run {run.run_id} is {run.status}, its events say {ends}")
    return wrong


def _due_times(intents: Intents, seen: Observation) -> list[str]:
    scheduled = intents.scheduled
    if scheduled is None:
        return []
    wrong = []
    step = timedelta(seconds=scheduled.every_s)
    instants = [due.due_at for due in seen.due_times]
    covered = bool(instants) and (
        instants[0] <= scheduled.begin + step and instants[-1] > scheduled.end - step
    )
    if not covered:
        span = f"{instants[0]} to {instants[-1]}" if instants else "nothing"
        wrong.append(f"I9: accounted is {span}, due was {scheduled.begin} to {scheduled.end}")
    wrong += [
        f"I9: after {earlier} the next due time accounted for is {later}"
        for earlier, later in itertools.pairwise(instants)
        if later - earlier != step
    ]
    runs = _by_id(seen.runs)
    for due in seen.due_times:
        run_id = identity.scheduled_run(scheduled.definition_id, due.due_at)
        if (due.outcome, due.run_id) != ("run", run_id) or run_id not in runs:
            wrong.append(f"I9: the due time {due.due_at} was {due.outcome}: {due.run_id}")
    return wrong


def _by_id(runs: Iterable[FoundRun]) -> dict[str, FoundRun]:
    return {run.run_id: run for run in runs}


def _rest(seen: Observation) -> list[str]:
    left = {
        "rows are left in the outbox": seen.pending_outbox,
        "rows are parked": seen.parked,
        "records are not committed": seen.uncommitted,
        "starts or operations wait": seen.waiting,
        "runs are not at rest": sum(run.status == "running" for run in seen.runs),
    }
    return [f"I10: {count} {what}" for what, count in left.items() if count]
