"""News: heard at once by all who wait, and no later than asked by who comes late."""

import asyncio

from registry.service.changes import Changes


async def test_all_who_wait_hear_of_a_newer_revision() -> None:
    changes = Changes()
    waiting = [asyncio.create_task(changes.wait("dev", beyond=1, timeout_s=10)) for _ in range(3)]
    await asyncio.sleep(0)
    changes.publish("dev", 1)
    changes.publish("stage", 5)
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    changes.publish("dev", 2)
    assert await asyncio.gather(*waiting) == [True, True, True]


async def test_news_from_before_the_wait_is_not_missed() -> None:
    changes = Changes()
    changes.publish("dev", 7)
    assert await changes.wait("dev", beyond=6, timeout_s=10)


async def test_wait_ends_without_news() -> None:
    assert not await Changes().wait("dev", beyond=0, timeout_s=0.01)


async def test_older_revision_is_no_news() -> None:
    changes = Changes()
    changes.publish("dev", 5)
    changes.publish("dev", 4)
    assert changes.newest("dev") == 5


async def test_end_of_news_lets_everybody_go() -> None:
    changes = Changes()
    waiting = asyncio.create_task(changes.wait("dev", beyond=0, timeout_s=10))
    await asyncio.sleep(0)
    changes.close()
    assert not await waiting
    assert not await changes.wait("dev", beyond=0, timeout_s=10)


async def test_revisions_that_count_from_anew_are_news() -> None:
    changes = Changes()
    changes.publish("dev", 7)
    changes.restart("dev")
    assert changes.newest("dev") == 0
    waiting = asyncio.create_task(changes.wait("dev", beyond=0, timeout_s=10))
    await asyncio.sleep(0)
    changes.publish("dev", 1)
    assert await waiting
