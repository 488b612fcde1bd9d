"""Admits the records of a batch in one pass, and finds who wants each of them.

The pass waits for nobody. Most records end in it, since no definition is a candidate for them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from contracts.rejections import EventRejectedError, Reason
from router.domain.authentication import Authentication
from router.domain.decisions import Decision, UnroutedRange
from router.domain.ingress import Event, Ingress
from router.domain.records import Record
from router.domain.routing import Candidate
from router.domain.waiting import Wait
from router.ports import ActiveDefinitions
from runtime import logs

PASS_S = 0.005
"""How long the pass goes on before it lets others run."""

_log = logs.get_logger(__name__)


@dataclass(slots=True)
class Task:
    """A record that needs work. It has candidates, or a rejection from the first."""

    index: int
    record: Record
    rejection: EventRejectedError | None = None
    event: Event | None = None
    candidates: Sequence[Candidate] = ()
    revision: int = 0
    digest: str = ""
    is_known: bool = False
    decisions: list[Decision] = field(default_factory=list)
    waits: dict[str, Wait] = field(default_factory=dict)
    began: float = 0.0

    @property
    def lane(self) -> tuple[str, int, bytes | int]:
        """What is settled in its order: records of one key; one without a key stands alone."""
        record = self.record
        return record.topic, record.partition, record.offset if record.key is None else record.key

    @property
    def identity(self) -> tuple[str, str]:
        """Source and event id. Only what was admitted has them."""
        document = self.event.document if self.event is not None else {}
        return document["source"], document["event_id"]


@dataclass(slots=True)
class Admitted:
    """What became of the records of a batch: work, or nobody wants them, by their index."""

    tasks: list[Task] = field(default_factory=list)
    unrouted: list[int] = field(default_factory=list)
    ranges: dict[tuple[str, int, int], UnroutedRange] = field(default_factory=dict)


class Admission:
    """Admits records of one namespace."""

    def __init__(
        self, namespace: str, definitions: ActiveDefinitions, authentication: Authentication
    ) -> None:
        self._namespace = namespace
        self._ingress = Ingress(namespace, authentication)
        self._definitions = definitions

    async def admit(self, records: Sequence[Record]) -> Admitted:
        """Look at every record once; those of one partition come in their order."""
        clock = asyncio.get_running_loop().time
        found = Admitted()
        until = clock() + PASS_S
        for index, record in enumerate(records):
            try:
                self._admit(index, record, found)
            except EventRejectedError as exc:
                found.tasks.append(Task(index, record, rejection=exc))
            except Exception as exc:  # noqa: BLE001 - a fault of ours stops nobody behind it
                found.tasks.append(Task(index, record, rejection=fault(record, exc)))
            if clock() > until:
                await asyncio.sleep(0)
                until = clock() + PASS_S
        return found

    def _admit(self, index: int, record: Record, found: Admitted) -> None:
        # Looked up for each record: a snapshot may replace them while others run.
        policy = self._definitions.policy(self._namespace)
        event = self._ingress.admit(record, policy)
        definitions = self._definitions.index(self._namespace)
        candidates = definitions.candidates(event.document["type"], event.document)
        revision = self._definitions.revision(self._namespace)
        if candidates:
            found.tasks.append(
                Task(index, record, event=event, candidates=candidates, revision=revision)
            )
            return
        found.unrouted.append(index)
        key = record.topic, record.partition, revision
        known = found.ranges.get(key)
        if known is None:
            found.ranges[key] = UnroutedRange(
                record.topic, record.partition, record.offset, record.offset, 1, revision
            )
        else:
            known.last = record.offset
            known.records += 1


def fault(record: Record, exc: Exception) -> EventRejectedError:
    """Return why a record is parked on a fault of ours, which stops nobody behind it."""
    _log.error("route_failed", topic=record.topic, offset=record.offset, exc_info=exc)
    return EventRejectedError(Reason.UNROUTABLE, f"{type(exc).__name__}: {exc}")
