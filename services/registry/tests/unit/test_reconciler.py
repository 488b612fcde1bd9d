"""The reconciler: what is applied is handed on, ledger first, whatever is away meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from registry.errors import MaterialisationError, NeighbourUnavailableError
from registry.service.changes import Changes
from registry.service.definitions import DefinitionService
from registry.service.reconciler import Reconciler


@pytest.fixture
def changes() -> Any:
    return Changes()


@pytest.fixture
def service(memory_store: Any, changes: Changes) -> Any:
    return DefinitionService(memory_store, changes, namespaces=["dev"])


@pytest.fixture
def apply(service: DefinitionService, document: Callable[..., bytes]) -> Any:
    async def call(*arguments: Any, **options: Any) -> Any:
        return (await service.apply(document(*arguments, **options), actor="a", reason="r")).version

    return call


@pytest.fixture
def now() -> Any:
    """The reconciler's clock: the store's is at 12:00 of the same day."""
    return {"now": datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)}


@pytest.fixture
async def reconcile(
    memory_store: Any, changes: Changes, fakes: dict[str, Any], now: dict[str, datetime]
) -> AsyncIterator[Any]:
    """Starts reconcilers, and stops them after the test."""
    started = []

    async def start(interval: timedelta = timedelta(hours=1)) -> Any:
        reconciler = Reconciler(
            namespace="dev",
            store=memory_store,
            changes=changes,
            now=lambda: now["now"],
            interval=interval,
            **fakes,
        )
        await reconciler.start()
        started.append(reconciler)
        return reconciler

    yield start
    for reconciler in started:
        await reconciler.stop()


async def test_applied_schedule_reaches_the_ledger_first_and_then_the_clock(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await reconcile()
    version = await apply("a", every="1h")
    await until(lambda: fakes["materialisations"].latest == {"a": (1, None)}, "materialised")
    assert fakes["ledger"].journal == [("ledger", "a"), ("clock", "a")]
    (put,) = fakes["ledger"].put_schedules
    assert (put.version, put.task_queue, put.enabled) == (1, "billing-tq", True)
    assert put.effective_from == version.applied_at
    assert list(put.schedules) == ["often"]


async def test_what_was_applied_before_the_start_is_handed_on(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await apply("a", every="1h")
    await apply("b")
    await reconcile()
    await until(lambda: len(fakes["materialisations"].latest) == 2, "both materialised")
    assert list(fakes["clock"].wakeups) == ["a"]
    assert {put.definition_id for put in fakes["ledger"].put_schedules} == {"a", "b"}


async def test_new_version_without_schedules_is_told_and_woken_no_longer(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await reconcile()
    await apply("a", every="1h")
    await until(lambda: fakes["clock"].wakeups, "woken")
    await apply("a")
    await until(lambda: fakes["materialisations"].latest == {"a": (2, None)}, "materialised")
    assert fakes["clock"].wakeups == {}
    assert fakes["ledger"].put_schedules[-1].schedules == {}


async def test_full_pass_writes_nothing_when_nothing_changed(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await apply("a", every="1h")
    await apply("b")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(lambda: fakes["clock"].asked > 5, "several passes")
    assert fakes["ledger"].journal.count(("ledger", "a")) == 1
    assert fakes["ledger"].journal.count(("clock", "a")) == 1
    assert len(fakes["materialisations"].written) == 2


async def test_clock_that_lost_or_changed_a_wakeup_gets_it_again(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await apply("a", every="1h")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(lambda: fakes["clock"].present, "woken")
    wanted = dict(fakes["clock"].present)
    fakes["clock"].present.clear()
    await until(lambda: fakes["clock"].present == wanted, "woken again")
    fakes["clock"].present["a"] = "changed by hand"
    await until(lambda: fakes["clock"].present == wanted, "made right again")


async def test_wakeup_that_nobody_asks_for_is_removed(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    fakes["clock"].present["ghost"] = "x" * 26
    fakes["clock"].present["quiet"] = "x" * 26
    await apply("quiet")
    await reconcile()
    await until(lambda: fakes["clock"].present == {}, "both removed")


async def test_wakeup_of_a_definition_that_appears_meanwhile_is_left_alone(  # noqa: PLR0917 - fixtures
    memory_store: Any,
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another replica led for a moment, applied and materialised: our list is older than that."""
    await apply("late", every="1h")
    real = memory_store.changed

    async def stale(namespace: str, **options: Any) -> Any:
        return [v for v in await real(namespace, **options) if v.definition_id != "late"]

    monkeypatch.setattr(memory_store, "changed", stale)
    fakes["clock"].present["late"] = "x" * 26
    fakes["clock"].present["ghost"] = "x" * 26
    await reconcile()
    await until(lambda: "ghost" not in fakes["clock"].present, "the ghost is gone")
    assert "late" in fakes["clock"].present


