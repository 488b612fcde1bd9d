"""Every look that `doctor` takes: bounded in time, and none of them in another's way."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from backbone.ledger.v1 import ledger_pb2
from backbone.registry.v1 import schedules_pb2
from backbone.router.v1 import router_pb2
from cli import doctor_checks as checks
from cli import doctor_files, doctor_kafka, kafka
from cli.clients import Clients
from cli.doctor_findings import Finding, Kind
from cli.errors import CliError, NotReachableError, UnavailableError, UsageError
from cli.inboxes import TaskFilter, TaskKind
from cli.outboxes import Owner
from cli.settings import Settings
from contracts.decisions import RunStatus, TaskStatus
from runtime.authorisation import Denial
from runtime.errors import ConfigurationError

SERVICES = ("registry", "ledger", "router")
LIMIT = 1000
"""So many of a list are looked at."""

_KAFKA = "kafka"
_HERE = "here"


@dataclass(frozen=True)
class Look:
    """Something to look at: what it is called, who is asked, and how."""

    title: str
    of: str
    take: Callable[[], Awaitable[list[Finding]]]


@dataclass(frozen=True)
class Looked:
    """A look that was taken: what it found, or why it could not be taken."""

    title: str
    of: str
    took: timedelta
    findings: Sequence[Finding] = ()
    error: CliError | None = None


async def everything(
    clients: Clients, settings: Settings, *, patience: timedelta, within: timedelta
) -> list[Looked]:
    """Take every look at the namespace of `clients`, each for `within` at most.

    What is to happen soon is late once it has waited longer than `patience`.
    """
    looks = _Looks(clients, settings, patience=patience, within=within)
    # Alone and first: beside the others they would tell how busy this machine is.
    first = await _taken(looks.health(), within=within)
    return [*first, *await _taken(looks.others(), within=within)]


def failures(looked: Iterable[Looked]) -> list[Finding]:
    """Return what is wrong with looks that could not be taken, once for all that say the same."""
    found: dict[tuple[Kind, str, str], Finding] = {}
    for one in looked:
        if one.error is not None:
            finding = _failure(one.of, one.error)
            same = "" if finding.kind is Kind.UNREACHABLE else finding.what
            found.setdefault((finding.kind, finding.where, same), finding)
    return list(found.values())


async def _taken(looks: Iterable[Look], *, within: timedelta) -> list[Looked]:
    return await asyncio.gather(*(_take(look, within=within) for look in looks))


async def _take(look: Look, *, within: timedelta) -> Looked:
    began = time.monotonic()

    def took() -> timedelta:
        return timedelta(seconds=time.monotonic() - began)

    try:
        async with asyncio.timeout(within.total_seconds()):
            findings = await look.take()
    except TimeoutError:
        late = CliError(f"{look.title}: there was no answer within {checks.lasting(within)}")
        return Looked(look.title, look.of, took(), error=late)
    except CliError as exc:
        return Looked(look.title, look.of, took(), error=exc)
    except ConfigurationError as exc:
        return Looked(look.title, look.of, took(), error=UsageError(str(exc)))
    return Looked(look.title, look.of, took(), findings=findings)


def _failure(of: str, error: CliError) -> Finding:
    # The commands' errors say what is wrong, and often after a colon what to do.
    said, _, advice = str(error).partition(": ")
    if isinstance(error, UsageError):
        kind = Kind.KAFKA_NOT_CONFIGURED if of == _KAFKA else Kind.NOT_CONFIGURED
        return Finding(kind, of, said, advice or "set the variables that it names")
    if isinstance(error, NotReachableError):
        return Finding(Kind.UNREACHABLE, of, said, advice or "`make status` says what runs")
    if isinstance(error, UnavailableError):
        advice = f"its log (`make logs NAME={of}`) says what it waits for"
        return Finding(Kind.DEGRADED, of, str(error), advice)
    if error.reason == Denial.NAMESPACE:
        advice = "choose a namespace of yours with `--namespace`, or ask for a role in this one"
        return Finding(Kind.NAMESPACE_DENIED, of, str(error), advice)
    if error.reason == Denial.ROLE:
        advice = "ask for the role viewer or operator (docs/authorisation.md)"
        return Finding(Kind.NOT_ALLOWED, of, str(error), advice)
    advice = f"its log (`make logs NAME={of}`) says more"
    return Finding(Kind.LOOK_FAILED, of, str(error), advice)


class _Looks:
    """The looks at one namespace."""

    def __init__(
        self, clients: Clients, settings: Settings, *, patience: timedelta, within: timedelta
    ) -> None:
        self._clients = clients
        self._settings = settings
        self._patience = patience
        self._timeout_s = within.total_seconds()

    def health(self) -> list[Look]:
        """How services answer."""
        return [
            Look(f"health of the {service}", service, partial(self._health, service))
            for service in SERVICES
        ]

    def others(self) -> list[Look]:
        """All that is not how services answer."""
        return [
            Look("certificates", _HERE, self._certificates),
            Look("token", _HERE, self._token),
            Look("topics", _KAFKA, self._topics),
            Look("consumer group of the router", _KAFKA, self._group),
            Look("reconciler", "registry", self._reconciler),
            Look("schedules as applied", "registry", self._drifts),
            Look("overdue schedules", "ledger", self._overdue),
            Look("pending starts", "ledger", self._pending),
            Look("dead letters", "router", self._dead_letters),
            *(
                Look(f"outbox of the {owner}", owner, partial(self._outbox, owner))
                for owner in Owner
            ),
            Look("operations in Temporal", "ledger", self._operations),
            Look("events of instances", "ledger", self._waiting_instances),
            Look("human tasks", "ledger", self._human_tasks),
            Look("automated tasks", "ledger", self._automated_tasks),
            Look("task queues", "registry", self._queues),
            Look("open runs", "ledger", self._runs),
            Look("replays", "ledger", self._replays),
            Look("backfills", "ledger", self._backfills),
        ]

    async def _health(self, service: str) -> list[Finding]:
        began = time.monotonic()
        serving = await self._clients.health(service).serves()
        took = timedelta(seconds=time.monotonic() - began)
        return checks.answer(service, serving=serving, took=took)

    async def _certificates(self) -> list[Finding]:
        return doctor_files.certificates(self._settings, now=_now())

    async def _token(self) -> list[Finding]:
        return doctor_files.token(self._settings)

    async def _topics(self) -> list[Finding]:
        missing = await doctor_kafka.missing_topics(
            kafka.bootstrap(self._settings), self._clients.namespace, timeout_s=self._timeout_s
        )
        return checks.topics(missing)

    async def _group(self) -> list[Finding]:
        seen = await doctor_kafka.router_group(
            kafka.bootstrap(self._settings), self._clients.namespace, timeout_s=self._timeout_s
        )
        return checks.group(seen)

    async def _reconciler(self) -> list[Finding]:
        answer = await self._clients.schedule_states.drifts(limit=1)
        seen: schedules_pb2.ReconcilerStatus | None = None
        if answer.HasField("reconciler"):
            seen = answer.reconciler
        return checks.reconciler(seen, now=_now())

    async def _drifts(self) -> list[Finding]:
        return checks.drifts((await self._clients.registry.drift()).drifts)

    async def _overdue(self) -> list[Finding]:
        seen = await self._clients.schedules.overdue(min_age=self._patience, limit=LIMIT)
        return checks.overdue(seen, now=_now())

    async def _pending(self) -> list[Finding]:
        seen = await self._clients.pending(limit=LIMIT)
        return checks.pending(seen, now=_now(), patience=self._patience, limit=LIMIT)

    async def _dead_letters(self) -> list[Finding]:
        wanted = router_pb2.DeadLetterFilter(state="open")
        seen = await self._clients.dead_letters.list(wanted, limit=LIMIT)
        return checks.dead_letters(seen, now=_now(), limit=LIMIT)

    async def _outbox(self, owner: Owner) -> list[Finding]:
        seen = await self._clients.outbox(owner).state()
        return checks.outbox(owner, seen, now=_now(), patience=self._patience)

    async def _operations(self) -> list[Finding]:
        seen = await self._clients.operations(limit=LIMIT)
        return checks.operations(seen, now=_now(), patience=self._patience, limit=LIMIT)

    async def _waiting_instances(self) -> list[Finding]:
        seen = await self._clients.waiting_instances(limit=LIMIT)
        return checks.waiting_instances(seen, now=_now(), patience=self._patience)

    async def _human_tasks(self) -> list[Finding]:
        return checks.human_tasks(await self._tasks(TaskKind.HUMAN), now=_now())

    async def _automated_tasks(self) -> list[Finding]:
        return checks.automated_tasks(await self._tasks(TaskKind.AUTOMATED), now=_now())

    async def _tasks(self, kind: TaskKind) -> list[ledger_pb2.Task]:
        wanted = TaskFilter(status=TaskStatus.OPEN, kind=kind)
        return await self._clients.inbox.tasks(wanted, limit=LIMIT)

    async def _queues(self) -> list[Finding]:
        seen = await self._clients.task_queues.list()
        return checks.queues(seen.task_queues, patience=self._patience)

    async def _runs(self) -> list[Finding]:
        seen = [
            run
            for status in (RunStatus.RUNNING, RunStatus.WAITING)
            for run in await self._clients.runs(status=status, limit=LIMIT)
        ]
        return checks.runs(seen, now=_now())

    async def _replays(self) -> list[Finding]:
        return checks.replays(await self._clients.replays.list(limit=LIMIT), now=_now())

    async def _backfills(self) -> list[Finding]:
        return checks.backfills(await self._clients.backfills.list("", limit=LIMIT), now=_now())


def _now() -> datetime:
    return datetime.now(UTC)
