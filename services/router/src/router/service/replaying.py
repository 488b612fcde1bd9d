"""Plans replays of events: reads past records, and says what they would start, and nothing else.

Each call reads for some seconds and keeps in the ledger how far it came, so that a plan may be as
long as a topic, and goes on wherever it was interrupted. The records go through the same checks and
the same index as those that come by Kafka; which of them have started something is the ledger's to
know.
"""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from contracts.rejections import EventRejectedError, Reason
from router.domain import replaying, sensitive_events
from router.domain.authentication import Authentication
from router.domain.dead_letter_pages import Stretches
from router.domain.decisions import RoutedEvent
from router.domain.ingress import Event, Ingress
from router.domain.records import Record
from router.domain.replaying import Order, Plan
from router.domain.routing import Candidate
from router.domain.sensitive_events import Taken
from router.errors import RequestInvalidError
from router.ports import ActiveDefinitions, PlanPage, Records, Replays, SensitiveValues
from router.service import keeping
from router.service.admission import fault

TIME = timedelta(seconds=4)
"""How long one call reads and evaluates."""
RECORDS = 2000
"""That are read together."""
PAGE_BYTES = 800_000
"""Of the events that the ledger is told together, well below what a message may hold."""


@dataclass(slots=True)
class _Page:
    """What is to be told of records that were read."""

    events: list[RoutedEvent] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    records: int = 0
    unrouted: int = 0
    bytes: int = 0


class ReplayPlanner:
    """Plans replays of some namespaces, whose topics are `topics`."""

    def __init__(
        self,
        *,
        topics: Mapping[str, Collection[str]],
        definitions: ActiveDefinitions,
        records: Records,
        replays: Replays,
        authentication: Authentication,
        sensitive_values: SensitiveValues = keeping.Unkept(),  # noqa: B008 - a value
        time_s: float = TIME.total_seconds(),
    ) -> None:
        self._topics = topics
        self._definitions = definitions
        self._records = records
        self._replays = replays
        self._authentication = authentication
        self._sensitive_values = sensitive_values
        self._time_s = time_s

    async def plan(self, order: Order) -> Plan:
        """Go on with a plan for some seconds; return how far it is.

        Raises:
            RequestInvalidError: the namespace or the topic is none that is read here, or there is
                no such definition.
            ReplayExistsError: the id stands for another question.
            ReplayRefusedError: the plan cannot go on: a definition has changed, or it is too large.
            TransientError: a neighbour does not answer; the same again goes on.
        """
        self._check(order)
        plan = await self._replays.get(order.namespace, order.replay_id)
        if plan is None:
            question = order.question
            stretches = await self._records.stretches(
                question.topic, since=question.since, until=question.until
            )
        else:
            stretches = plan.left
        # Even one that is there is asked for with its question: it may be another one's.
        plan = await self._replays.create(order, stretches)
        until = time.monotonic() + self._time_s
        while not plan.complete and time.monotonic() < until:
            plan = await self._read_on(order, plan)
        return plan

    def _check(self, order: Order) -> None:
        namespace, question = order.namespace, order.question
        if namespace not in self._topics:
            raise RequestInvalidError(f"the namespace {namespace!r} is not served here")
        if question.topic not in self._topics[namespace]:
            read = ", ".join(sorted(self._topics[namespace])) or "none"
            raise RequestInvalidError(
                f"{question.topic!r} is no topic that the router reads in {namespace!r}: {read}"
            )
        index = self._definitions.index(namespace)
        unknown = sorted(one for one in question.definition_ids if index.get(one) is None)
        if unknown:
            raise RequestInvalidError(
                f"no definition in use in {namespace!r}: {', '.join(unknown)}"
            )

    async def _read_on(self, order: Order, plan: Plan) -> Plan:
        """Read some records and tell the ledger what they mean."""
        read, left = await self._records.read(order.question.topic, plan.left, most=RECORDS)
        page, done = _Page(), dict(plan.left)
        found = await self._look(order, read)
        for record, one in zip(read, found, strict=True):
            page.records += 1
            if isinstance(one, RoutedEvent):
                page.events.append(one)
                page.bytes += len(one.envelope) + 500 * len(one.decisions)
            elif one is None:
                page.unrouted += 1
            else:
                page.refused[one] += 1
            done[record.partition] = (record.offset + 1, done[record.partition][1])
            if page.bytes > PAGE_BYTES:
                plan = await self._tell(order, plan, page, done)
                page = _Page()
        return await self._tell(order, plan, page, left)

    async def _tell(self, order: Order, plan: Plan, page: _Page, left: Stretches) -> Plan:
        return await self._replays.add(
            order.namespace,
            order.replay_id,
            PlanPage(
                before=plan.left,
                after=dict(left),
                records=page.records,
                unrouted=page.unrouted,
                refused=page.refused,
                events=page.events,
            ),
        )

    async def _look(
        self, order: Order, records: Sequence[Record]
    ) -> list[RoutedEvent | Reason | None]:
        """Return what records mean: None for nobody wants it, a reason for a refusal."""
        found: list[RoutedEvent | Reason | None] = []
        wanted: list[tuple[int, Event, str, Sequence[Candidate]]] = []
        taken: dict[int, Taken] = {}
        for index, record in enumerate(records):
            found.append(None)
            try:
                event = self._admit(order.namespace, record)
                candidates = self._candidates(order, event)
                if not candidates:
                    continue
                policy = self._definitions.policy(order.namespace)
                sensitive = keeping.take(order.namespace, event, policy)
            except EventRejectedError as exc:
                found[index] = exc.reason
                continue
            wanted.append((index, event, event.digest, candidates))
            if sensitive is not None:
                taken[index] = sensitive
        kept = await keeping.kept_events(
            order.namespace, list(taken.values()), values=self._sensitive_values
        )
        instead = dict(zip(taken, kept, strict=True))
        revision = self._definitions.revision(order.namespace)
        for index, event, digest, candidates in wanted:
            known = instead.get(index, event)
            if isinstance(known, EventRejectedError):
                found[index] = known.reason
                continue
            told = sensitive_events.silenced(candidates) if index in instead else candidates
            try:
                found[index] = replaying.routed(known, told, digest=digest, revision=revision)
            except EventRejectedError as exc:
                found[index] = exc.reason
        return found

    def _admit(self, namespace: str, record: Record) -> Event:
        try:
            ingress = Ingress(namespace, self._authentication)
            return ingress.admit(record, self._definitions.policy(namespace))
        except EventRejectedError:
            raise
        except Exception as exc:
            raise fault(record, exc) from exc

    def _candidates(self, order: Order, event: Event) -> Sequence[Candidate]:
        index = self._definitions.index(order.namespace)
        found = index.candidates(event.document["type"], event.document)
        wanted = order.question.definition_ids
        return [one for one in found if not wanted or one.definition.definition_id in wanted]
