"""What the decision log holds, whatever comes again, in whatever order, at whatever place."""

from dataclasses import replace
from itertools import product

import decision_log
import pytest
from decision_log import EFFECTS, DecisionLog
from hypothesis import given
from hypothesis import strategies as st

from contracts.routing import RoutingOutcome
from ledger.domain import routing
from ledger.domain.pending import Arrival, Origin, Reason
from ledger.domain.routing import Candidate, Place, Recorded, RoutedEvent

STARTED, DUPLICATE = RoutingOutcome.STARTED, RoutingOutcome.DUPLICATE
HELD, FILTERED = RoutingOutcome.HELD, RoutingOutcome.FILTERED
NOTHING = (FILTERED, RoutingOutcome.ERRORED, RoutingOutcome.DISABLED)

# A place is always of the same record: one event with one value.
RECORDS = [
    (Place("t", partition, offset), f"e-{number}", value)
    for offset, (number, value) in enumerate(
        [(1, b"a"), (1, b"a"), (1, b"b"), (2, b"a"), (2, b"b")]
    )
    for partition in (0, 1)
]


def event(
    place: Place, event_id: str, value: bytes, *candidates: Candidate, cause: str = ""
) -> RoutedEvent:
    return RoutedEvent(place, "shop", event_id, "a.b", value, 1, cause, candidates)


def candidate(outcome: RoutingOutcome, definition: str = "d", version: int = 1) -> Candidate:
    # What waits has none yet.
    run_id = f"{definition}:run" if outcome in (STARTED, DUPLICATE) else ""
    return Candidate(definition, version, outcome, run_id=run_id)


def _candidates() -> list[tuple[Candidate, ...]]:
    told = [candidate(outcome) for outcome in (STARTED, DUPLICATE, HELD, *NOTHING)]
    others = [candidate(outcome, "other") for outcome in (STARTED, DUPLICATE, HELD, FILTERED)]
    return [*zip(told), *zip(others), *product(told, others)]


def _started_by(event_id: str, cause: str, candidates: tuple[Candidate, ...]) -> list[Candidate]:
    """Return candidates whose runs' ids say what started them; a redrive starts no other run."""
    by = f"{event_id}:{cause}" if cause.startswith("replay:") else event_id
    return [replace(one, run_id=f"{one.run_id}:{by}" if one.run_id else "") for one in candidates]


# Built beforehand: a batch is a few choices.
EVENTS = [
    event(*record, *_started_by(record[1], cause, candidates), cause=cause)
    for record, candidates, cause in product(RECORDS, _candidates(), ["", "replay:1"])
]
BATCHES = st.lists(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=6), max_size=8)


@given(BATCHES)
def test_each_effect_is_at_the_first_place_that_told_of_it_and_nowhere_else(
    batches: list[list[RoutedEvent]],
) -> None:
    log = DecisionLog()
    first: dict[tuple[str, str, str], Place] = {}
    accepted: list[RoutedEvent] = []
    for batch in batches:
        conflicts = log.record(batch)
        for index, told in enumerate(batch):
            assert (told.digest != log.digests[told.key]) == (index in conflicts)
            if index in conflicts:
                continue
            accepted.append(told)
            for one in told.candidates:
                if one.outcome not in NOTHING:
                    first.setdefault((told.key, told.cause, one.definition_id), told.place)
    effects = [
        ((one.event.key, one.event.cause, one.candidate.definition_id), one.event.place)
        for one in log.decisions
        if one.candidate.outcome in EFFECTS
    ]
    assert len(effects) == len(dict(effects))
    assert dict(effects) == first
    # Each place that was told says something of each candidate, and no other place does.
    assert {
        (one.event.place, one.event.cause, one.candidate.definition_id) for one in log.decisions
    } == {
        (told.place, told.cause, one.definition_id) for told in accepted for one in told.candidates
    }


@given(BATCHES, st.randoms(use_true_random=False))
def test_what_comes_again_changes_nothing(batches: list[list[RoutedEvent]], random: object) -> None:
    log = DecisionLog()
    conflicts = [log.record(batch) for batch in batches]
    before = list(log.decisions)
    again = list(zip(batches, conflicts, strict=True))
    random.shuffle(again)  # type: ignore[attr-defined]
    for batch, refused in again:
        assert log.record(batch) == refused
    assert log.decisions == before