@pytest.mark.parametrize("away", ["ledger", "clock"])
async def test_neighbour_that_is_away_delays_and_loses_nothing(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
    away: str,
) -> None:
    failure = NeighbourUnavailableError("the neighbour", "connection refused")
    if away == "ledger":
        fakes["ledger"].failing[None] = failure
    else:
        fakes["clock"].failure = failure
    await reconcile()
    await apply("a", every="1h")
    await until(
        lambda: fakes["materialisations"].latest == {"a": (1, "the neighbour does not answer")},
        "the delay is recorded",
    )
    fakes["ledger"].failing.clear()
    fakes["clock"].failure = None
    await until(lambda: fakes["materialisations"].latest == {"a": (1, None)}, "made good")
    assert fakes["ledger"].journal == [("ledger", "a"), ("clock", "a")]


async def test_neighbour_that_is_away_is_logged_once(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    fakes["clock"].failure = NeighbourUnavailableError("Temporal", "connection refused")
    with capture_logs() as logged:
        await reconcile()
        await apply("a", every="1h")
        await until(lambda: fakes["clock"].asked >= 4, "several attempts")
        fakes["clock"].failure = None
        await until(lambda: fakes["materialisations"].latest == {"a": (1, None)}, "made good")
    assert [entry["event"] for entry in logged if entry["event"].startswith("reconciler")] == [
        "reconciler_leads",
        "reconciler_waits",
        "reconciler_goes_on",
    ]


async def test_refused_definition_keeps_no_other_from_being_handed_on(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    fakes["ledger"].failing["bad"] = MaterialisationError("the ledger refuses it")
    await apply("bad", every="1h")
    await apply("good", every="1h")
    await reconcile()
    await until(
        lambda: (
            fakes["materialisations"].latest
            == {"bad": (1, "the ledger refuses it"), "good": (1, None)}
        ),
        "one refused, one materialised",
    )
    assert list(fakes["clock"].wakeups) == ["good"]
    fakes["ledger"].failing.clear()
    await until(lambda: fakes["materialisations"].latest["bad"] == (1, None), "tried again")


async def test_lost_lead_is_sought_again_and_everything_looked_at_anew(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await apply("a", every="1h")
    await reconcile(interval=timedelta(milliseconds=5))
    await until(lambda: fakes["materialisations"].latest, "materialised")
    fakes["leadership"].over = True
    await until(lambda: fakes["leadership"].terms == 2, "leads again")
    await until(
        lambda: fakes["ledger"].journal.count(("ledger", "a")) == 2, "the ledger is told again"
    )


async def test_due_time_before_the_clock_was_set_wakes_at_once(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
    now: dict[str, datetime],
) -> None:
    await apply("late", every="1h")
    now["now"] += timedelta(hours=1)
    await reconcile()
    await until(lambda: fakes["clock"].wakeups, "woken")
    assert fakes["clock"].at_once == ["late"]


async def test_schedule_that_is_set_in_time_is_not_woken_at_once(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    await apply("a", every="1h")
    await reconcile()
    await until(lambda: fakes["clock"].wakeups, "woken")
    assert fakes["clock"].at_once == []


async def test_stop_ends_while_a_neighbour_is_away(
    apply: Callable[..., Awaitable[Any]],
    reconcile: Callable[..., Awaitable[Any]],
    fakes: dict[str, Any],
    until: Callable[..., Awaitable[None]],
) -> None:
    fakes["clock"].failure = NeighbourUnavailableError("Temporal", "away")
    await apply("a", every="1h")
    reconciler = await reconcile()
    await until(lambda: fakes["clock"].asked >= 2, "trying")
    async with asyncio.timeout(1):
        await reconciler.stop()
