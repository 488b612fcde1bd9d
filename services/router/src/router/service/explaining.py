"""Says what an event means, or meant, to definitions, and where it is. It changes nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from contracts import sensitive
from contracts.rejections import EventRejectedError
from router.domain import evaluating, searching
from router.domain.authentication import Authentication
from router.domain.evaluating import MAX_EVALUATED, DefinitionOutcome, Evaluation
from router.domain.ingress import Event, Ingress
from router.domain.policy import Policy
from router.domain.records import Record
from router.domain.routing import Active, Index
from router.errors import (
    DefinitionAbsentError,
    DefinitionUnusableError,
    RequestInvalidError,
)
from router.ports import ActiveDefinitions, DefinitionHistory, Records, Search
from rules import expressions

SEARCHED_FOR = timedelta(days=1)
"""How far back an event is looked for when nobody says."""
MAX_ASKED = 200
"""Definitions that changed since, of which it is asked how they were."""
_ASKED_AT_A_TIME = 8
_TELLING = list(DefinitionOutcome)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an event means to definitions.

    `event` is None for what is none. `rejection` says why it would be refused now. `listening` is
    how many definitions there are to evaluate, of which the first 100 are; None when that could
    not be said for the time that was asked about.
    """

    event: Event | None
    rejection: EventRejectedError | None
    evaluations: Sequence[Evaluation] = ()
    listening: int | None = 0


