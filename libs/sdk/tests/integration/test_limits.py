"""Limits of handlers on a real Temporal: what is over them waits, and waiting costs nothing."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

import sdk


class Nothing(BaseModel):
    pass


class Seen:
    """How many ran at once, when each began, and of which attempt it was."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.began: list[float] = []
        self.attempts: list[int] = []

    async def work(self, context: sdk.TaskContext, seconds: float) -> None:
        self.began.append(asyncio.get_running_loop().time())
        self.attempts.append(context.attempt)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.now -= 1


@pytest.fixture
async def seen() -> Seen:
    return Seen()


async def test_what_waits_for_a_place_loses_no_attempt_and_holds_up_nobody_else(
    serve: Callable[..., Any], carry_out: Callable[..., Any], unique_name: str, seen: Seen
) -> None:
    @sdk.task_handler("limited", max_concurrency=2)
    async def limited(_given: Nothing, context: sdk.TaskContext) -> None:
        await seen.work(context, 1.0)

    others: list[int] = []

    @sdk.task_handler("free")
    async def free(_given: Nothing, _context: sdk.TaskContext) -> None:
        others.append(len(seen.began))

    limited_queue, free_queue = f"{unique_name}-limited-tq", f"{unique_name}-tq"
    await serve({limited_queue: [limited], free_queue: [free]})
    # Eight in pairs take four seconds: longer than the two that an attempt has.
    tasks = [
        asyncio.create_task(
            carry_out("limited", limited_queue, {}, within=timedelta(seconds=2), attempts=1)
        )
        for _ in range(8)
    ]
    await carry_out("free", free_queue, {})
    await asyncio.gather(*tasks)
    assert seen.most == 2
    assert seen.attempts == [1] * 8
    assert others[0] < 8, "it did not wait until the others were through"


async def test_a_rate_holds_over_all_workers_and_what_waits_for_it_loses_no_attempt(
    serve: Callable[..., Any], carry_out: Callable[..., Any], unique_name: str, seen: Seen
) -> None:
    @sdk.task_handler("limited", rate_per_second=4)
    async def limited(_given: Nothing, context: sdk.TaskContext) -> None:
        await seen.work(context, 0.0)

    task_queue = f"{unique_name}-limited-tq"
    for _ in range(2):
        await serve({task_queue: [limited]})
    await asyncio.gather(
        *(
            carry_out("limited", task_queue, {}, within=timedelta(seconds=2), attempts=1)
            for _ in range(24)
        )
    )
    assert seen.attempts == [1] * 24
    # At most two seconds' worth at once, and then one in a quarter of a second.
    assert max(seen.began) - min(seen.began) > (24 - 2 * 4) / 4
