"""Each finding by what was seen, and what it takes for there to be none."""

import re
import shlex
from datetime import UTC, datetime, timedelta

import pytest
import typer.main
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from backbone.ledger.v1 import (
    backfills_pb2,
    control_pb2,
    instances_pb2,
    ledger_pb2,
    replay_pb2,
    routing_pb2,
    schedules_pb2,
)
from backbone.outbox.v1 import outbox_pb2
from backbone.registry.v1 import registry_pb2, task_queues_pb2
from backbone.registry.v1 import schedules_pb2 as registry_schedules_pb2
from backbone.router.v1 import router_pb2
from cli import doctor_checks as checks
from cli.__main__ import app
from cli.doctor_checks import SeenCertificate, SeenGroup
from cli.doctor_findings import SEVERITY, Finding, Kind, Severity, by_severity, capped
from cli.outboxes import Owner

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PATIENCE = timedelta(minutes=2)


def ago(**duration):
    stamp = Timestamp()
    stamp.FromDatetime(NOW - timedelta(**duration))
    return stamp


def certificate(*, lasts, left):
    end = NOW + left
    return [SeenCertificate("BACKBONE_TLS_CERTIFICATE", "own.crt", end - lasts, end)]


def reconciled(**compared):
    return registry_schedules_pb2.ReconcilerStatus(leader="r-1", compared_at=ago(**compared))


def waits(reason, **late):
    start = routing_pb2.PendingStart(definition_id="a.b", reason=reason, queued_at=ago(hours=3))
    if late:
        start.not_before.CopyFrom(ago(**late))
    return [start]


def letters(*reasons):
    return [router_pb2.DeadLetter(reason=one, parked_at=ago(hours=2)) for one in reasons]


def queued(**age):
    return outbox_pb2.GetOutboxResponse(pending=3, oldest_queued_at=ago(**age))


def operation(**age):
    return [control_pb2.Operation(queued_at=ago(**age), last_error="Temporal: UNAVAILABLE.")]


def instance(**age):
    return [instances_pb2.WaitingInstance(definition_id="a.b", events=20, waiting_since=ago(**age))]


def human(**late):
    return [ledger_pb2.Task(definition_id="a.b", due_at=ago(**late))]


def automated(**age):
    return [ledger_pb2.Task(handler="pack", created_at=ago(**age))]


def queue(*, pollers=0, **age):
    waits = Duration()
    waits.FromTimedelta(timedelta(**age))
    return task_queues_pb2.TaskQueue(
        name="a-tq", backlog=5 if age else 0, backlog_age=waits, pollers=pollers
    )


def replay(state, **age):
    return [replay_pb2.Replay(replay_id="r-1", state=state, changed_at=ago(**age))]


def backfill(state, **age):
    return [backfills_pb2.Backfill(backfill_id="b-1", state=state, changed_at=ago(**age))]


def drift(kind):
    return [registry_pb2.Drift(definition_id="a.b", kind=kind, detail="it is so")]


