"""Working dead letters off: once each, in order, and told what became of them."""

import asyncio
import dataclasses
from datetime import UTC, datetime

import pytest

from contracts.names import Header
from contracts.rejections import Reason
from router.domain import dead_letters
from router.domain.dead_letter_filter import Filter
from router.domain.dead_letter_pages import Line, merged
from router.domain.dead_letters import State
from router.domain.records import Record
from router.errors import DeadLetterUnknownError, RequestInvalidError, TransientError
from router.ports import DeadLetterPage, Resolution, Routed
from router.service.dead_letters import DeadLetterReview, Request

NOW = datetime(2026, 11, 29, tzinfo=UTC)


class FakeTopic:
    """Dead letters in memory: partition 0, offsets from 0, and one page looks at 100."""

    def __init__(self):
        self.letters = []

    def add(self, record, *, reason=Reason.EXPRESSION_ERROR, headers=(), unopened=""):
        kept = dead_letters.parked(record, reason=reason, detail="why", attempts=1)
        offset = len(self.letters)
        self.letters.append(
            dead_letters.read(
                Record("t", 0, offset, offset, record.key, record.value, (*kept, *headers)),
                unopened=unopened,
            )
        )

    async def page(self, namespace, *, left, since_ms, until_ms, keep, limit):
        first, end = (left or {0: (0, len(self.letters))})[0]
        kept = []
        for letter in merged({0: Line(self.letters[first:end], complete=True)}):
            if len(kept) == limit:
                break
            first = letter.offset + 1
            if keep(letter):
                kept.append(letter)
        return DeadLetterPage(kept, {0: (first, end)})

    async def at(self, namespace, places):
        return {(p, o): self.letters[o] for p, o in places if p == 0 and o < len(self.letters)}


class FakeResolutions:
    """Keeps the first resolution of each place; `away` before or after it is kept."""

    def __init__(self):
        self.kept = {}
        self.opened = []
        self.away = ""

    async def record_opening(self, namespace, place, *, actor, reason, request_id):
        if self.away == "before":
            raise TransientError("the ledger is away")
        self.opened.append((place, actor, reason, request_id))

    async def of(self, namespace, places):
        return {place: self.kept[place] for place in places if place in self.kept}

    async def resolve(self, namespace, resolutions, *, actor, reason, request_id):
        if self.away == "before":
            raise TransientError("the ledger is away")
        for place, new in resolutions.items():
            self.kept.setdefault(
                place,
                Resolution(new.state, actor, reason, request_id, NOW, new.outcome, new.detail),
            )
        return await self.of(namespace, list(resolutions))


class FakeRouting:
    """Starts each event once; `refuses` and `away` are values of records."""

    def __init__(self):
        self.routed = []
        self.causes = []
        self.refuses = set()
        self.away = set()
        self.waiting = None

    async def route(self, record, *, namespace, cause):
        if self.waiting is not None:
            await self.waiting.wait()
        if record.value in self.away:
            raise TransientError("Temporal is away")
        if record.value in self.refuses:
            return Routed("refused", "schema_violation: still wrong")
        again = record.value in [one.value for one in self.routed]
        self.routed.append(record)
        self.causes.append(cause)
        return Routed("duplicate" if again else "started", "a.b:event:1")

    async def preview(self, record, *, namespace):
        return Routed("refused" if record.value in self.refuses else "started", "would")


class World:
    def __init__(self, counts):
        self.topic, self.resolutions, self.routing = FakeTopic(), FakeResolutions(), FakeRouting()
        self.counts = counts
        self.review = DeadLetterReview(
            namespaces=["dev"],
            topic=self.topic,
            resolutions=self.resolutions,
            routing=self.routing,
            observer=counts,
        )

    def add(self, value, *, key=None, **kwargs):
        place = 10 + len(self.topic.letters)
        self.topic.add(Record("dev.events", 3, place, 5, key, value, ()), **kwargs)

    async def redrive(self, **changes):
        found, token = await self.review.redrive(request(**changes))
        return [(one.outcome, one.found.state) for one in found], token

    async def discard(self, **changes):
        found, token = await self.review.discard(request(**changes))
        return [one.state for one in found], token


@pytest.fixture
def world(counts):
    return World(counts)


