"""The lease on a real PostgreSQL: one leads, and a leader that dies or hangs is succeeded."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from registry.adapters.postgres_leadership import PostgresLeadership, PostgresLeases
from registry.errors import LeadershipLostError
from runtime.errors import DatabaseUnavailableError
from runtime.postgres import Postgres

SHORT = timedelta(seconds=1)
LONG = timedelta(hours=1)


@pytest.fixture
def leadership(postgres: Postgres) -> Callable[..., PostgresLeadership]:
    """Makes replicas' leaderships."""

    def make(namespace: str = "dev", duration: timedelta = LONG) -> PostgresLeadership:
        return PostgresLeadership(postgres, namespace=namespace, duration=duration)

    return make


async def test_lead_is_held_by_one_and_passes_on_at_once_when_it_is_given_back(
    leadership: Callable[..., PostgresLeadership], postgres: Postgres
) -> None:
    leads = asyncio.Event()

    async def follow() -> int:
        async with leadership().held() as term:
            term.confirm()
            leads.set()
            return term.number

    async with leadership().held() as term, leadership("stage").held() as elsewhere:
        term.confirm()
        elsewhere.confirm()
        follower = asyncio.create_task(follow())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.3):
                await leads.wait()
        lease = await PostgresLeases(postgres).lease("dev")
        assert lease is not None
        assert (lease.term, lease.leads) == (term.number, True)
    async with asyncio.timeout(10):
        assert await follower == term.number + 1


async def test_lease_that_is_kept_outlives_its_duration(
    leadership: Callable[..., PostgresLeadership], until: Callable[..., Awaitable[None]]
) -> None:
    async with leadership(duration=SHORT).held() as term:
        keeping = asyncio.create_task(term.keep())
        until_then = term._until + 1.0
        await until(lambda: asyncio.get_running_loop().time() > until_then, "its time has passed")
        term.confirm()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def test_leader_that_hung_is_succeeded_and_knows_it_before_it_can_ask(
    leadership: Callable[..., PostgresLeadership],
) -> None:
    # It renews nothing: that is what hanging comes to.
    async with leadership(duration=SHORT).held() as hung, leadership().held() as next_:
        assert next_.number == hung.number + 1
        with pytest.raises(LeadershipLostError, match="run out"):
            hung.confirm()
        with pytest.raises(LeadershipLostError, match="another replica"):
            await hung.keep()
        next_.confirm()


async def test_leader_that_comes_late_gives_back_and_records_nothing_of_the_next_ones(
    leadership: Callable[..., PostgresLeadership], postgres: Postgres
) -> None:
    leases = PostgresLeases(postgres)
    async with leadership(duration=SHORT).held() as hung:
        successor = leadership().held()
        next_ = await successor.__aenter__()
        await hung.compared()
    lease = await leases.lease("dev")
    assert lease is not None
    assert (lease.leads, lease.compared_at) == (True, None)
    await next_.compared()
    assert (await leases.lease("dev")).compared_at is not None  # type: ignore[union-attr]
    await successor.__aexit__(None, None, None)


async def test_lead_ends_when_the_database_stays_away(
    leadership: Callable[..., PostgresLeadership], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Postgres, namespace: str) -> Any:
        raise DatabaseUnavailableError(f"away for {namespace}")

    async with leadership(duration=SHORT).held() as term:
        monkeypatch.setattr(Postgres, "transaction", away)
        with pytest.raises(LeadershipLostError, match="run out"):
            await term.keep()
        monkeypatch.undo()
