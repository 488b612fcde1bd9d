"""Working dead letters off: look at them, have them routed again, or give them up.

A dead letter is open until somebody resolves it, and is resolved once: the ledger remembers the
place. Redriving one routes the sender's record as if it had just come from where it came from,
never back into that topic. What crashes between routing and remembering is redriven again, and
starts nothing twice, since run ids come from the event.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from contracts import identifiers
from router.domain import dead_letter_pages
from router.domain.dead_letter_filter import Filter
from router.domain.dead_letters import DeadLetter, State
from router.errors import DeadLetterUnknownError, RequestInvalidError
from router.ports import (
    DeadLetterTopic,
    NewResolution,
    Observer,
    Resolution,
    Resolutions,
    Routed,
    Routing,
)
from router.service.rerouting import REFUSED
from runtime import logs

MAX_PLACES = 200
"""That one request may name: each is a look of its own."""
MAX_REASON = 1000
"""Characters."""
RESOLVED = "resolved"

_TOGETHER = 50  # dead letters that are routed before their resolutions are recorded
_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Found:
    """A dead letter, with its resolution unless it is open."""

    letter: DeadLetter
    resolution: Resolution | None

    @property
    def state(self) -> State:
        """Whether something has to be done about it."""
        return State.OPEN if self.resolution is None else self.resolution.state


@dataclass(frozen=True)
class Redriven:
    """What became of one dead letter, or what would."""

    found: Found
    outcome: str
    detail: str


@dataclass(frozen=True)
class Request:
    """Who wants what of which dead letters, and why. `request_id` names it; empty for a dry run."""

    namespace: str
    filter: Filter
    dry_run: bool
    request_id: str
    reason: str
    actor: str
    limit: int
    page_token: str


class DeadLetterReview:
    """What people do with the dead letters of some namespaces."""

    def __init__(
        self,
        *,
        namespaces: Collection[str],
        topic: DeadLetterTopic,
        resolutions: Resolutions,
        routing: Routing,
        observer: Observer,
    ) -> None:
        self._namespaces = frozenset(namespaces)
        self._topic = topic
        self._resolutions = resolutions
        self._routing = routing
        self._observer = observer

    async def list(
        self, namespace: str, wanted: Filter, *, page_token: str, limit: int
    ) -> tuple[Sequence[Found], str]:
        """Return a page, the oldest first, and the token of the next one (empty at the end).

        Raises:
            RequestInvalidError: the namespace is not served here, or the token is not of this list.
            TransientError: Kafka or the ledger does not answer.
        """
        found, token = await self._page(namespace, wanted, page_token, limit)
        return [one for one in found if wanted.state in {None, one.state}], token

    async def get(self, namespace: str, place: tuple[int, int]) -> Found:
        """Return one dead letter.

        Raises:
            DeadLetterUnknownError: the topic does not have it (any more).
            RequestInvalidError: the namespace is not served here.
            TransientError: Kafka or the ledger does not answer.
        """
        ((found,), _) = await self._page(namespace, Filter(places=(place,)), "", 1)
        return found

    async def reveal(
        self, namespace: str, place: tuple[int, int], *, actor: str, reason: str, request_id: str
    ) -> Found:
        """Return one dead letter to be shown with what the sender sent, once that is recorded.

        Raises:
            DeadLetterUnknownError: the topic does not have it (any more).
            RequestInvalidError: the namespace is not served here, or it is not said why.
            TransientError: Kafka or the ledger does not answer; then nothing may be shown.
        """
        _check_reason(reason)
        if not request_id:
            raise RequestInvalidError("request_id is missing: it names what is recorded")
        found = await self.get(namespace, place)
        await self._resolutions.record_opening(
            namespace, place, actor=actor, reason=reason, request_id=request_id
        )
        _log.info(
            "dead_letter_revealed",
            namespace=namespace,
            partition=place[0],
            offset=place[1],
            request_id=request_id,
            actor=actor,
            reason=reason,
        )
        return found

    async def redrive(self, request: Request) -> tuple[Sequence[Redriven], str]:
        """Route dead letters again; return what became of each, and the token of what is left.

        What is refused again stays open, and no new dead letter is written. What was resolved
        before is left alone; by this very request, it is told as it was then.

        Raises:
            DeadLetterUnknownError: one that was named is not in the topic (any more).
            RequestInvalidError: the request is malformed.
            TransientError: a neighbour does not answer. Some may have been routed: the same request
                again carries on.
        """
        cause = _checked(request)
        found, token = await self._wanted(request)
        if request.dry_run:
            return [await self._preview(request.namespace, one) for one in found], token
        redriven: list[Redriven] = []
        for start in range(0, len(found), _TOGETHER):
            redriven += await self._route(request, cause, found[start : start + _TOGETHER])
        return redriven, token

    async def discard(self, request: Request) -> tuple[Sequence[Found], str]:
        """Give dead letters up; return them as they stand then, and the token of what is left.

        Raises: as `redrive`.
        """
        _checked(request)
        found, token = await self._wanted(request)
        if request.dry_run:
            return [one for one in found if one.state is State.OPEN], token
        openly = [one.letter.place for one in found if one.state is State.OPEN]
        standing = await self._resolve(
            request, {place: NewResolution(State.DISCARDED) for place in openly}
        )
        return [
            replace(one, resolution=standing.get(one.letter.place, one.resolution)) for one in found
        ], token

    async def _wanted(self, request: Request) -> tuple[Sequence[Found], str]:
        """Return those in the state that is asked for, and those that this request resolved."""
        found, token = await self._page(
            request.namespace, request.filter, request.page_token, request.limit
        )
        state = request.filter.state
        return [
            one for one in found if state in {None, one.state} or _is_of(one.resolution, request)
        ], token

    async def _page(
        self, namespace: str, wanted: Filter, page_token: str, limit: int
    ) -> tuple[Sequence[Found], str]:
        if namespace not in self._namespaces:
            raise RequestInvalidError(f"the namespace {namespace!r} is not served here")
        if wanted.places:
            letters, token = await self._named(namespace, wanted), ""
        else:
            words = (namespace, *wanted.words())
            page = await self._topic.page(
                namespace,
                left=dead_letter_pages.stretches(page_token, *words),
                since_ms=wanted.since_ms,
                until_ms=wanted.until_ms,
                keep=wanted.wants,
                limit=limit,
            )
            letters, token = page.letters, dead_letter_pages.token(page.left, *words)
        known = await self._resolutions.of(namespace, [letter.place for letter in letters])
        return [Found(letter, known.get(letter.place)) for letter in letters], token

    async def _named(self, namespace: str, wanted: Filter) -> Sequence[DeadLetter]:
        if len(wanted.places) > MAX_PLACES:
            raise RequestInvalidError(
                f"{len(wanted.places)} places, more than the {MAX_PLACES} that one request names"
            )
        places = list(dict.fromkeys(wanted.places))
        found = await self._topic.at(namespace, places)
        missing = [f"{p}:{o}" for p, o in places if (p, o) not in found]
        if missing:
            raise DeadLetterUnknownError(
                f"not in the topic of dead letters (any more): {', '.join(missing)}"
            )
        return [found[place] for place in places if wanted.wants(found[place])]

    async def _preview(self, namespace: str, found: Found) -> Redriven:
        told = _without_routing(found)
        if told is None:
            told = await self._routing.preview(found.letter.record, namespace=namespace)
        return Redriven(found, told.outcome, told.detail)

    async def _route(
        self, request: Request, cause: str, found: Sequence[Found]
    ) -> Sequence[Redriven]:
        told: dict[tuple[int, int], Routed] = {}
        failures: list[BaseException] = []
        lanes: dict[object, list[DeadLetter]] = {}
        for one in found:
            without = _without_routing(one, request)
            if without is not None:
                told[one.letter.place] = without
            else:
                key = one.letter.record.key
                lanes.setdefault(one.letter.place if key is None else key, []).append(one.letter)

        async def work(lane: Sequence[DeadLetter]) -> None:
            # Records of one key in their order, as when they come from Kafka.
            for letter in lane:
                if failures:
                    return
                try:
                    told[letter.place] = await self._routing.route(
                        letter.record, namespace=request.namespace, cause=cause
                    )
                except Exception as exc:  # noqa: BLE001 - it is raised below
                    failures.append(exc)

        await asyncio.gather(*map(work, lanes.values()))
        # What has an outcome is remembered, whatever became of the others.
        standing = await self._resolve(
            request,
            {
                one.letter.place: NewResolution(State.REDRIVEN, routed.outcome, routed.detail)
                for one in found
                if one.resolution is None
                and (routed := told.get(one.letter.place)) is not None
                and routed.outcome != REFUSED
            },
        )
        for failure in failures:
            raise failure
        return [
            _stands(
                replace(one, resolution=standing.get(one.letter.place, one.resolution)),
                told[one.letter.place],
                request,
            )
            for one in found
        ]

    async def _resolve(
        self, request: Request, resolutions: dict[tuple[int, int], NewResolution]
    ) -> dict[tuple[int, int], Resolution]:
        if not resolutions:
            return {}
        standing = await self._resolutions.resolve(
            request.namespace,
            resolutions,
            actor=request.actor,
            reason=request.reason,
            request_id=request.request_id,
        )
        for place, new in resolutions.items():
            if _is_of(standing.get(place), request):
                self._observer.resolved(request.namespace, new.state, new.outcome)
        _log.info(
            "dead_letters_resolved",
            namespace=request.namespace,
            dead_letters=len(resolutions),
            request_id=request.request_id,
            actor=request.actor,
            reason=request.reason,
        )
        return dict(standing)


def _checked(request: Request) -> str:
    """Return the cause that a request is to what it routes. Raises RequestInvalidError."""
    if request.dry_run:
        return ""
    _check_reason(request.reason)
    try:
        return identifiers.redrive_cause(request.request_id)
    except ValueError as exc:
        raise RequestInvalidError(str(exc)) from exc


def _check_reason(reason: str) -> None:
    if not reason or len(reason) > MAX_REASON or "\x00" in reason:
        raise RequestInvalidError(
            f"reason: say why, in at most {MAX_REASON} characters and without a NUL"
        )


def _is_of(resolution: Resolution | None, request: Request) -> bool:
    return (
        resolution is not None
        and bool(request.request_id)
        and resolution.request_id == request.request_id
    )


def _without_routing(found: Found, request: Request | None = None) -> Routed | None:
    """Return what can be told without routing, None when it has to be routed."""
    resolution, letter = found.resolution, found.letter
    if resolution is not None:
        if (
            request is not None
            and resolution.state is State.REDRIVEN
            and _is_of(resolution, request)
        ):
            return Routed(resolution.outcome, resolution.detail)
        return Routed(RESOLVED, f"{resolution.state} by {resolution.actor}: {resolution.reason}")
    if letter.unopened:
        return Routed(REFUSED, letter.unopened)
    if not letter.has_origin:
        return Routed(REFUSED, "the router did not write it: it does not say where it came from")
    if letter.cut_from is not None:
        return Routed(
            REFUSED,
            f"only {letter.size} of its {letter.cut_from} bytes were kept: its producer has to "
            "send it again; then discard this",
        )
    return None


def _stands(found: Found, routed: Routed, request: Request) -> Redriven:
    """Return what became of one, by what stands: somebody else may have been faster."""
    if found.resolution is not None and not _is_of(found.resolution, request):
        routed = _without_routing(found) or routed
    return Redriven(found, routed.outcome, routed.detail)
