"""The dispatcher: what it starts of what is due, in which order, and what it tells of it."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.envelope import Envelope, parse
from contracts.routing import PendingOutcome
from contracts.triggers import Trigger, TriggerKind
from router.domain.instances import Directory
from router.domain.pending import DueStart
from router.errors import TransientError
from router.service.dispatching import Dispatcher


@pytest.fixture
def dispatcher(definitions: Any, starter: Any, pending: Any, counts: Any) -> Dispatcher:
    return Dispatcher(
        "dev",
        definitions=definitions,
        pending_starts=pending,
        starter=starter,
        directory=Directory(b"a secret of these tests"),
        observer=counts,
        limit=10,
        poll=timedelta(seconds=1),
    )


@pytest.fixture
def due(make: Any) -> Any:
    def event(name: str, amount: int) -> Envelope:
        return parse(make.event(event_id=name, payload={"amount": amount}))

    def build(name: str, *amounts: int, **fields: Any) -> DueStart:
        return DueStart(
            **{
                "pending_id": name * 26,
                "lease": f"lease-{name}",
                "definition_id": "billing",
                "definition_version": 1,
                "task_queue": "old-tq",
                "trigger_names": ["t0"],
                "reason": "limited",
                "key": "k",
                "events": [event(f"{name}{n}", a) for n, a in enumerate(amounts or (10,))],
                "attempts": 1,
                "as_one_run": False,
                **fields,
            }
        )

    return build


BIG = {"type": "paid", "match": {"payload": {"amount": [{"numeric": [">", 5]}]}}}


async def test_a_limited_event_is_the_run_it_would_have_been(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", {"type": "paid"}, version=3)
    pending.due = [start := due("a")]
    assert await dispatcher.dispatch() == 0.0
    [run] = starter.runs.values()
    assert run.run_id == start.run_id()
    assert (run.trigger.kind, run.trigger.definition_version) == (TriggerKind.EVENT, 1)
    assert starter.queues == {run.run_id: "old-tq"}
    [told] = pending.told
    assert (told.outcome, told.run_id, told.definition_version) == (
        PendingOutcome.STARTED,
        run.run_id,
        1,
    )


async def test_a_batch_is_one_run_that_lists_its_events(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", {"type": "paid"})
    pending.due = [due("a", 1, 2, 3, as_one_run=True, reason="batch")]
    await dispatcher.dispatch()
    [run] = starter.runs.values()
    assert run.run_id == "billing:batch:" + "a" * 26
    assert run.trigger.kind is TriggerKind.BATCH
    assert [event.event_id for event in run.trigger.events] == ["a0", "a1", "a2"]


async def test_held_events_are_matched_again_by_the_version_in_use(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", {"type": "other"}, BIG, version=4)
    pending.due = [due("a", 3, reason="held"), due("b", 7, reason="held")]
    await dispatcher.dispatch()
    assert pending.outcomes == {"a": PendingOutcome.FILTERED, "b": PendingOutcome.STARTED}
    [run] = starter.runs.values()
    assert (run.trigger.definition_version, run.trigger.names) == (4, ["t1"])
    assert starter.queues == {run.run_id: "test-tq"}


async def test_events_that_no_longer_match_are_left_out_of_the_run(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put(
        "billing", {**BIG, "when": "event.payload.amount != 9 / (event.payload.amount - 8)"}
    )
    pending.due = [due("a", 3, 7, 8, as_one_run=True, reason="held")]
    await dispatcher.dispatch()
    [run] = starter.runs.values()
    assert [event.event_id for event in run.trigger.events] == ["a1"]
    [told] = pending.told
    assert told.outcome is PendingOutcome.STARTED
    assert {index: left.outcome for index, left in told.left.items()} == {
        0: PendingOutcome.FILTERED,
        2: PendingOutcome.ERRORED,
    }


async def test_what_is_filtered_says_by_which_clause_and_what_it_saw(
    dispatcher: Dispatcher, definitions: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", {"type": "paid", "when": "event.payload.amount > 5"})
    pending.due = [due("a", 3, reason="held")]
    await dispatcher.dispatch()
    [told] = pending.told
    assert (told.outcome, told.clause, told.seen) == (
        PendingOutcome.FILTERED,
        "event.payload.amount > 5",
        "event.payload.amount = 3",
    )


async def test_what_is_there_already_is_a_duplicate(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", {"type": "paid"})
    pending.due = [due("a")]
    await dispatcher.dispatch()
    pending.due = [due("a")]
    await dispatcher.dispatch()
    assert [one.outcome for one in pending.told] == [
        PendingOutcome.STARTED,
        PendingOutcome.DUPLICATE,
    ]


async def test_what_another_may_have_started_is_looked_for_first(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", BIG)
    pending.due = [due("a", 3, 7, as_one_run=True, reason="held")]
    await dispatcher.dispatch()
    # Its confirmation was lost, and the definition has changed meanwhile.
    definitions.put("billing", {"type": "paid"}, version=2, disabled=True)
    pending.due = [due("a", 3, 7, as_one_run=True, reason="held", attempts=2)]
    await dispatcher.dispatch()
    first, second = pending.told
    assert (second.outcome, second.run_id) == (PendingOutcome.STARTED, first.run_id)
    assert second.left.keys() == {0}


@pytest.mark.parametrize(
    "told_as", [("hold", PendingOutcome.HELD), ("drop", PendingOutcome.DISABLED)]
)
async def test_what_is_due_while_it_is_disabled_is_held_or_given_up(
    dispatcher: Dispatcher,
    definitions: Any,
    pending: Any,
    due: Any,
    told_as: tuple[str, PendingOutcome],
) -> None:
    while_disabled, outcome = told_as
    definitions.put(
        "billing", {"type": "paid"}, version=5, disabled=True, whileDisabled=while_disabled
    )
    pending.due = [due("a")]
    await dispatcher.dispatch()
    [told] = pending.told
    assert (told.outcome, told.definition_revision, told.run_id) == (outcome, 5, "")


async def test_what_is_due_for_a_retired_definition_is_given_up(
    dispatcher: Dispatcher, pending: Any, due: Any
) -> None:
    pending.due = [due("a")]
    await dispatcher.dispatch()
    assert pending.outcomes == {"a": PendingOutcome.DISABLED}


async def test_starts_of_a_key_wait_behind_one_that_fails_and_others_do_not(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", {"type": "paid"})
    definitions.put("other", {"type": "paid"})

    async def away(namespace: str, definition_id: str) -> Any:
        raise TransientError("no registry now")

    definitions.latest = away
    pending.due = [
        due("a"), due("b", definition_id="unheard"), due("c", definition_id="unheard"),
        due("d", key=""), due("e", definition_id="other"),
    ]  # fmt: skip
    await dispatcher.dispatch()
    assert pending.outcomes == {
        "a": PendingOutcome.STARTED,
        "b": PendingOutcome.RETURNED,
        "c": PendingOutcome.RETURNED,
        "d": PendingOutcome.STARTED,
        "e": PendingOutcome.STARTED,
    }


async def test_temporal_being_away_gives_everything_back(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", {"type": "paid"})
    starter.away = True
    pending.due = [due("a"), due("b"), due("c", key="other")]
    await dispatcher.dispatch()
    assert set(pending.outcomes.values()) == {PendingOutcome.RETURNED}
    # The second of the key is not tried: it must not be there before the first.
    assert starter.calls == 2


async def test_starts_of_a_key_are_made_one_after_another(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", {"type": "paid"})
    pending.due = [due(name) for name in "cabd"]
    await dispatcher.dispatch()
    assert [run.trigger.events[0].event_id[0] for run in starter.runs.values()] == list("cabd")


async def test_what_temporal_refuses_is_told(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", {"type": "paid"})
    starter.refuses.add("billing")
    pending.due = [due("a"), due("b")]
    await dispatcher.dispatch()
    assert [(one.outcome, one.detail, one.run_id) for one in pending.told] == [
        (PendingOutcome.ERRORED, "not like this", "")
    ] * 2


async def test_what_was_started_is_told_until_somebody_hears_it(
    dispatcher: Dispatcher, definitions: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", {"type": "paid"})
    pending.due, pending.unheard = [due("a")], 2
    await dispatcher.dispatch()
    assert pending.outcomes == {"a": PendingOutcome.STARTED}


@pytest.mark.parametrize(
    ("due_in", "pause"),
    [
        (None, 1.0),
        (timedelta(seconds=0.3), 0.3),
        (timedelta(hours=1), 1.0),
        (timedelta(seconds=-5), 0.02),
    ],
)
async def test_it_waits_for_what_is_due_next(
    dispatcher: Dispatcher, pending: Any, due_in: timedelta | None, pause: float
) -> None:
    pending.due_in = due_in
    assert await dispatcher.dispatch() == pytest.approx(pause)


async def test_the_ledger_being_away_is_told(dispatcher: Dispatcher, pending: Any) -> None:
    pending.away = True
    with pytest.raises(TransientError):
        await dispatcher.dispatch()


async def test_a_replayed_event_is_a_run_of_its_own_that_says_so(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", BIG)
    plain, replayed = due("a"), due("a", replay_id="r-1", reason="replay")
    pending.due = [plain, replayed]
    await dispatcher.dispatch()
    [first, second] = starter.runs.values()
    assert second.run_id == f"{first.run_id}:replay:r-1"
    assert (second.trigger.kind, second.trigger.replay_id) == ("replay", "r-1")
    assert second.trigger.event == first.trigger.event


async def test_a_replayed_batch_is_one_run_of_its_own(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put("billing", BIG)
    pending.due = [due("b", 10, 11, as_one_run=True, replay_id="r-1", reason="replay")]
    await dispatcher.dispatch()
    [run] = starter.runs.values()
    assert run.run_id == f"billing:batch:{'b' * 26}:replay:r-1"
    assert (run.trigger.kind, len(run.trigger.events), run.trigger.event) == ("replay", 2, None)


async def test_what_was_held_for_a_stateful_definition_is_told_to_its_instance(
    dispatcher: Dispatcher, definitions: Any, starter: Any, pending: Any, due: Any
) -> None:
    definitions.put(
        "billing",
        {"type": "paid", "correlate": "event.payload.amount"},
        mode="stateful",
        instance={"initial": {"count": "0"}},
        whileDisabled="hold",
    )
    pending.due = [start := due("a", 7, reason="held")]
    await dispatcher.dispatch()
    [told] = pending.told
    assert (told.outcome, told.run_id) == (PendingOutcome.SIGNALLED, start.run_id())
    assert told.application is not None
    assert starter.woken == [told.application.address]
    trigger = Trigger.model_validate_json(told.application.trigger)
    assert (trigger.names, trigger.events) == (["t0"], start.events)