FOUND = [
    (
        checks.certificates(certificate(lasts=timedelta(days=90), left=timedelta(days=9)), now=NOW),
        (Kind.CERTIFICATE_ENDS_SOON, "own.crt", "ends in 9d"),
    ),
    (
        checks.certificates(certificate(lasts=timedelta(days=1), left=timedelta(hours=7)), now=NOW),
        (Kind.CERTIFICATE_ENDS_SOON, "own.crt", "ends in 7h"),
    ),
    (
        checks.certificates(certificate(lasts=timedelta(days=1), left=timedelta(0)), now=NOW),
        (Kind.CERTIFICATE_ENDED, "own.crt", "ended 0s ago"),
    ),
    (
        checks.answer("ledger", serving=False, took=timedelta(0)),
        (Kind.DEGRADED, "ledger", "does not serve"),
    ),
    (
        checks.answer("ledger", serving=True, took=timedelta(seconds=3.21)),
        (Kind.SLOW, "ledger", "took 3.2 s"),
    ),
    (checks.topics(["dev.x"]), (Kind.TOPIC_MISSING, "dev.x", "there is no topic dev.x")),
    (
        checks.group(SeenGroup("dev.g", 0, {})),
        (Kind.NOBODY_ROUTES, "dev.g", "has no members"),
    ),
    (
        checks.group(SeenGroup("dev.g", 1, {"dev.a": 999, "dev.b": 1000})),
        (Kind.CONSUMER_LAG, "dev.b", "1000 records of dev.b"),
    ),
    (checks.reconciler(None, now=NOW), (Kind.NOBODY_RECONCILES, "registry", "no registry leads")),
    (
        checks.reconciler(registry_schedules_pb2.ReconcilerStatus(term=3), now=NOW),
        (Kind.NOBODY_RECONCILES, "registry", "no registry leads"),
    ),
    (
        checks.reconciler(reconciled(minutes=6), now=NOW),
        (Kind.RECONCILER_BEHIND, "registry", "6m ago"),
    ),
    (
        checks.reconciler(reconciled(seconds=-90), now=NOW),
        (Kind.CLOCK_BEHIND, "registry", "1m behind"),
    ),
    *(
        (checks.drifts(drift(number)), (kind, "a.b", "it is so"))
        for number, kind in (
            (registry_pb2.DRIFT_KIND_MISSING, Kind.SCHEDULE_MISSING),
            (registry_pb2.DRIFT_KIND_DIFFERENT, Kind.SCHEDULE_DIFFERENT),
            (registry_pb2.DRIFT_KIND_UNEXPECTED, Kind.SCHEDULE_UNEXPECTED),
            (registry_pb2.DRIFT_KIND_REFUSED, Kind.SCHEDULE_REFUSED),
            (registry_pb2.DRIFT_KIND_PENDING, Kind.SCHEDULE_PENDING),
        )
    ),
    (
        checks.overdue(
            [schedules_pb2.OverdueSchedule(definition_id="a.b", since=ago(minutes=5))], now=NOW
        ),
        (Kind.SCHEDULE_OVERDUE, "a.b", "due 5m ago"),
    ),
    (
        checks.pending(waits("held"), now=NOW, patience=PATIENCE, limit=9),
        (Kind.EVENTS_HELD, "a.b", "it is disabled, and 1 wait until it is enabled, the first"),
    ),
    (
        checks.pending(waits("limited", minutes=3), now=NOW, patience=PATIENCE, limit=1),
        (Kind.STARTS_LATE, "a.b", "1+ should have been started, the first 3m ago"),
    ),
    (
        checks.dead_letters(letters("malformed_json"), now=NOW, limit=9),
        (Kind.DEAD_LETTERS_OPEN, "malformed_json", "the first for 2h"),
    ),
    (
        checks.outbox(Owner.LEDGER, queued(minutes=3), now=NOW, patience=PATIENCE),
        (Kind.OUTBOX_BEHIND, "ledger", "3 events of the ledger are not published"),
    ),
    (
        checks.outbox(
            Owner.REGISTRY,
            outbox_pb2.GetOutboxResponse(parked=2, waiting_streams=1),
            now=NOW,
            patience=PATIENCE,
        ),
        (Kind.OUTBOX_PARKED, "registry", "refused 2 events of the registry"),
    ),
    (
        checks.operations(operation(minutes=3), now=NOW, patience=PATIENCE, limit=9),
        (Kind.OPERATIONS_LATE, "orchestrator-worker", "for 3m: Temporal: UNAVAILABLE"),
    ),
    (
        checks.waiting_instances(instance(minutes=3), now=NOW, patience=PATIENCE),
        (Kind.INSTANCE_EVENTS_LATE, "a.b", "20 events wait to be applied to 1 instances"),
    ),
    (checks.human_tasks(human(days=2), now=NOW), (Kind.TASK_OVERDUE, "a.b", "the first for 2d")),
    (
        checks.automated_tasks(automated(hours=2), now=NOW),
        (Kind.TASK_NOT_CARRIED_OUT, "handler pack", "the first for 2h"),
    ),
    (
        checks.queues([queue(minutes=3)], patience=PATIENCE),
        (Kind.QUEUE_UNSERVED, "task queue a-tq", "5 tasks wait on a-tq, the first for 3m"),
    ),
    (
        checks.runs([ledger_pb2.Run(definition_id="a.b", recorded_at=ago(days=31))], now=NOW),
        (Kind.RUN_OPEN_LONG, "a.b", "the first for 31d"),
    ),
    (
        checks.replays(replay(replay_pb2.REPLAY_STATE_PAUSED, days=2), now=NOW),
        (Kind.REPLAY_PAUSED, "r-1", "paused for 2d"),
    ),
    (
        checks.backfills(backfill(backfills_pb2.BACKFILL_STATE_PAUSED, days=2), now=NOW),
        (Kind.BACKFILL_PAUSED, "b-1", "paused for 2d"),
    ),
]

