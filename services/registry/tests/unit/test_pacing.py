"""Calls evenly spread, whoever makes them."""

import asyncio

from registry.adapters.pacing import Pace


async def test_callers_go_one_by_one_in_their_order_and_no_faster() -> None:
    pace, went = Pace(100.0), []

    async def caller(number: int) -> None:
        await pace.turn()
        went.append((number, asyncio.get_running_loop().time()))

    await asyncio.gather(*(caller(number) for number in range(20)))
    assert [number for number, _ in went] == list(range(20))
    assert went[-1][1] - went[0][1] >= 0.19 - 0.01
