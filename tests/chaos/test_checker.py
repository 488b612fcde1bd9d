"""The checker finds what it is there to find: each planted fault turns its verdict."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import checker
import explanations
import identity
import pytest
from histories import DEFINITIONS, RUN_EVENTS, TASK_EVENTS, carried_out, published, row
from history import (
    Answered,
    Applied,
    Controlled,
    Decision,
    DueTime,
    FoundRun,
    FoundTask,
    Intents,
    Observation,
    Record,
    Resolution,
    Row,
    Scheduled,
    Sent,
    Triggered,
    Unrouted,
    digest,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ORDER, ABROAD, NOTHING = b'{"order": 1}', b'{"order": 3}', b'{"order": 4}'
SOON, LATER = b'{"early": 5}', b'{"early": 6}'
BY_HAND, BEAT = "chaos.by-hand", "chaos.beat"
R1 = identity.event_run("e2e.orders", "s", "1")
AGAIN = f"{R1}:replay:r-1"
BUNDLES, BUNDLE = "chaos.bundles", "chaos.bundles:batch:a"
EARLY = "chaos.early-s"
E5, E6 = (identity.event_run(EARLY, "s", number) for number in "56")
STRANDED = identity.manual_run("chaos.controlled", "s-c0")
TORN = identity.task(STRANDED, "pack/")
BEATS = [identity.scheduled_run(BEAT, NOON + timedelta(seconds=2 * n)) for n in range(3)]

Plant = Callable[[Intents, Observation], None]


def dead(offset: int, reason: str, value: bytes | None, *, at: int = 0) -> Record:
    headers = {
        "backbone-origin-partition": "0",
        "backbone-origin-offset": str(offset),
        "backbone-reason": reason,
    }
    return Record("dev.backbone.dead-letters", None, headers, value, 0, at)


def cancelled_after_a_retry() -> tuple[FoundRun, list[Row]]:
    """Return a run of which one task failed, was retried and failed again, and its rows."""
    stream, waits, rows = f"run:{STRANDED}", identity.task(STRANDED, "wait/"), []
    story = [
        ("RunDecided", RUN_EVENTS, {}),
        *(("TaskCreated", TASK_EVENTS, {"task_id": one}) for one in (TORN, waits)),
        ("TaskFailed", TASK_EVENTS, {"task_id": TORN}),
        ("FailureHandled", RUN_EVENTS, {"call_id": identity.failure_call(STRANDED, TORN, 1)}),
        ("TaskRetried", TASK_EVENTS, {"task_id": TORN}),
        ("TaskFailed", TASK_EVENTS, {"task_id": TORN}),
        ("FailureHandled", RUN_EVENTS, {"call_id": identity.failure_call(STRANDED, TORN, 2)}),
        ("TaskCancelled", TASK_EVENTS, {"task_id": waits}),
        ("RunCancelled", RUN_EVENTS, {}),
    ]
    for event_type, topic, payload in story:
        rows.append(row(stream, len(rows) + 1, f"backbone.{event_type}", topic, **payload))
    tasks = (
        FoundTask(TORN, "pack/", "automated", "failed"),
        FoundTask(waits, "wait/", "automated", "cancelled"),
    )
    run = FoundRun(STRANDED, "chaos.controlled", "cancelled", "manual", tasks)
    return run, rows


@pytest.fixture
def intents() -> Intents:
    placed = Sent("s", "1", digest(ORDER), 0, 0, expect_tasks=("pack/a", "approve/"))
    return Intents(
        sent=[
            placed,
            replace(placed, offset=1, duplicate=True),
            Sent("s", None, digest(b"\xff"), 0, 2, expect_reason="not_utf8"),
            Sent("s", "3", digest(ABROAD), 0, 4, expect_decision="filtered"),
            Sent("s", "4", digest(NOTHING), 0, 5, expect_decision="unrouted"),
            # The first was refused and redriven, and so was its copy; the second came in time.
            *(
                Sent(
                    "s",
                    "5",
                    digest(SOON),
                    0,
                    at,
                    expect_reason="unknown_schema_version",
                    early=True,
                )
                for at in (6, 7)
            ),
            Sent("s", "6", digest(LATER), 0, 8, expect_reason="unknown_schema_version", early=True),
            # Nobody knows of it, and nothing came of it.
            Sent("s", "2", digest(b"{}"), None, None, expect_tasks=("pack/a",)),
        ],
        triggered=[
            Triggered(BY_HAND, "s-0", acknowledged=True, expect_tasks=("pack/b",)),
            Triggered(BY_HAND, "s-1", acknowledged=False),
            Triggered(
                "chaos.controlled", "s-c0", acknowledged=True, expect_tasks=("pack/", "wait/")
            ),
        ],
        controlled=[Controlled(STRANDED, "pack/", 1, cancelled=True)],
        answered=[Answered(R1, "approve/", acknowledged=False)],
        applied=[
            Applied("definition:chaos.churn", acknowledged=True),
            Applied("definition:chaos.churn", acknowledged=False),
        ],
        bundling=BUNDLES,
        early=EARLY,
        replayed={AGAIN: ("pack/a", "approve/")},
        scheduled=Scheduled(BEAT, 2.0, NOON, NOON + timedelta(seconds=5), ("note/",)),
    )


@pytest.fixture
def seen() -> Observation:
    bundle, bundle_rows = carried_out(BUNDLE, ["bundle/"], kind="batch")
    found = [
        carried_out(R1, ["pack/a", "approve/"], kind="event"),
        carried_out(identity.manual_run(BY_HAND, "s-0"), ["pack/b"], kind="manual"),
        carried_out(AGAIN, ["pack/a", "approve/"], kind="replay"),
        *(carried_out(beat, ["note/"], kind="schedule") for beat in BEATS),
        (replace(bundle, members=(("s", "1"),)), bundle_rows),
        carried_out(E5, ["pack/"], kind="event"),
        carried_out(E6, ["pack/"], kind="event"),
        cancelled_after_a_retry(),
    ]
    rows = [one for _, rows in found for one in rows]
    rows.append(row("definition:chaos.churn", 1, "backbone.ResourceApplied", DEFINITIONS))
    return Observation(
        runs=[run for run, _ in found],
        rows=rows,
        events=[*map(published, rows), published(rows[1], offset=99)],
        inputs=[
            Record("dev.orders", None, {}, ORDER, 0, 0),
            Record("dev.orders", None, {}, ORDER, 0, 1),
            Record("dev.orders", None, {}, b"\xff", 0, 2),
            Record("dev.orders", None, {}, ABROAD, 0, 4),
            Record("dev.orders", None, {}, NOTHING, 0, 5),
            Record("dev.orders", None, {}, SOON, 0, 6),
            Record("dev.orders", None, {}, SOON, 0, 7),
            Record("dev.orders", None, {}, LATER, 0, 8),
        ],
        dead_letters=[
            dead(2, "not_utf8", b"\xff", at=0),
            dead(2, "not_utf8", b"\xff", at=1),
            dead(6, "unknown_schema_version", SOON, at=2),
            dead(7, "unknown_schema_version", SOON, at=3),
        ],
        resolutions=[Resolution(0, 2, "redriven"), Resolution(0, 3, "redriven")],
        executions={run.run_id: 1 for run, _ in found},
        due_times=[
            DueTime(NOON + timedelta(seconds=2 * n), "run", run_id)
            for n, run_id in enumerate(BEATS)
        ],
        decisions=[
            Decision(0, 0, "1", "e2e.orders", "started", R1),
            Decision(0, 1, "1", "e2e.orders", "duplicate", R1),
            Decision(0, 0, "1", BUNDLES, "started", BUNDLE),
            Decision(0, 1, "1", BUNDLES, "duplicate", BUNDLE),
            Decision(
                0,
                4,
                "3",
                "e2e.orders",
                "filtered",
                clause=explanations.CONDITION,
                seen=explanations.SAW,
            ),
            Decision(0, 6, "5", EARLY, "started", E5, cause="redrive:a"),
            Decision(0, 7, "5", EARLY, "duplicate", E5, cause="redrive:a"),
            Decision(0, 8, "6", EARLY, "started", E6),
        ],
        unrouted=[Unrouted(0, 5, 5, 1)],
    )


def test_a_good_history_passes(intents, seen):
    assert checker.violations(intents, seen) == []


def test_duplicates_are_counted_and_are_no_violation(seen):
    assert checker.duplicates(seen) == {"inputs": 2, "events": 1, "dead_letters": 1}


def test_what_nobody_knows_of_may_be_there(intents, seen):
    by_hand, rows = carried_out(identity.manual_run(BY_HAND, "s-1"), [], kind="manual")
    second, more = carried_out(identity.event_run("e2e.orders", "s", "2"), ["pack/a"], kind="event")
    rows += [*more, row("definition:chaos.churn", 2, "backbone.ResourceApplied", DEFINITIONS)]
    seen.inputs.append(Record("dev.orders", None, {}, b"{}", 0, 3))
    bundle, bundle_rows = carried_out("chaos.bundles:batch:b", ["bundle/"], kind="batch")
    bundle = replace(bundle, members=(("s", "2"),))
    rows += bundle_rows
    seen.decisions += [
        Decision(0, 3, "2", "e2e.orders", "started", second.run_id),
        Decision(0, 3, "2", BUNDLES, "started", bundle.run_id),
    ]
    seen.runs += [by_hand, second, bundle]
    seen.rows += rows
    seen.events += map(published, rows)
    seen.executions |= {by_hand.run_id: 1, second.run_id: 1, bundle.run_id: 1}
    assert checker.violations(intents, seen) == []


def test_a_copy_of_what_waits_knows_of_no_run_yet(intents, seen):
    seen.decisions[0] = replace(seen.decisions[0], waited=True)
    seen.decisions[1] = replace(seen.decisions[1], run_id=None)
    assert checker.violations(intents, seen) == []


def test_what_was_there_before_is_not_judged(intents, seen):
    old = row("run:old", 1, "backbone.RunDecided", RUN_EVENTS)
    seen.rows.append(replace(old, earlier=True, event_id="of another rule"))
    assert checker.violations(intents, seen) == []


@pytest.mark.parametrize("seed", range(20))
def test_in_whichever_order_streams_mix_the_verdict_stands(intents, seen, seed):
    """Only the order within a stream of one topic means something."""
    chance = random.Random(seed)
    queues: dict[tuple[str, str], list[Record]] = {}
    for record in seen.events:
        place = (record.topic, record.headers["backbone-stream"])
        queues.setdefault(place, []).append(record)
    seen.events = []
    while queues:
        place = chance.choice(list(queues))
        seen.events.append(queues[place].pop(0))
        if not queues[place]:
            del queues[place]
    assert checker.violations(intents, seen) == []


def acknowledged_record_lost(intents: Intents, seen: Observation) -> None:
    del seen.inputs[2]


def record_invented(intents: Intents, seen: Observation) -> None:
    seen.inputs.append(Record("dev.orders", None, {}, b"?", 0, 3))


def run_lost(intents: Intents, seen: Observation) -> None:
    del seen.runs[0]


def run_doubled(intents: Intents, seen: Observation) -> None:
    seen.runs.append(seen.runs[0])


def run_by_hand_lost(intents: Intents, seen: Observation) -> None:
    del seen.runs[1]


def run_invented(intents: Intents, seen: Observation) -> None:
    run, rows = carried_out(identity.event_run("e2e.orders", "s", "2"), ["pack/a"], kind="event")
    seen.runs.append(run)
    seen.rows += rows
    seen.events += map(published, rows)
    seen.executions[run.run_id] = 1


def execution_doubled(intents: Intents, seen: Observation) -> None:
    seen.executions[R1] = 2


def execution_invented(intents: Intents, seen: Observation) -> None:
    seen.executions["e2e.orders:event:x"] = 1


def request_with_two_effects(intents: Intents, seen: Observation) -> None:
    for version in (2, 3):
        one = row("definition:chaos.churn", version, "backbone.ResourceApplied", DEFINITIONS)
        seen.rows.append(one)
        seen.events.append(published(one))


def request_without_effect(intents: Intents, seen: Observation) -> None:
    intents.applied[1] = replace(intents.applied[1], acknowledged=True)


def task_lost(intents: Intents, seen: Observation) -> None:
    seen.runs[0] = replace(seen.runs[0], tasks=seen.runs[0].tasks[:1])


def task_of_a_random_id(intents: Intents, seen: Observation) -> None:
    first, second = seen.runs[0].tasks
    tasks = (replace(first, task_id="00000000-0000-0000-0000-000000000000"), second)
    seen.runs[0] = replace(seen.runs[0], tasks=tasks)


def outcome_lost(intents: Intents, seen: Observation) -> None:
    """As if the task had never been told to be done."""
    lost = seen.rows[3]
    assert lost.type == "backbone.TaskCompleted"
    seen.rows.remove(lost)
    seen.events = [record for record in seen.events if record.value != lost.body]


def outcome_doubled(intents: Intents, seen: Observation) -> None:
    task_id = seen.runs[0].tasks[0].task_id
    again = row(f"run:{R1}", 5, "backbone.TaskFailed", TASK_EVENTS, task_id=task_id)
    seen.rows.append(again)
    seen.events.append(published(again))


def answer_lost(intents: Intents, seen: Observation) -> None:
    intents.answered[0] = replace(intents.answered[0], acknowledged=True)


def answer_invented(intents: Intents, seen: Observation) -> None:
    intents.answered.clear()
    task = seen.runs[0].tasks[1]
    done = row(f"run:{R1}", 5, "backbone.TaskCompleted", TASK_EVENTS, task_id=task.task_id)
    seen.rows.append(done)
    seen.events.append(published(done))


def created_without_a_task(intents: Intents, seen: Observation) -> None:
    extra = row(f"run:{R1}", 5, "backbone.TaskCreated", TASK_EVENTS, task_id="another")
    seen.rows.append(extra)
    seen.events.append(published(extra))


def state_without_its_event(intents: Intents, seen: Observation) -> None:
    seen.runs[0] = replace(seen.runs[0], status="completed")


def replayed_run_lost(intents: Intents, seen: Observation) -> None:
    seen.runs = [run for run in seen.runs if run.run_id != AGAIN]


def replayed_though_not_planned(intents: Intents, seen: Observation) -> None:
    intents.replayed.clear()


def row_never_published(intents: Intents, seen: Observation) -> None:
    del seen.events[4]


def registry_row_never_published(intents: Intents, seen: Observation) -> None:
    seen.events = [record for record in seen.events if record.topic != DEFINITIONS]


def published_without_a_row(intents: Intents, seen: Observation) -> None:
    seen.events.append(
        published(row(f"run:{R1}", 5, "backbone.TaskCreated", TASK_EVENTS, task_id="x"))
    )


def copy_altered(intents: Intents, seen: Observation) -> None:
    seen.events[-1] = replace(seen.events[-1], value=(seen.events[-1].value or b"") + b" ")


def copy_with_another_key(intents: Intents, seen: Observation) -> None:
    seen.events[-1] = replace(seen.events[-1], key=b"another")


def copy_with_another_header(intents: Intents, seen: Observation) -> None:
    headers = {**seen.events[-1].headers, "backbone-event-type": "backbone.TaskFailed"}
    seen.events[-1] = replace(seen.events[-1], headers=headers)


def event_id_at_random(intents: Intents, seen: Observation) -> None:
    """In the table and on Kafka alike, so that nothing else is amiss."""
    old, new = seen.rows[0].event_id, "3f0b6f0e-0000-4000-8000-000000000000"
    headers = {**seen.rows[0].headers, "backbone-event-id": new}
    body = seen.rows[0].body.replace(old.encode(), new.encode())
    seen.rows[0] = replace(seen.rows[0], event_id=new, headers=headers, body=body)
    seen.events[0] = published(seen.rows[0])


def copy_of_another_id(intents: Intents, seen: Observation) -> None:
    copy = seen.events[-1]
    new = "3f0b6f0e-0000-4000-8000-000000000000"
    document = {**copy.document(), "event_id": new}
    headers = {**copy.headers, "backbone-event-id": new}
    seen.events[-1] = replace(copy, value=json.dumps(document).encode(), headers=headers)


def order_swapped(intents: Intents, seen: Observation) -> None:
    seen.events[1], seen.events[2] = seen.events[2], seen.events[1]


def version_skipped(intents: Intents, seen: Observation) -> None:
    last = seen.rows.pop()
    seen.events = [record for record in seen.events if record.value != last.body]
    moved = row(last.stream, 2, last.type, last.topic)
    seen.rows.append(moved)
    seen.events.append(published(moved))


def stream_on_two_partitions(intents: Intents, seen: Observation) -> None:
    seen.events[2] = replace(seen.events[2], partition=1)


def dead_letter_lost(intents: Intents, seen: Observation) -> None:
    seen.dead_letters.clear()


def dead_letter_of_another_reason(intents: Intents, seen: Observation) -> None:
    seen.dead_letters[0] = dead(2, "oversize", b"\xff")


def dead_letter_of_a_good_event(intents: Intents, seen: Observation) -> None:
    seen.dead_letters.append(dead(0, "oversize", ORDER))


def dead_letter_of_nothing(intents: Intents, seen: Observation) -> None:
    seen.dead_letters.append(dead(7, "oversize", b""))


def dead_letter_altered(intents: Intents, seen: Observation) -> None:
    seen.dead_letters[0] = dead(2, "not_utf8", b"?")


def due_time_lost(intents: Intents, seen: Observation) -> None:
    del seen.due_times[1]


def last_due_times_lost(intents: Intents, seen: Observation) -> None:
    del seen.due_times[1:]
    lost = {*BEATS[1:]}
    seen.runs = [run for run in seen.runs if run.run_id not in lost]
    seen.executions = {name: 1 for name in seen.executions if name not in lost}


def due_time_skipped(intents: Intents, seen: Observation) -> None:
    seen.due_times[1] = replace(seen.due_times[1], outcome="skipped", run_id=None)


def due_time_without_its_run(intents: Intents, seen: Observation) -> None:
    seen.runs = [run for run in seen.runs if run.run_id != BEATS[-1]]


def outbox_left(intents: Intents, seen: Observation) -> None:
    seen.pending_outbox = 1


def row_parked(intents: Intents, seen: Observation) -> None:
    seen.parked = 1


def record_uncommitted(intents: Intents, seen: Observation) -> None:
    seen.uncommitted = 1


def run_unfinished(intents: Intents, seen: Observation) -> None:
    seen.runs[0] = replace(seen.runs[0], status="running")


def decision_lost(intents: Intents, seen: Observation) -> None:
    del seen.decisions[0]


def started_turned_into_duplicate(intents: Intents, seen: Observation) -> None:
    seen.decisions[0] = replace(seen.decisions[0], outcome="duplicate")


def two_copies_started(intents: Intents, seen: Observation) -> None:
    seen.decisions[1] = replace(seen.decisions[1], outcome="started")


def copy_without_a_run(intents: Intents, seen: Observation) -> None:
    seen.decisions[1] = replace(seen.decisions[1], run_id=None)


def decision_of_another_run(intents: Intents, seen: Observation) -> None:
    seen.decisions[0] = replace(seen.decisions[0], run_id="e2e.orders:event:x")


def decision_made_twice(intents: Intents, seen: Observation) -> None:
    seen.decisions.append(seen.decisions[4])


def filtered_without_its_clause(intents: Intents, seen: Observation) -> None:
    seen.decisions[4] = replace(seen.decisions[4], clause=None)


def filtered_that_started(intents: Intents, seen: Observation) -> None:
    seen.decisions[4] = replace(seen.decisions[4], outcome="started")


def decision_of_a_dead_letter(intents: Intents, seen: Observation) -> None:
    seen.decisions.append(Decision(0, 2, "?", "e2e.orders", "errored"))


def decision_of_nothing(intents: Intents, seen: Observation) -> None:
    seen.decisions.append(Decision(0, 9, "9", "e2e.orders", "started", R1))


def unrouted_lost(intents: Intents, seen: Observation) -> None:
    seen.unrouted.clear()


def of_bundle(seen: Observation, **changes) -> None:
    seen.runs = [replace(r, **changes) if r.run_id == BUNDLE else r for r in seen.runs]


def event_in_no_batch(intents: Intents, seen: Observation) -> None:
    of_bundle(seen, members=())


def event_gathered_twice(intents: Intents, seen: Observation) -> None:
    of_bundle(seen, members=(("s", "1"), ("s", "1")))


def event_gathered_wrongly(intents: Intents, seen: Observation) -> None:
    of_bundle(seen, members=(("s", "1"), ("s", "3")))


def batch_overfull(intents: Intents, seen: Observation) -> None:
    of_bundle(seen, members=(("s", "1"), *(("s", str(n)) for n in range(10, 15))))


def batch_of_another_name(intents: Intents, seen: Observation) -> None:
    seen.decisions[2] = replace(seen.decisions[2], run_id="chaos.bundles:batch:b")


def batch_never_decided(intents: Intents, seen: Observation) -> None:
    seen.decisions[2] = replace(seen.decisions[2], outcome="batched")


def gathered_in_silence(intents: Intents, seen: Observation) -> None:
    del seen.decisions[2:4]


def early_event_lost(intents: Intents, seen: Observation) -> None:
    seen.runs = [run for run in seen.runs if run.run_id != E5]


def early_event_left_open(intents: Intents, seen: Observation) -> None:
    del seen.resolutions[0]


def early_event_discarded(intents: Intents, seen: Observation) -> None:
    seen.resolutions[0] = replace(seen.resolutions[0], state="discarded")


def dead_letter_resolved_twice(intents: Intents, seen: Observation) -> None:
    seen.resolutions.append(seen.resolutions[0])


def hostile_record_redriven(intents: Intents, seen: Observation) -> None:
    seen.resolutions.append(Resolution(0, 0, "redriven"))


def nothing_redriven(intents: Intents, seen: Observation) -> None:
    seen.resolutions.append(Resolution(0, 9, "redriven"))


def redrive_started_again(intents: Intents, seen: Observation) -> None:
    seen.decisions.append(Decision(0, 7, "5", EARLY, "started", E5, cause="redrive:b"))


def redrive_without_a_decision(intents: Intents, seen: Observation) -> None:
    seen.decisions = [one for one in seen.decisions if one.offset != 7]


def redrive_left_waiting(intents: Intents, seen: Observation) -> None:
    seen.decisions = [
        replace(one, outcome="limited") if one.offset == 6 else one for one in seen.decisions
    ]


def redrive_of_no_dead_letter(intents: Intents, seen: Observation) -> None:
    seen.decisions.append(Decision(0, 8, "6", EARLY, "duplicate", E6, cause="redrive:a"))


def start_left_waiting(intents: Intents, seen: Observation) -> None:
    seen.waiting = 1


def happens(seen: Observation, event_type: str, **payload: str) -> None:
    """Add an event to the run that was cancelled, as if it had happened."""
    stream = f"run:{STRANDED}"
    version = sum(one.stream == stream for one in seen.rows) + 1
    topic = TASK_EVENTS if event_type.startswith("Task") else RUN_EVENTS
    seen.rows.append(row(stream, version, f"backbone.{event_type}", topic, **payload))


def without(seen: Observation, event_type: str) -> None:
    """Take the last event of a type away from the run that was cancelled."""
    last = max(
        one.version
        for one in seen.rows
        if one.stream == f"run:{STRANDED}" and one.type == f"backbone.{event_type}"
    )
    seen.rows = [one for one in seen.rows if (one.stream, one.version) != (f"run:{STRANDED}", last)]


def late_outcome_recorded(intents: Intents, seen: Observation) -> None:
    happens(seen, "TaskCompleted", task_id=TORN)


def cancelled_twice(intents: Intents, seen: Observation) -> None:
    happens(seen, "RunCancelled")


def cancellation_lost(intents: Intents, seen: Observation) -> None:
    without(seen, "RunCancelled")


def cancelled_with_an_open_task(intents: Intents, seen: Observation) -> None:
    without(seen, "TaskCancelled")


def retried_while_open(intents: Intents, seen: Observation) -> None:
    happens(seen, "TaskRetried", task_id=TORN)
    happens(seen, "TaskRetried", task_id=TORN)


def retried_without_a_wish(intents: Intents, seen: Observation) -> None:
    happens(seen, "TaskRetried", task_id=TORN)
    happens(seen, "TaskFailed", task_id=TORN)
    happens(seen, "FailureHandled", call_id=identity.failure_call(STRANDED, TORN, 3))


def retry_lost(intents: Intents, seen: Observation) -> None:
    intents.controlled[0] = replace(intents.controlled[0], retries=2)


def failure_told_twice(intents: Intents, seen: Observation) -> None:
    happens(seen, "FailureHandled", call_id=identity.failure_call(STRANDED, TORN, 2))


def failure_told_to_nobody(intents: Intents, seen: Observation) -> None:
    """Of a run that ends by itself, that is."""
    intents.controlled[0] = replace(intents.controlled[0], cancelled=False)
    ended = next(one for one in seen.rows if one.type == "backbone.RunCancelled")
    seen.rows.remove(ended)
    seen.rows.append(replace(ended, type="backbone.RunFailed"))
    without(seen, "FailureHandled")


def failure_told_by_another_call(intents: Intents, seen: Observation) -> None:
    without(seen, "FailureHandled")
    happens(seen, "FailureHandled", call_id=identity.failure_call(STRANDED, TORN, 3))


def opened_though_open(intents: Intents, seen: Observation) -> None:
    happens(seen, "RunReopened")
    happens(seen, "RunReopened")
    happens(seen, "RunCancelled")


def escalated_twice(intents: Intents, seen: Observation) -> None:
    happens(seen, "TaskEscalated", task_id=TORN)
    happens(seen, "TaskEscalated", task_id=TORN)


PLANTS: list[tuple[Plant, str]] = [
    (acknowledged_record_lost, "I1"),
    (record_invented, "I1"),
    (run_invented, "I1"),
    (dead_letter_lost, "I1"),
    (dead_letter_of_another_reason, "I1"),
    (dead_letter_of_a_good_event, "I1"),
    (dead_letter_of_nothing, "I1"),
    (dead_letter_altered, "I1"),
    (run_lost, "I2"),
    (replayed_run_lost, "I2"),
    (replayed_though_not_planned, "I1"),
    (run_doubled, "I2"),
    (run_by_hand_lost, "I2"),
    (execution_doubled, "I2"),
    (execution_invented, "I2"),
    (request_with_two_effects, "I2"),
    (request_without_effect, "I2"),
    (task_lost, "I3"),
    (task_of_a_random_id, "I3"),
    (outcome_lost, "I3"),
    (outcome_doubled, "I3"),
    (answer_lost, "I3"),
    (answer_invented, "I3"),
    (created_without_a_task, "I4"),
    (state_without_its_event, "I4"),
    (row_never_published, "I4"),
    (registry_row_never_published, "I4"),
    (published_without_a_row, "I4"),
    (copy_altered, "I5"),
    (copy_with_another_key, "I5"),
    (copy_with_another_header, "I5"),
    (event_id_at_random, "I5"),
    (copy_of_another_id, "I6"),
    (order_swapped, "I7"),
    (version_skipped, "I7"),
    (stream_on_two_partitions, "I7"),
    (due_time_lost, "I9"),
    (last_due_times_lost, "I9"),
    (due_time_skipped, "I9"),
    (due_time_without_its_run, "I9"),
    (outbox_left, "I10"),
    (row_parked, "I10"),
    (record_uncommitted, "I10"),
    (run_unfinished, "I10"),
    (start_left_waiting, "I10"),
    (event_in_no_batch, "I13"),
    (event_gathered_twice, "I13"),
    (event_gathered_wrongly, "I13"),
    (batch_overfull, "I13"),
    (batch_of_another_name, "I13"),
    (batch_never_decided, "I13"),
    (gathered_in_silence, "I13"),
    (early_event_lost, "I2"),
    (early_event_left_open, "I14"),
    (early_event_discarded, "I14"),
    (dead_letter_resolved_twice, "I14"),
    (hostile_record_redriven, "I14"),
    (nothing_redriven, "I14"),
    (redrive_started_again, "I14"),
    (redrive_without_a_decision, "I14"),
    (redrive_left_waiting, "I14"),
    (redrive_of_no_dead_letter, "I14"),
    (late_outcome_recorded, "I15"),
    (cancelled_twice, "I15"),
    (cancellation_lost, "I15"),
    (cancelled_with_an_open_task, "I15"),
    (retried_while_open, "I15"),
    (retried_without_a_wish, "I15"),
    (retry_lost, "I15"),
    (failure_told_twice, "I15"),
    (failure_told_to_nobody, "I15"),
    (failure_told_by_another_call, "I15"),
    (opened_though_open, "I15"),
    (escalated_twice, "I15"),
    (decision_lost, "I12"),
    (started_turned_into_duplicate, "I12"),
    (two_copies_started, "I12"),
    (copy_without_a_run, "I12"),
    (decision_of_another_run, "I12"),
    (decision_made_twice, "I12"),
    (filtered_without_its_clause, "I12"),
    (filtered_that_started, "I12"),
    (decision_of_a_dead_letter, "I12"),
    (decision_of_nothing, "I12"),
    (unrouted_lost, "I12"),
]


@pytest.mark.parametrize(
    ("plant", "invariant"), PLANTS, ids=lambda one: getattr(one, "__name__", one)
)
def test_a_planted_fault_is_found(
    intents: Intents, seen: Observation, plant: Plant, invariant: str
):
    plant(intents, seen)
    names = {violation.partition(":")[0] for violation in checker.violations(intents, seen)}
    assert invariant in names
    assert names <= checker.INVARIANTS.keys()


def test_every_invariant_that_can_be_broken_has_a_planted_fault():
    # Those of I8 are in `test_visits`.
    assert {invariant for _, invariant in PLANTS} == checker.INVARIANTS.keys() - {"I11", "I8"}