@given(BATCHES)
def test_places_and_effects_are_all_that_has_to_be_known(batches: list[list[RoutedEvent]]) -> None:
    log, knowing_all = DecisionLog(), DecisionLog(all_known=True)
    for batch in batches:
        assert log.record(batch) == knowing_all.record(batch)
    assert log.decisions == knowing_all.decisions


@given(BATCHES)
def test_batches_do_not_matter(batches: list[list[RoutedEvent]]) -> None:
    log, one_by_one = DecisionLog(), DecisionLog()
    for batch in batches:
        log.record(batch)
        for told in batch:
            one_by_one.record([told])
    assert log.decisions == one_by_one.decisions


HERE, THERE = Place("t", 0, 1), Place("t", 0, 2)


def test_of_a_run_that_another_cause_has_started_a_redrive_says_that_it_is_there() -> None:
    """A copy that came late enough was started, and an early one was a dead letter until now."""
    came = event(HERE, "e", b"a", candidate(STARTED))
    redriven = event(THERE, "e", b"a", candidate(DUPLICATE), cause="redrive:1")
    for batches in ([[came], [redriven]], [[came, redriven]]):
        log = DecisionLog()
        for batch in batches:
            log.record(batch)
        assert [one.candidate.outcome for one in log.decisions] == [STARTED, DUPLICATE]


def test_a_run_that_nobody_told_of_is_told_of_by_its_redrive() -> None:
    log = DecisionLog()
    log.record([event(THERE, "e", b"a", candidate(DUPLICATE), cause="redrive:1")])
    assert [one.candidate.outcome for one in log.decisions] == [STARTED]


def outcomes(known: Recorded, told: Candidate, *, place: Place = THERE) -> list[RoutingOutcome]:
    """What is recorded of `told` when `known`, at HERE, stands."""
    sent = event(place, "e", b"a", told)
    decided = routing.decide([sent], digests={sent.key: b"a"}, known=[known])
    return [decision.candidate.outcome for decision in decided.decisions]


def standing(outcome: RoutingOutcome, *, settled: bool = False, run_id: str = "") -> Recorded:
    key = event(HERE, "e", b"a").key
    return Recorded(key, HERE, "", "d", outcome, run_id=run_id, settled=settled)


@pytest.mark.parametrize("end", [RoutingOutcome.DISCARDED, FILTERED, RoutingOutcome.ERRORED])
def test_what_waited_in_vain_leaves_the_effect_to_a_later_copy_but_not_to_itself(
    end: RoutingOutcome,
) -> None:
    ended = standing(end, settled=True)
    assert outcomes(ended, candidate(HELD)) == [HELD]
    assert outcomes(ended, candidate(STARTED)) == [STARTED]
    assert outcomes(ended, candidate(HELD), place=HERE) == []


def test_what_waited_and_was_started_has_the_effect() -> None:
    started = standing(STARTED, settled=True, run_id="d:run")
    assert outcomes(started, candidate(HELD)) == [DUPLICATE]
    assert outcomes(started, candidate(HELD), place=HERE) == []


def test_a_duplicate_of_what_waits_names_no_run_yet() -> None:
    sent = event(THERE, "e", b"a", candidate(HELD))
    decided = routing.decide([sent], digests={sent.key: b"a"}, known=[standing(HELD)])
    assert [(one.candidate.outcome, one.candidate.run_id) for one in decided.decisions] == [
        (DUPLICATE, "")
    ]
    assert decided.waiting == []


def test_an_unknown_duplicate_that_names_no_run_stays_one() -> None:
    # Whoever tells of it knows of no run: it cannot be a start.
    told = Candidate("d", 1, DUPLICATE)
    sent = event(HERE, "e", b"a", told)
    decided = routing.decide([sent], digests={sent.key: b"a"}, known=[])
    assert [one.candidate for one in decided.decisions] == [told]


def test_only_what_waits_from_now_on_is_to_be_queued() -> None:
    arrival = Arrival(
        "p", Origin("t", 0, 0, ""), Reason.HELD, "d", 1, 1, "d-tq", "", ["t"], b"{}", 2
    )
    held = replace(candidate(HELD), arrival=arrival)
    waits = event(HERE, "e", b"a", held, candidate(STARTED, "e"))
    digests = {waits.key: b"a"}
    first = routing.decide([waits], digests=digests, known=[])
    assert first.waiting == [arrival]
    known = [decision_log.recorded(one) for one in first.decisions]
    assert routing.decide([waits], digests=digests, known=known).waiting == []
