"""What was seen of a namespace, turned into findings: without a clock, and without looking itself.

What is to happen soon is late once it has waited longer than `patience`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

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
from cli.doctor_findings import Finding, Kind, capped
from cli.outboxes import Owner

T = TypeVar("T")

CERTIFICATE_ENDS = timedelta(days=14)
SLOW = timedelta(seconds=2)
CLOCK_TOLERANCE = timedelta(seconds=5)
LAG = 1000  # records
RECONCILER_BEHIND = timedelta(minutes=5)
TASK_OPEN = timedelta(hours=1)
RUN_OPEN = timedelta(days=30)
PAUSED = timedelta(days=1)

_DRIFTS: Mapping[int, Kind] = {
    registry_pb2.DRIFT_KIND_MISSING: Kind.SCHEDULE_MISSING,
    registry_pb2.DRIFT_KIND_DIFFERENT: Kind.SCHEDULE_DIFFERENT,
    registry_pb2.DRIFT_KIND_UNEXPECTED: Kind.SCHEDULE_UNEXPECTED,
    registry_pb2.DRIFT_KIND_REFUSED: Kind.SCHEDULE_REFUSED,
    registry_pb2.DRIFT_KIND_PENDING: Kind.SCHEDULE_PENDING,
}
_HELD = "held"


@dataclass(frozen=True)
class SeenCertificate:
    """A file with a certificate: which setting names it, and from when until when it is valid."""

    setting: str
    path: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True)
class SeenGroup:
    """The router's consumer group: how many read, and by topic how many records are not read."""

    name: str
    members: int
    lag: Mapping[str, int]


def certificates(seen: Iterable[SeenCertificate], *, now: datetime) -> list[Finding]:
    """Look at when certificates end."""
    found = []
    for one in seen:
        # What is issued for a day is renewed within hours, and never has 14 days left.
        soon = min(CERTIFICATE_ENDS, (one.not_after - one.not_before) / 3)
        left = one.not_after - now
        if left > soon:
            continue
        ended = left <= timedelta(0)
        found.append(
            Finding(
                Kind.CERTIFICATE_ENDED if ended else Kind.CERTIFICATE_ENDS_SOON,
                one.path,
                f"the certificate in {one.setting} "
                + (f"ended {lasting(-left)} ago" if ended else f"ends in {lasting(left)}"),
                "`backbone certs issue` on a machine of your own; elsewhere ask whatever issues "
                "it why it was not renewed",
            )
        )
    return found


def answer(service: str, *, serving: bool, took: timedelta) -> list[Finding]:
    """Look at how a service answered when it was asked for its health."""
    if not serving:
        return [
            Finding(
                Kind.DEGRADED,
                service,
                f"the {service} answers, and says that it does not serve",
                f"{_log(service)} says why: it may be starting or stopping",
            )
        ]
    if took > SLOW:
        return [
            Finding(
                Kind.SLOW,
                service,
                f"the {service} took {took.total_seconds():.1f} s to say that it is well",
                "look at the load of its machine and at the network in between",
            )
        ]
    return []


def topics(missing: Sequence[str]) -> list[Finding]:
    """Look at which of the namespace's own topics are not there."""
    return [
        Finding(
            Kind.TOPIC_MISSING,
            topic,
            f"there is no topic {topic}, or you may not see it: what is written to it waits",
            "create it (docs/architecture.md lists the topics), or have yourself allowed to see it",
        )
        for topic in missing
    ]


def group(seen: SeenGroup) -> list[Finding]:
    """Look at whether the router reads, and how far behind it is."""
    found = []
    if not seen.members:
        found.append(
            Finding(
                Kind.NOBODY_ROUTES,
                seen.name,
                "no router reads events: the consumer group has no members",
                f"start a router; {_log('router')} says why one that runs does not read",
                count=max(1, sum(seen.lag.values())),
            )
        )
    found += [
        Finding(
            Kind.CONSUMER_LAG,
            topic,
            f"{lag} records of {topic} are not routed yet",
            "start more routers; if it does not sink, "
            f"{_log('router')} says what one of them waits for",
            count=lag,
        )
        for topic, lag in sorted(seen.lag.items())
        if lag >= LAG
    ]
    return found