WELL = [
    checks.certificates(certificate(lasts=timedelta(days=90), left=timedelta(days=15)), now=NOW),
    checks.certificates(certificate(lasts=timedelta(days=1), left=timedelta(hours=9)), now=NOW),
    checks.answer("ledger", serving=True, took=timedelta(seconds=1)),
    checks.topics([]),
    checks.group(SeenGroup("dev.g", 2, {"dev.a": 10})),
    checks.reconciler(reconciled(minutes=2), now=NOW),
    checks.reconciler(reconciled(seconds=-2), now=NOW),
    checks.reconciler(registry_schedules_pb2.ReconcilerStatus(leader="just now"), now=NOW),
    checks.pending(waits("limited", minutes=1), now=NOW, patience=PATIENCE, limit=9),
    checks.pending(waits("batch", minutes=-5), now=NOW, patience=PATIENCE, limit=9),
    checks.outbox(Owner.LEDGER, queued(minutes=1), now=NOW, patience=PATIENCE),
    checks.outbox(
        Owner.LEDGER, outbox_pb2.GetOutboxResponse(discarded=4), now=NOW, patience=PATIENCE
    ),
    checks.operations(operation(minutes=1), now=NOW, patience=PATIENCE, limit=9),
    checks.waiting_instances(instance(minutes=1), now=NOW, patience=PATIENCE),
    checks.human_tasks(human(days=-1), now=NOW),
    checks.human_tasks([ledger_pb2.Task(definition_id="a.b")], now=NOW),
    checks.automated_tasks(automated(minutes=50), now=NOW),
    checks.queues([queue(minutes=1), queue(pollers=1, minutes=9), queue()], patience=PATIENCE),
    checks.runs([ledger_pb2.Run(definition_id="a.b", recorded_at=ago(days=29))], now=NOW),
    checks.replays(replay(replay_pb2.REPLAY_STATE_PAUSED, hours=20), now=NOW),
    checks.replays(replay(replay_pb2.REPLAY_STATE_FINISHED, days=20), now=NOW),
    checks.backfills(backfill(backfills_pb2.BACKFILL_STATE_CANCELLED, days=20), now=NOW),
]


@pytest.mark.parametrize(("found", "expected"), FOUND, ids=lambda one: str(one[0]))
def test_what_was_seen_is_told_in_a_sentence(found, expected):
    (one,) = found
    kind, where, what = expected
    assert (one.kind, str(one.where)) == (kind, where)
    assert what in one.what
    assert one.do


@pytest.mark.parametrize("found", WELL)
def test_what_is_well_is_not_told(found):
    assert found == []


def test_what_is_alike_is_one_finding_that_counts():
    found = checks.dead_letters(letters("a", "b", "a", "a"), now=NOW, limit=4)
    assert [(one.where, one.count) for one in found] == [("a", 3), ("b", 1)]
    assert found[0].what.startswith("3 that")


def test_a_kind_that_a_newer_registry_knows_is_told_as_different():
    (one,) = checks.drifts([registry_pb2.Drift(definition_id="a.b", kind=99)])
    assert (one.kind, one.where) == (Kind.SCHEDULE_DIFFERENT, "a.b")


def test_errors_come_first_and_every_kind_has_a_severity():
    assert set(SEVERITY) == set(Kind)
    found = [Finding(kind, "here", "it is so", "nothing") for kind in Kind]
    severities = [one.severity for one in by_severity(found)]
    assert severities == sorted(severities, key=list(Severity).index)
    assert {Severity.ERROR, Severity.WARNING} == set(severities)


@pytest.mark.parametrize(("number", "rows", "others"), [(20, 20, 1), (21, 20, 2), (500, 20, 481)])
def test_many_of_a_kind_do_not_hide_the_others(number, rows, others):
    found = capped([Finding(Kind.SCHEDULE_OVERDUE, f"a.{n}", "w", "d") for n in range(number)])
    assert len(found) == rows
    assert found[-1].count == others
    assert sum(one.count for one in found) == number


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=0.4), "0s"),
        (timedelta(seconds=119), "1m"),
        (timedelta(hours=47), "1d"),
        (timedelta(hours=23), "23h"),
    ],
)
def test_how_long_something_lasts_is_told_in_one_unit(duration, text):
    assert checks.lasting(duration) == text


@pytest.mark.parametrize("found", [found for found, _ in FOUND], ids=lambda one: str(one[0].kind))
def test_the_commands_that_are_told_exist(found):
    for command in re.findall(r"`(backbone [^`]+)`", found[0].do):
        at = typer.main.get_command(app)
        words = shlex.split(command)[1:]
        while words and hasattr(at, "commands"):
            at = at.commands[words.pop(0)]
        assert not hasattr(at, "commands"), f"not a whole command: {command}"
        options = {option for parameter in at.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, command
