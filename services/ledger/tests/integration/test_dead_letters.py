"""Resolutions of dead letters: the first one stays, whoever asks, and how often."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import grpc
import pytest

from backbone.ledger.v1 import routing_pb2 as pb
from backbone.ledger.v1 import routing_pb2_grpc as pb_grpc
from contracts.roles import Role

TOPIC = "dev.backbone.dead-letters"
RoutingStub: TypeAlias = "pb_grpc.RoutingServiceAsyncStub"


@pytest.fixture
async def routing(calls: Callable[..., Awaitable[grpc.aio.Channel]]) -> RoutingStub:
    return pb_grpc.RoutingServiceStub(await calls(Role.SERVICE, actor="router"))


def request(*offsets: int, **changes: object) -> pb.ResolveDeadLettersRequest:
    redriven = pb.DEAD_LETTER_STATE_REDRIVEN
    made = pb.ResolveDeadLettersRequest(
        namespace="dev",
        request_id="r-1",
        reason="fixed",
        actor="local/ada",
        resolutions=[
            pb.DeadLetterResolution(
                place=pb.RecordPlace(topic=TOPIC, partition=offset % 2, offset=offset),
                state=redriven,
                detail=f"started: {offset}",
            )
            for offset in offsets
        ],
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def told(resolutions: object) -> list[tuple[int, int, str, str]]:
    return [
        (one.place.partition, one.place.offset, one.request_id, one.detail)
        for one in resolutions  # type: ignore[attr-defined]
    ]


async def listed(routing: RoutingStub, first: int, end: int) -> list[tuple[int, int, str, str]]:
    answer = await routing.ListDeadLetterResolutions(
        pb.ListDeadLetterResolutionsRequest(
            namespace="dev", topic=TOPIC, partition=0, from_offset=first, to_offset=end
        )
    )
    return told(answer.resolutions)


async def test_a_resolution_is_kept_with_who_and_why(routing: RoutingStub) -> None:
    answer = await routing.ResolveDeadLetters(request(4, 2))
    assert told(answer.resolutions) == [(0, 4, "r-1", "started: 4"), (0, 2, "r-1", "started: 2")]
    (kept, *_) = answer.resolutions
    assert (kept.state, kept.actor, kept.reason, kept.place.topic) == (
        pb.DEAD_LETTER_STATE_REDRIVEN,
        "local/ada",
        "fixed",
        TOPIC,
    )
    assert kept.resolved_at.seconds > 0


async def test_the_first_resolution_stays(routing: RoutingStub) -> None:
    first = await routing.ResolveDeadLetters(request(2))
    again = await routing.ResolveDeadLetters(request(2))
    assert again == first
    other = request(2, 4, request_id="r-2", actor="local/bob")
    other.resolutions[0].state = pb.DEAD_LETTER_STATE_DISCARDED
    answer = await routing.ResolveDeadLetters(other)
    assert answer.resolutions[0] == first.resolutions[0]
    assert answer.resolutions[1].actor == "local/bob"


async def test_requests_at_once_agree_on_one(routing: RoutingStub) -> None:
    offsets = range(0, 100, 2)
    answers = await asyncio.gather(
        *(
            routing.ResolveDeadLetters(
                request(*(offsets if turn % 2 else reversed(offsets)), request_id=f"r-{turn}")
            )
            for turn in range(6)
        )
    )
    found = [{one.place.offset: one for one in answer.resolutions} for answer in answers]
    assert all(each == found[0] for each in found)


async def test_a_stretch_lists_what_stands_in_it(routing: RoutingStub) -> None:
    await routing.ResolveDeadLetters(request(2, 4, 6, 7))
    assert await listed(routing, 2, 6) == [
        (0, 2, "r-1", "started: 2"),
        (0, 4, "r-1", "started: 4"),
    ]
    assert await listed(routing, 7, 100) == []


async def test_namespaces_are_apart(routing: RoutingStub) -> None:
    await routing.ResolveDeadLetters(request(2))
    other = await routing.ListDeadLetterResolutions(
        pb.ListDeadLetterResolutionsRequest(
            namespace="prod", topic="prod.backbone.dead-letters", to_offset=100
        )
    )
    assert not other.resolutions


@pytest.mark.parametrize(
    "changes",
    [
        {"namespace": "mars"},
        {"reason": ""},
        {"actor": ""},
        {"request_id": ""},
        {"request_id": "a b"},
        {"reason": "x" * 1001},
    ],
)
async def test_a_malformed_request_is_refused(
    routing: RoutingStub, changes: dict[str, object]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await routing.ResolveDeadLetters(request(2, **changes))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await listed(routing, 0, 10) == []


async def test_a_place_elsewhere_and_a_state_that_ends_nothing_are_refused(
    routing: RoutingStub,
) -> None:
    wrong = [request(2) for _ in range(3)]
    wrong[0].resolutions[0].place.topic = "dev.events"
    wrong[1].resolutions[0].place.offset = -1
    wrong[2].resolutions[0].state = pb.DEAD_LETTER_STATE_OPEN
    for one in [*wrong, request(*range(0, 2002, 2))]:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await routing.ResolveDeadLetters(one)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_pages_come_to_all_of_a_stretch(routing: RoutingStub) -> None:
    offsets = range(0, 20, 2)
    await routing.ResolveDeadLetters(request(*offsets))
    asked = pb.ListDeadLetterResolutionsRequest(
        namespace="dev", topic=TOPIC, from_offset=2, to_offset=18, page_size=3
    )
    found: list[int] = []
    while True:
        page = await routing.ListDeadLetterResolutions(asked)
        assert len(page.resolutions) <= 3
        found += [one.place.offset for one in page.resolutions]
        asked.page_token = page.next_page_token
        if not asked.page_token:
            break
    assert found == list(range(2, 18, 2))


async def test_pages_of_long_reasons_fit_into_messages(routing: RoutingStub) -> None:
    for start in (0, 600):
        await routing.ResolveDeadLetters(
            request(*range(start, start + 600, 2), reason="\U0001f600" * 1000)
        )
    asked = pb.ListDeadLetterResolutionsRequest(
        namespace="dev", topic=TOPIC, to_offset=10_000, page_size=1000
    )
    page = await routing.ListDeadLetterResolutions(asked)
    assert 0 < len(page.resolutions) < 600
    assert page.next_page_token


async def test_only_services_resolve(
    calls: Callable[..., Awaitable[grpc.aio.Channel]],
) -> None:
    stub: RoutingStub = pb_grpc.RoutingServiceStub(await calls(Role.OPERATOR))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ResolveDeadLetters(request(2))
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


def opening(offset: int, **changes: object) -> pb.RecordDeadLetterOpeningRequest:
    made = pb.RecordDeadLetterOpeningRequest(
        namespace="dev",
        request_id=f"r-{offset}",
        reason="the producer asks",
        actor="dev/operator/ada",
        place=pb.RecordPlace(topic=TOPIC, partition=0, offset=offset),
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


async def test_who_opened_a_dead_letter_is_kept_once_and_listed(routing: RoutingStub) -> None:
    for offset in (1, 2, 3, 3):
        await routing.RecordDeadLetterOpening(opening(offset))
    # The same request again changes nothing, whatever else it says.
    await routing.RecordDeadLetterOpening(opening(3, reason="another"))
    found, request = [], pb.ListDeadLetterOpeningsRequest(namespace="dev", page_size=2)
    while True:
        page = await routing.ListDeadLetterOpenings(request)
        found += page.openings
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert [(one.place.offset, one.actor, one.reason) for one in found] == [
        (offset, "dev/operator/ada", "the producer asks") for offset in (3, 2, 1)
    ]
    assert found[0].place.topic == TOPIC
    assert found[0].opened_at.seconds > 0
    other = await routing.ListDeadLetterOpenings(pb.ListDeadLetterOpeningsRequest(namespace="prod"))
    assert not other.openings


@pytest.mark.parametrize(
    "changes", [{"reason": ""}, {"actor": ""}, {"request_id": ""}, {"namespace": "mars"}]
)
async def test_an_opening_without_who_or_why_is_refused(
    routing: RoutingStub, changes: dict[str, object]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await routing.RecordDeadLetterOpening(opening(1, **changes))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