def reconciler(
    seen: registry_schedules_pb2.ReconcilerStatus | None, *, now: datetime
) -> list[Finding]:
    """Look at who keeps Temporal's Schedules as they are applied; None: nobody ever did."""
    if seen is None or not seen.leader:
        return [
            Finding(
                Kind.NOBODY_RECONCILES,
                "registry",
                "no registry leads the reconciler: changes of schedules are not handed on",
                f"ask again in a minute; then {_log('registry')} says why none of them leads",
            )
        ]
    if not seen.HasField("compared_at"):
        return []
    age = now - moment(seen.compared_at)
    if age < -CLOCK_TOLERANCE:
        return [
            Finding(
                Kind.CLOCK_BEHIND,
                "registry",
                f"the clock here is at least {lasting(-age)} behind that of the registry",
                "synchronise the clocks of both machines (NTP): ages told here are too small",
            )
        ]
    if age > RECONCILER_BEHIND:
        return [
            Finding(
                Kind.RECONCILER_BEHIND,
                "registry",
                f"schedules were last compared with Temporal {lasting(age)} ago",
                f"{_log('registry')} says what {seen.leader} waits for; no fault if "
                "BACKBONE_RECONCILE_INTERVAL is as long",
            )
        ]
    return []


def drifts(seen: Iterable[registry_pb2.Drift]) -> list[Finding]:
    """Look at the definitions whose schedules are not as they are applied."""
    found = defaultdict(list)
    for one in seen:
        # A registry newer than us may know of kinds that we lack.
        kind = _DRIFTS.get(one.kind, Kind.SCHEDULE_DIFFERENT)
        found[kind].append(
            Finding(
                kind,
                one.definition_id,
                one.detail or "its schedules are not as they are applied",
                f"`backbone schedules show {one.definition_id}`; " + _ABOUT_DRIFT[kind],
            )
        )
    return [one for kind in sorted(found) for one in capped(found[kind])]


_BY_ITSELF = "the reconciler puts it back within a minute or two by itself"
_ABOUT_DRIFT: Mapping[Kind, str] = {
    Kind.SCHEDULE_MISSING: _BY_ITSELF,
    Kind.SCHEDULE_DIFFERENT: _BY_ITSELF,
    Kind.SCHEDULE_UNEXPECTED: _BY_ITSELF,
    Kind.SCHEDULE_REFUSED: "mend the definition and apply it again",
    Kind.SCHEDULE_PENDING: "it is handed on within seconds, or else the ledger or Temporal is away",
}


def overdue(seen: Iterable[schedules_pb2.OverdueSchedule], *, now: datetime) -> list[Finding]:
    """Look at definitions that were due, and that nobody has woken."""
    return capped(
        [
            Finding(
                Kind.SCHEDULE_OVERDUE,
                one.definition_id,
                f"it was due {lasting(now - moment(one.since))} ago, and nobody has woken it",
                f"`backbone schedules show {one.definition_id}`; look whether "
                "orchestrator-worker and Temporal run",
            )
            for one in seen
        ]
    )


def pending(
    seen: Sequence[routing_pb2.PendingStart], *, now: datetime, patience: timedelta, limit: int
) -> list[Finding]:
    """Look at starts that wait: what is held, and what should have been started."""
    held = _by(lambda one: one.definition_id, (one for one in seen if one.reason == _HELD))
    late = _by(
        lambda one: one.definition_id,
        (
            one
            for one in seen
            if one.reason != _HELD
            and one.HasField("not_before")
            and now - moment(one.not_before) > patience
        ),
    )
    return [
        *capped(
            [
                Finding(
                    Kind.EVENTS_HELD,
                    definition_id,
                    f"it is disabled, and {_so_many(len(starts), limit)} wait until it is enabled, "
                    f"the first for {_oldest(now, (one.queued_at for one in starts))}",
                    f'`backbone enable {definition_id} --held start --reason "mended"`, or '
                    "`--held discard`",
                    count=len(starts),
                )
                for definition_id, starts in held.items()
            ]
        ),
        *capped(
            [
                Finding(
                    Kind.STARTS_LATE,
                    definition_id,
                    f"{_so_many(len(starts), limit)} should have been started, the first "
                    f"{_oldest(now, (one.not_before for one in starts))} ago",
                    f"`backbone pending --definition {definition_id}`; {_log('router')} says what "
                    "stands in the way",
                    count=len(starts),
                )
                for definition_id, starts in late.items()
            ]
        ),
    ]