def request(**changes):
    plain = Request(
        namespace="dev",
        filter=Filter(state=State.OPEN),
        dry_run=False,
        request_id="r-1",
        reason="fixed",
        actor="local/ada",
        limit=100,
        page_token="",
    )
    return dataclasses.replace(plain, **changes)


WHO = {"actor": "dev/operator/ada", "reason": "the producer asks", "request_id": "r-9"}


async def test_who_is_shown_what_is_in_it_is_recorded_first(world):
    world.add(b"a")
    found = await world.review.reveal("dev", (0, 0), **WHO)
    assert found.letter.record.value == b"a"
    assert world.resolutions.opened == [((0, 0), *WHO.values())]


async def test_what_cannot_be_recorded_is_not_shown(world):
    world.add(b"a")
    world.resolutions.away = "before"
    with pytest.raises(TransientError):
        await world.review.reveal("dev", (0, 0), **WHO)
    world.resolutions.away = ""
    for wrong in ({"reason": ""}, {"reason": "x" * 1001}, {"request_id": ""}):
        with pytest.raises(RequestInvalidError):
            await world.review.reveal("dev", (0, 0), **{**WHO, **wrong})
    with pytest.raises(DeadLetterUnknownError):
        await world.review.reveal("dev", (0, 7), **WHO)
    assert world.resolutions.opened == []


@pytest.mark.parametrize("dry_run", [True, False])
async def test_what_cannot_be_opened_is_not_routed(world, dry_run):
    world.add(b"a", unopened="it is encrypted with the data key 'x'")
    (redriven,), _ = await world.review.redrive(request(dry_run=dry_run))
    assert (redriven.outcome, redriven.detail) == (
        "refused",
        "it is encrypted with the data key 'x'",
    )
    assert world.routing.routed == []
    assert world.resolutions.kept == {}


async def test_a_dead_letter_is_routed_as_it_came_and_is_resolved(world):
    world.add(b"1", key=b"k")
    assert await world.redrive() == ([("started", State.REDRIVEN)], "")
    assert world.routing.routed == [Record("dev.events", 3, 10, 5, b"k", b"1", ())]
    assert world.routing.causes == ["redrive:r-1"]
    kept = world.resolutions.kept[0, 0]
    assert (kept.actor, kept.reason, kept.request_id) == ("local/ada", "fixed", "r-1")
    assert (kept.outcome, kept.detail) == ("started", "a.b:event:1")
    assert world.counts.resolutions == [("redriven", "started")]


async def test_the_same_request_again_is_told_the_same_and_routes_nothing(world):
    world.add(b"1")
    first = await world.redrive()
    assert await world.redrive() == first
    assert len(world.routing.routed) == 1


async def test_another_request_for_the_same_is_told_that_it_was_resolved(world):
    world.add(b"1")
    await world.redrive()
    found, _ = await world.review.redrive(
        request(request_id="r-2", filter=Filter(places=((0, 0),)))
    )
    assert [(one.outcome, one.detail) for one in found] == [
        ("resolved", "redriven by local/ada: fixed")
    ]
    assert len(world.routing.routed) == 1
    assert await world.redrive(request_id="r-2") == ([], "")


async def test_what_is_refused_again_stays_open(world):
    world.add(b"1")
    world.routing.refuses.add(b"1")
    found, _ = await world.review.redrive(request())
    assert [(one.outcome, one.detail, one.found.state) for one in found] == [
        ("refused", "schema_violation: still wrong", State.OPEN)
    ]
    assert world.resolutions.kept == {}
    world.routing.refuses.clear()
    assert await world.redrive() == ([("started", State.REDRIVEN)], "")


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_value_that_was_cut_is_not_routed(world, dry_run):
    world.add(b"1", reason=Reason.OVERSIZE, headers=((Header.VALUE_CUT_FROM, b"900000"),))
    found, _ = await world.review.redrive(request(dry_run=dry_run))
    assert [(one.outcome, one.found.state) for one in found] == [("refused", State.OPEN)]
    assert "900000 bytes" in found[0].detail
    assert world.routing.routed == []


async def test_a_dry_run_says_what_would_be_and_changes_nothing(world):
    world.add(b"1")
    world.add(b"2")
    world.routing.refuses.add(b"2")
    found, _ = await world.redrive(dry_run=True, request_id="", reason="")
    assert found == [("started", State.OPEN), ("refused", State.OPEN)]
    assert await world.discard(dry_run=True, request_id="", reason="") == ([State.OPEN] * 2, "")
    assert (world.routing.routed, world.resolutions.kept) == ([], {})


