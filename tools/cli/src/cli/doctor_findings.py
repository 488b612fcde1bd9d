"""What `doctor` finds wrong: each kind of finding once, with how bad it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

_AT_MOST = 20  # of one kind that one look tells, so that a thousand do not hide the others


class Severity(StrEnum):
    """How bad a finding is: with an error something does not happen that should."""

    ERROR = "error"
    WARNING = "warning"


class Kind(StrEnum):
    """What can be found: the stable ids of docs/doctor.md."""

    NOT_CONFIGURED = "not-configured"
    KAFKA_NOT_CONFIGURED = "kafka-not-configured"
    CERTIFICATE_UNREADABLE = "certificate-unreadable"
    CERTIFICATE_ENDED = "certificate-ended"
    CERTIFICATE_ENDS_SOON = "certificate-ends-soon"
    TOKEN_UNREADABLE = "token-unreadable"  # noqa: S105 - a finding's id
    UNREACHABLE = "unreachable"
    DEGRADED = "degraded"
    SLOW = "slow"
    NAMESPACE_DENIED = "namespace-denied"
    NOT_ALLOWED = "not-allowed"
    LOOK_FAILED = "look-failed"
    CLOCK_BEHIND = "clock-behind"
    TOPIC_MISSING = "topic-missing"
    NOBODY_ROUTES = "nobody-routes"
    CONSUMER_LAG = "consumer-lag"
    NOBODY_RECONCILES = "nobody-reconciles"
    RECONCILER_BEHIND = "reconciler-behind"
    SCHEDULE_MISSING = "schedule-missing"
    SCHEDULE_DIFFERENT = "schedule-different"
    SCHEDULE_UNEXPECTED = "schedule-unexpected"
    SCHEDULE_REFUSED = "schedule-refused"
    SCHEDULE_PENDING = "schedule-pending"
    SCHEDULE_OVERDUE = "schedule-overdue"
    EVENTS_HELD = "events-held"
    STARTS_LATE = "starts-late"
    DEAD_LETTERS_OPEN = "dead-letters-open"
    OUTBOX_BEHIND = "outbox-behind"
    OUTBOX_PARKED = "outbox-parked"
    OPERATIONS_LATE = "operations-late"
    INSTANCE_EVENTS_LATE = "instance-events-late"
    TASK_OVERDUE = "task-overdue"
    TASK_NOT_CARRIED_OUT = "task-not-carried-out"
    QUEUE_UNSERVED = "queue-unserved"
    RUN_OPEN_LONG = "run-open-long"
    REPLAY_PAUSED = "replay-paused"
    BACKFILL_PAUSED = "backfill-paused"


_WARNINGS = frozenset(
    {
        Kind.KAFKA_NOT_CONFIGURED,
        Kind.CERTIFICATE_ENDS_SOON,
        Kind.SLOW,
        Kind.NOT_ALLOWED,
        Kind.CLOCK_BEHIND,
        Kind.CONSUMER_LAG,
        Kind.RECONCILER_BEHIND,
        Kind.SCHEDULE_DIFFERENT,
        Kind.SCHEDULE_UNEXPECTED,
        Kind.SCHEDULE_PENDING,
        Kind.EVENTS_HELD,
        Kind.STARTS_LATE,
        Kind.DEAD_LETTERS_OPEN,
        Kind.INSTANCE_EVENTS_LATE,
        Kind.TASK_OVERDUE,
        Kind.TASK_NOT_CARRIED_OUT,
        Kind.RUN_OPEN_LONG,
        Kind.REPLAY_PAUSED,
        Kind.BACKFILL_PAUSED,
    }
)

SEVERITY: Mapping[Kind, Severity] = {
    kind: Severity.WARNING if kind in _WARNINGS else Severity.ERROR for kind in Kind
}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    `where` says with what (a service, a definition, a topic), `what` is one sentence, `do` what to
    do about it, a command first where there is one. `count` is how many things it is about.
    """

    kind: Kind
    where: str
    what: str
    do: str
    count: int = 1

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return SEVERITY[self.kind]


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Return them with the errors first, else in the order in which they were found."""
    worst_first = list(Severity)
    return sorted(findings, key=lambda one: worst_first.index(one.severity))


def capped(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings of one kind, of which the last stands for those that would be too many."""
    if len(findings) <= _AT_MOST:
        return list(findings)
    told, rest = findings[: _AT_MOST - 1], findings[_AT_MOST - 1 :]
    others = replace(rest[0], where=f"{len(rest)} more", count=sum(one.count for one in rest))
    return [*told, others]