def dead_letters(
    seen: Sequence[router_pb2.DeadLetter], *, now: datetime, limit: int
) -> list[Finding]:
    """Look at dead letters that nobody has redriven or discarded, by why they were refused."""
    return [
        Finding(
            Kind.DEAD_LETTERS_OPEN,
            reason,
            f"{_so_many(len(letters), limit)} that were refused for {reason} are open, the first "
            f"for {_oldest(now, (one.parked_at for one in letters))}",
            f"`backbone dlq list --code {reason}`, then redrive or discard them "
            "(docs/dead-letters.md)",
            count=len(letters),
        )
        for reason, letters in _by(lambda one: one.reason, seen).items()
    ]


def outbox(
    owner: Owner, seen: outbox_pb2.GetOutboxResponse, *, now: datetime, patience: timedelta
) -> list[Finding]:
    """Look at events that are recorded and not published."""
    found = []
    if seen.HasField("oldest_queued_at"):
        age = now - moment(seen.oldest_queued_at)
        if age > patience:
            more = "+" if seen.more else ""
            found.append(
                Finding(
                    Kind.OUTBOX_BEHIND,
                    owner,
                    f"{seen.pending}{more} events of the {owner} are not published, the first for "
                    f"{lasting(age)}",
                    f"look whether outbox-relay runs and Kafka answers it: {_log('outbox-relay')}",
                    count=seen.pending,
                )
            )
    if seen.parked:
        found.append(
            Finding(
                Kind.OUTBOX_PARKED,
                owner,
                f"the broker refused {seen.parked} events of the {owner} for good, and "
                f"{seen.waiting_streams} streams wait behind them",
                f"`backbone outbox parked --service {owner}`, then `backbone outbox retry` or "
                "`backbone outbox discard`",
                count=seen.parked,
            )
        )
    return found


def operations(
    seen: Sequence[control_pb2.Operation], *, now: datetime, patience: timedelta, limit: int
) -> list[Finding]:
    """Look at what people asked for, and nobody has done in Temporal."""
    late = [one for one in seen if now - moment(one.queued_at) > patience]
    if not late:
        return []
    error = next((one.last_error for one in late if one.last_error), "")
    return [
        Finding(
            Kind.OPERATIONS_LATE,
            "orchestrator-worker",
            f"{_so_many(len(late), limit)} are not done in Temporal, the first for "
            f"{_oldest(now, (one.queued_at for one in late))}"
            + (f": {error.rstrip('.')}" if error else ""),
            "`backbone operations`; look whether orchestrator-worker and Temporal run",
            count=len(late),
        )
    ]


def waiting_instances(
    seen: Iterable[instances_pb2.WaitingInstance], *, now: datetime, patience: timedelta
) -> list[Finding]:
    """Look at events that wait to be applied to an instance."""
    late = _by(
        lambda one: one.definition_id,
        (one for one in seen if now - moment(one.waiting_since) > patience),
    )
    return capped(
        [
            Finding(
                Kind.INSTANCE_EVENTS_LATE,
                definition_id,
                f"{sum(one.events for one in waiting)} events wait to be applied to "
                f"{len(waiting)} instances, the first for "
                f"{_oldest(now, (one.waiting_since for one in waiting))}",
                f"`backbone instances waiting --definition {definition_id}`; "
                f"{_log('orchestrator-worker')} says what stands in the way",
                count=sum(one.events for one in waiting),
            )
            for definition_id, waiting in late.items()
        ]
    )


def human_tasks(seen: Iterable[ledger_pb2.Task], *, now: datetime) -> list[Finding]:
    """Look at open human tasks past the time at which they are due."""
    late = _by(
        lambda one: one.definition_id,
        (one for one in seen if one.HasField("due_at") and moment(one.due_at) < now),
    )
    return capped(
        [
            Finding(
                Kind.TASK_OVERDUE,
                definition_id,
                f"{len(tasks)} human tasks are open past their time, the first for "
                f"{_oldest(now, (one.due_at for one in tasks))}",
                "`backbone tasks list --status open --type human`, then ask those they are "
                "assigned to, or `backbone tasks reassign`",
                count=len(tasks),
            )
            for definition_id, tasks in late.items()
        ]
    )