async def test_a_crash_between_routing_and_recording_starts_nothing_twice(world):
    world.add(b"1")
    world.resolutions.away = "before"
    with pytest.raises(TransientError):
        await world.redrive()
    world.resolutions.away = ""
    assert await world.redrive() == ([("duplicate", State.REDRIVEN)], "")


async def test_what_was_routed_is_remembered_when_a_neighbour_goes_away(world):
    world.add(b"1")
    world.add(b"2", key=b"k")
    world.add(b"3", key=b"k")
    world.routing.away.add(b"2")
    with pytest.raises(TransientError):
        await world.redrive()
    assert set(world.resolutions.kept) == {(0, 0)}
    world.routing.away.clear()
    told = [("started", State.REDRIVEN)] * 3
    assert await world.redrive() == (told, "")
    assert [one.value for one in world.routing.routed] == [b"1", b"2", b"3"]


async def test_records_of_one_key_are_routed_in_their_order(world):
    for number in range(120):
        world.add(str(number).encode(), key=b"k" if number % 2 else None)
    await world.redrive(limit=1000)
    assert len(world.routing.routed) == 120
    ordered = [one.offset for one in world.routing.routed if one.key]
    assert ordered == sorted(ordered)


async def test_two_redrives_at_once_resolve_it_once(world):
    world.add(b"1")
    world.routing.waiting = asyncio.Event()
    both = asyncio.gather(world.redrive(), world.redrive(request_id="r-2"))
    await asyncio.sleep(0)
    world.routing.waiting.set()
    told = [found for ((found,), _) in await both]
    assert sorted(told) == [("resolved", State.REDRIVEN), ("started", State.REDRIVEN)]
    assert (
        world.counts.resolutions == [("redriven", told[0][0])] or len(world.counts.resolutions) == 1
    )


async def test_a_limit_gives_pages_that_come_to_all(world):
    for number in range(5):
        world.add(str(number).encode())
    done, token = await world.redrive(limit=2)
    assert len(done) == 2
    while token:
        more, token = await world.redrive(limit=2, page_token=token)
        done += more
    assert done == [("started", State.REDRIVEN)] * 5


async def test_discarding_keeps_who_and_why_and_ends_it(world):
    world.add(b"1")
    assert await world.discard() == ([State.DISCARDED], "")
    assert await world.discard() == ([State.DISCARDED], "")
    assert world.resolutions.kept[0, 0].reason == "fixed"
    assert world.counts.resolutions == [("discarded", "")]
    named = Filter(places=((0, 0),))
    assert await world.redrive(request_id="r-2", filter=named) == (
        [("resolved", State.DISCARDED)],
        "",
    )
    assert world.routing.routed == []


async def test_lists_show_states_and_filter_by_them(world):
    for number in range(3):
        world.add(str(number).encode())
    await world.redrive(filter=Filter(places=((0, 1),)))

    async def states(state):
        found, _ = await world.review.list("dev", Filter(state=state), page_token="", limit=10)
        return [(one.letter.offset, one.state) for one in found]

    assert await states(State.OPEN) == [(0, State.OPEN), (2, State.OPEN)]
    assert await states(State.REDRIVEN) == [(1, State.REDRIVEN)]
    assert len(await states(None)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": ""},
        {"reason": "x" * 1001},
        {"reason": "\x00"},
        {"request_id": ""},
        {"request_id": "a b"},
        {"namespace": "mars"},
        {"page_token": "x"},
        {"filter": Filter(places=tuple((0, offset) for offset in range(201)))},
    ],
)
async def test_a_malformed_request_is_refused_and_changes_nothing(world, changes):
    world.add(b"1")
    for change in (world.review.redrive, world.review.discard):
        with pytest.raises(RequestInvalidError):
            await change(request(**changes))
    assert (world.routing.routed, world.resolutions.kept) == ([], {})


async def test_one_that_is_not_there_is_named_before_anything_is_done(world):
    world.add(b"1")
    with pytest.raises(DeadLetterUnknownError, match="0:7, 1:0"):
        await world.redrive(filter=Filter(places=((0, 0), (0, 7), (1, 0))))
    assert world.routing.routed == []
    with pytest.raises(DeadLetterUnknownError):
        await world.review.get("dev", (0, 7))
