"""Judges a history: what was sent against what came of it. Shares no code with Backbone.

Each violation is one sentence that names the invariant (see `INVARIANTS`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from history import Observation, Record, Sent

INVARIANTS = {
    "I1": "every accepted record is decided or dead-lettered, never neither, never both",
    "I2": "one run and one execution for each distinct event",
    "I3": "a run has exactly the tasks that the oracle expects, each once",
    "I4": "a task exists if and only if its TaskCreated does",
    "I5": "all copies of an emitted event are identical, byte for byte",
    "I7": "the events of a run come in order, without a gap",
    "I8": "each automated task has one outcome",
    "I9": "nothing appears that was never sent",
    "I10": "when all is quiet nothing is left in the outbox or uncommitted",
}

CREATED = "backbone.TaskCreated"
COMPLETED = "backbone.TaskCompleted"
FAILED = "backbone.TaskFailed"


def violations(sent: Iterable[Sent], seen: Observation) -> list[str]:
    """Return what is wrong; an empty list is a pass."""
    sent = list(sent)
    return [
        *_decided_or_dead(sent, seen),
        *_one_run(sent, seen),
        *_expected_tasks(sent, seen),
        *_created_events(seen),
        *_identical_copies(seen.events),
        *_order(seen.events),
        *_outcomes(seen),
        *_quiet(seen),
    ]


def _events(sent: list[Sent]) -> dict[tuple[str, str], Sent]:
    distinct: dict[tuple[str, str], Sent] = {}
    for operation in sent:
        if operation.expect_reason is None and operation.event_id is not None:
            distinct.setdefault((operation.source, operation.event_id), operation)
    return distinct


def _decided_or_dead(sent: list[Sent], seen: Observation) -> list[str]:
    wrong = []
    expected = {
        (operation.partition, operation.offset): operation.expect_reason
        for operation in sent
        if operation.expect_reason is not None
    }
    found: dict[tuple[int, int], set[str]] = defaultdict(set)
    for letter in seen.dead_letters:
        origin = (
            int(letter.headers["backbone-origin-partition"]),
            int(letter.headers["backbone-origin-offset"]),
        )
        found[origin].add(letter.headers["backbone-reason"])
    for origin, reason in expected.items():
        if found.get(origin) != {reason}:
            wrong.append(
                f"I1: record {origin} expected dead letter {reason}, found {found.get(origin)}"
            )
    for origin in found.keys() - expected.keys():
        wrong.append(f"I1: record {origin} was dead-lettered: {found[origin]}")
    return wrong


def _one_run(sent: list[Sent], seen: Observation) -> list[str]:
    wrong = []
    events = _events(sent)
    runs = Counter((run.source, run.event_id) for run in seen.runs)
    for event in events:
        if runs[event] != 1:
            wrong.append(f"I2: event {event} has {runs[event]} runs")
    for event in runs.keys() - events.keys():
        wrong.append(f"I9: a run for the event {event}, which was never sent")
    run_ids = [run.run_id for run in seen.runs]
    for run_id, times in Counter(run_ids).items():
        if times > 1:
            wrong.append(f"I2: the run {run_id} is recorded {times} times")
    for run_id in run_ids:
        if seen.executions.get(run_id) != 1:
            wrong.append(f"I2: the run {run_id} has {seen.executions.get(run_id, 0)} executions")
    for workflow_id in seen.executions.keys() - set(run_ids):
        wrong.append(f"I9: the execution {workflow_id} has no run")
    return wrong


def _expected_tasks(sent: list[Sent], seen: Observation) -> list[str]:
    wrong = []
    events = _events(sent)
    for run in seen.runs:
        operation = events.get((run.source, run.event_id))
        if operation is None:
            continue
        if sorted(run.tasks) != sorted(operation.expect_tasks):
            wrong.append(
                f"I3: the run {run.run_id} has tasks {sorted(run.tasks)}, "
                f"expected {sorted(operation.expect_tasks)}"
            )
    ids = Counter(task_id for run in seen.runs for task_id in run.task_ids)
    wrong += [f"I3: the task {task_id} exists {n} times" for task_id, n in ids.items() if n > 1]
    return wrong


def _by_type(records: Iterable[Record], event_type: str) -> dict[str, set[str]]:
    """Return for each task id the distinct event ids of one type."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in records:
        document = record.document()
        if document["type"] == event_type:
            found[document["payload"]["task_id"]].add(document["event_id"])
    return found


def _created_events(seen: Observation) -> list[str]:
    wrong = []
    created = _by_type(seen.events, CREATED)
    tasks = {task_id for run in seen.runs for task_id in run.task_ids}
    wrong += [f"I4: the task {task} has no TaskCreated on Kafka" for task in tasks - created.keys()]
    wrong += [f"I4: a TaskCreated for the unknown task {task}" for task in created.keys() - tasks]
    wrong += [
        f"I4: the task {task} has {len(ids)} different TaskCreated events"
        for task, ids in created.items()
        if len(ids) > 1
    ]
    return wrong


def _identical_copies(records: Iterable[Record]) -> list[str]:
    copies: dict[str, set[tuple[str, bytes | None, bytes | None]]] = defaultdict(set)
    for record in records:
        copies[record.document()["event_id"]].add((record.topic, record.key, record.value))
    return [
        f"I5: the copies of event {event_id} differ"
        for event_id, different in copies.items()
        if len(different) > 1
    ]


def _order(records: Iterable[Record]) -> list[str]:
    """First occurrences on one topic rise; over all topics a stream's versions have no gap."""
    wrong = []
    last: dict[tuple[str, str], int] = {}
    versions: dict[str, set[int]] = defaultdict(set)
    for record in records:
        stream = record.headers["backbone-stream"]
        version = int(record.headers["backbone-stream-version"])
        first_time = version not in versions[stream]
        versions[stream].add(version)
        if first_time:
            if version <= last.get((record.topic, stream), 0):
                wrong.append(f"I7: {stream} version {version} came late on {record.topic}")
            last[record.topic, stream] = version
    for stream, found in versions.items():
        if found != set(range(1, len(found) + 1)):
            wrong.append(f"I7: {stream} has versions {sorted(found)}")
    return wrong


def _outcomes(seen: Observation) -> list[str]:
    completed = _by_type(seen.events, COMPLETED)
    failed = _by_type(seen.events, FAILED)
    wrong = []
    for run in seen.runs:
        for task, task_id in zip(run.tasks, run.task_ids, strict=True):
            expected = 0 if task.startswith("approve/") else 1
            ends = len(completed.get(task_id, ())) + len(failed.get(task_id, ()))
            if ends != expected:
                wrong.append(f"I8: the task {task} of {run.run_id} has {ends} outcomes")
    return wrong


def _quiet(seen: Observation) -> list[str]:
    wrong = []
    if seen.pending_outbox:
        wrong.append(f"I10: {seen.pending_outbox} rows are left in the outbox")
    if seen.uncommitted:
        wrong.append(f"I10: {seen.uncommitted} records are not committed")
    return wrong