def automated_tasks(seen: Iterable[ledger_pb2.Task], *, now: datetime) -> list[Finding]:
    """Look at automated tasks that are open for long: perhaps nobody takes them."""
    late = _by(
        lambda one: one.handler,
        (one for one in seen if now - moment(one.created_at) > TASK_OPEN),
    )
    return capped(
        [
            Finding(
                Kind.TASK_NOT_CARRIED_OUT,
                f"handler {handler}",
                f"{len(tasks)} tasks of the handler {handler} are open, the first for "
                f"{_oldest(now, (one.created_at for one in tasks))}",
                "`backbone tasks list --status open --type automated`; look whether a worker with "
                "this handler runs on the task queue that their rules name",
                count=len(tasks),
            )
            for handler, tasks in late.items()
        ]
    )


def queues(seen: Iterable[task_queues_pb2.TaskQueue], *, patience: timedelta) -> list[Finding]:
    """Look at task queues on which something waits and that nobody polls."""
    return capped(
        [
            Finding(
                Kind.QUEUE_UNSERVED,
                f"task queue {one.name}",
                f"{one.backlog} tasks wait on {one.name}, the first for {lasting(age)}, and no "
                "worker has polled it for five minutes",
                "`backbone queues`; start a worker on it",
                count=one.backlog,
            )
            for one in seen
            if one.backlog and not one.pollers
            if (age := one.backlog_age.ToTimedelta()) > patience
        ]
    )


def runs(seen: Iterable[ledger_pb2.Run], *, now: datetime) -> list[Finding]:
    """Look at runs that are open for very long."""
    old = _by(
        lambda one: one.definition_id,
        (one for one in seen if now - moment(one.recorded_at) > RUN_OPEN),
    )
    return capped(
        [
            Finding(
                Kind.RUN_OPEN_LONG,
                definition_id,
                f"{len(found)} runs are open for more than {lasting(RUN_OPEN)}, the first for "
                f"{_oldest(now, (one.recorded_at for one in found))}",
                f"`backbone runs list --definition {definition_id}`, then "
                "`backbone explain run`, and `backbone runs cancel` what nobody waits for",
                count=len(found),
            )
            for definition_id, found in old.items()
        ]
    )


def replays(seen: Iterable[replay_pb2.Replay], *, now: datetime) -> list[Finding]:
    """Look at replays of events that are paused for long."""
    return capped(
        [
            _paused(Kind.REPLAY_PAUSED, "replay", one.replay_id, now - moment(one.changed_at))
            for one in seen
            if one.state == replay_pb2.REPLAY_STATE_PAUSED and now - moment(one.changed_at) > PAUSED
        ]
    )


def backfills(seen: Iterable[backfills_pb2.Backfill], *, now: datetime) -> list[Finding]:
    """Look at backfills that are paused for long."""
    return capped(
        [
            _paused(Kind.BACKFILL_PAUSED, "backfill", one.backfill_id, now - moment(one.changed_at))
            for one in seen
            if one.state == backfills_pb2.BACKFILL_STATE_PAUSED
            and now - moment(one.changed_at) > PAUSED
        ]
    )


def moment(stamp: Timestamp) -> datetime:
    """Return an aware time, in UTC."""
    return stamp.ToDatetime(tzinfo=UTC)


def lasting(duration: timedelta) -> str:
    """Return how long something lasts, in the largest unit that it has one of."""
    seconds = int(duration.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _paused(kind: Kind, noun: str, name: str, age: timedelta) -> Finding:
    return Finding(
        kind,
        name,
        f"the {noun} is paused for {lasting(age)}",
        f'`backbone {noun} resume {name} --reason "goes on"`, or `backbone {noun} cancel {name}`',
    )


def _log(service: str) -> str:
    return f"its log (`make logs NAME={service}`)"


def _so_many(number: int, limit: int) -> str:
    """Return a number that was only counted up to a limit."""
    return f"{number}{'+' if number >= limit else ''}"


def _oldest(now: datetime, stamps: Iterable[Timestamp]) -> str:
    return lasting(now - min(moment(one) for one in stamps))


def _by(key: Callable[[T], str], items: Iterable[T]) -> dict[str, list[T]]:
    """Return items by what they have in common, in its order."""
    found: dict[str, list[T]] = defaultdict(list)
    for one in items:
        found[key(one)].append(one)
    return dict(sorted(found.items()))