class EventExplainer:
    """Evaluates events again, and finds them, for people."""

    def __init__(
        self,
        *,
        definitions: ActiveDefinitions,
        history: DefinitionHistory,
        records: Records,
        topics: Mapping[str, Sequence[str]],
        clock: Callable[[], datetime],
        authentication: Authentication,
    ) -> None:
        """`topics` are those that are read, by namespace."""
        self._definitions = definitions
        self._history = history
        self._records = records
        self._topics = topics
        self._clock = clock
        self._authentication = authentication.in_retrospect()

    async def evaluate_at(
        self,
        namespace: str,
        place: tuple[str, int, int],
        *,
        definition_id: str = "",
        as_of: datetime | None = None,
    ) -> Explanation:
        """Evaluate the record at a place: topic, partition, offset.

        Raises:
            RequestInvalidError: the namespace or its topic is not served here.
            RecordGoneError: there is no such record (any more).
            DefinitionUnknownError: there is no such definition, or it is retired.
            DefinitionAbsentError: it was not in use at that time.
            DefinitionUnusableError: this release cannot read it.
            TransientError: Kafka or the registry does not answer.
        """
        topic, partition, offset = place
        self._require_topics(namespace, [topic])
        if partition < 0 or offset < 0:
            raise RequestInvalidError(f"place: {partition}:{offset} is below zero")
        record = await self._records.at(topic, partition, offset)
        return await self._evaluate(namespace, record, definition_id, as_of)

    async def evaluate(
        self,
        namespace: str,
        value: bytes,
        *,
        definition_id: str = "",
        as_of: datetime | None = None,
    ) -> Explanation:
        """Evaluate the bytes of an event, as if a producer sent them without headers.

        Raises:
            RequestInvalidError, DefinitionUnknownError, DefinitionAbsentError,
            DefinitionUnusableError, TransientError: as `evaluate_at`.
        """
        self._require_topics(namespace, [])
        record = Record("", 0, 0, None, None, value, ())
        return await self._evaluate(namespace, record, definition_id, as_of)

    async def find(
        self,
        namespace: str,
        event_id: str,
        *,
        source: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        topics: Sequence[str] = (),
    ) -> Search:
        """Look for an event on the topics that are read in a namespace, in the last day by default.

        Raises:
            RequestInvalidError: there is no id, or the namespace or a topic is not served here.
            TransientError: Kafka does not answer.
        """
        self._require_topics(namespace, topics)
        if not event_id:
            raise RequestInvalidError("event_id is required")
        begin = since if since is not None else (until or self._clock()) - SEARCHED_FOR
        if until is not None and until <= begin:
            raise RequestInvalidError("until is not after since")
        return await self._records.search(
            tuple(topics) or self._topics[namespace],
            since=begin,
            until=until,
            look=searching.looking_for(event_id, source),
        )

    def _require_topics(self, namespace: str, topics: Sequence[str]) -> None:
        read = self._topics.get(namespace)
        if read is None:
            raise RequestInvalidError(f"namespace {namespace!r} is not served here")
        for topic in topics:
            if topic not in read:
                raise RequestInvalidError(expressions.did_you_mean(topic, read, "topic"))

    async def _evaluate(
        self, namespace: str, record: Record, definition_id: str, as_of: datetime | None
    ) -> Explanation:
        event, rejection = self._admit(namespace, record)
        if event is None:
            return Explanation(None, rejection)
        event_type, document = event.document["type"], event.document
        index = self._definitions.index(namespace)
        wanted: Sequence[Active]
        listening: int | None
        if definition_id:
            wanted, listening = [await self._named(namespace, definition_id, as_of)], 1
        else:
            found, exact = await self._listening(namespace, index, event_type, as_of)
            wanted = evaluating.wanting_first(found, index, event_type, document)
            listening = len(wanted) if exact else None
        is_sensitive = self._is_sensitive(namespace, document)
        evaluations = []
        for definition in wanted[:MAX_EVALUATED]:
            evaluation = evaluating.evaluate(definition, event_type, document)
            evaluations.append(evaluating.hushed(evaluation) if is_sensitive else evaluation)
            await asyncio.sleep(0)  # Routing goes on in between.
        evaluations.sort(key=lambda one: _TELLING.index(one.outcome))
        return Explanation(event, rejection, evaluations, listening)

    def _is_sensitive(self, namespace: str, document: Mapping[str, Any]) -> bool:
        policy = self._definitions.policy(namespace)
        marks = policy.marks(document["type"], document["schema_version"])
        return marks is not None and bool(sensitive.found(document["payload"], marks.fields))

    def _admit(
        self, namespace: str, record: Record
    ) -> tuple[Event | None, EventRejectedError | None]:
        """Return what the record is, and why it would be refused now.

        What only the policy of now refuses, a schema, a producer or a key, can have been let in
        before.
        """
        try:
            ingress = Ingress(namespace, self._authentication)
            return ingress.admit(record, self._definitions.policy(namespace)), None
        except EventRejectedError as exc:
            rejection = exc
        try:
            return Ingress(namespace, None).admit(record, Policy()), rejection
        except EventRejectedError:
            return None, rejection

    async def _named(self, namespace: str, definition_id: str, as_of: datetime | None) -> Active:
        in_use = self._definitions.index(namespace).get(definition_id)
        if as_of is None:
            return in_use or await self._definitions.latest(namespace, definition_id)
        try:
            return await self._history.at(namespace, definition_id, as_of)
        except DefinitionAbsentError as exc:
            if in_use is None and not exc.retired:
                # Of one that never was, this says so, and what is near it.
                await self._definitions.latest(namespace, definition_id)
            raise

    async def _listening(
        self, namespace: str, index: Index, event_type: str, as_of: datetime | None
    ) -> tuple[list[Active], bool]:
        """Return the definitions that listen to a type, and whether these are all."""
        now = evaluating.listening(index, event_type)
        if as_of is None:
            return now, True
        changed = await self._history.changed_since(namespace, as_of)
        # When too much has changed, it is told at least how those were that listen now.
        asked = {one.definition_id for one in now} if changed is None else changed
        before = await self._were(namespace, sorted(asked)[:MAX_ASKED], as_of)
        unchanged = [one for one in now if one.definition_id not in asked]
        exact = changed is not None and len(asked) <= MAX_ASKED
        return unchanged + evaluating.listening(before, event_type), exact

    async def _were(
        self, namespace: str, definition_ids: Sequence[str], as_of: datetime
    ) -> list[Active]:
        turn = asyncio.Semaphore(_ASKED_AT_A_TIME)

        async def was(definition_id: str) -> Active | None:
            async with turn:
                try:
                    return await self._history.at(namespace, definition_id, as_of)
                except (DefinitionAbsentError, DefinitionUnusableError):
                    return None

        found = await asyncio.gather(*(was(one) for one in definition_ids))
        return [one for one in found if one is not None]
