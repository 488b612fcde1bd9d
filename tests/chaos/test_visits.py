"""What visits leave in instances is judged: each planted fault has the sentence that tells it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import checker
import identity
import pytest
import visits
import workload
from histories import carried_out, published
from history import (
    Decision,
    FoundInstance,
    FoundRun,
    Intents,
    Observation,
    Record,
    Row,
    Sent,
    Visit,
    digest,
)
from visits import VISITS

ANN = "s-ann"
KEY = identity.key_hash(VISITS, ANN)
V1, V2, V3, V4 = (identity.event_run(VISITS, "s", f"v{number}") for number in range(1, 5))
FIRST, SECOND = (identity.timer_run(VISITS, KEY, *place, "quiet") for place in ((1, 2), (2, 1)))
STATES = {
    name: {"visitor": ANN, "count": len(seen), "seen": seen, "silences": silences}
    for name, seen, silences in (
        ("1", [1], 0),
        ("1 2", [1, 2], 0),
        ("1 2 -", [1, 2], 1),
        ("1 2 - 3", [1, 2, 3], 1),
        ("4", [4], 0),
        ("4 -", [4], 1),
    )
}

Plant = Callable[[Intents, Observation], None]


def applied(
    run_id: str,
    place: tuple[int, int],
    state: str,
    tasks: Sequence[str] = (),
    *,
    ended: bool = False,
    key: str = KEY,
) -> tuple[FoundRun, list[Row]]:
    """Return the run of what was applied at a place, and its rows."""
    generation, sequence = place
    step = {"key_hash": key, "generation": generation, "sequence": sequence}
    return carried_out(
        run_id,
        tasks,
        kind="timer" if ":timer:" in run_id else "event",
        decided={
            "run_id": run_id,
            "definition_id": VISITS,
            "instance": step | {"state_sha256": state, "ended": ended},
        },
    )


@pytest.fixture
def intents() -> Intents:
    """Ann visits thrice, leaves, and comes once more; her first visit is told twice."""

    def sent(number: int, offset: int) -> Sent:
        return Sent(
            "s",
            f"v{number}",
            digest(str(number).encode()),
            1,
            offset,
            expect_decision="signalled",
            visit=Visit(ANN, number, leaves=number == 3),
        )

    return Intents(sent=[sent(number, offset) for offset, number in enumerate((1, 2, 3, 1, 4))])


@pytest.fixture
def seen() -> Observation:
    found = [
        applied(V1, (1, 1), "1"),
        applied(V2, (1, 2), "1 2"),
        applied(FIRST, (1, 3), "1 2 -", ["miss/"]),
        applied(V3, (1, 4), "1 2 - 3", ["third/"], ended=True),
        applied(V4, (2, 1), "4"),
        applied(SECOND, (2, 2), "4 -", ["miss/"]),
    ]
    rows = [row for _, of_run in found for row in of_run]
    told = [(run_id, "signalled") for run_id in (V1, V2, V3, V4)]
    told.insert(3, (V1, "duplicate"))
    return Observation(
        runs=[run for run, _ in found],
        rows=rows,
        events=[published(row) for row in rows],
        inputs=[
            Record("dev.orders", ANN.encode(), {}, number, 1, offset)
            for offset, number in enumerate((b"1", b"2", b"3", b"1", b"4"))
        ],
        executions={run.run_id: 1 for run, _ in found if run.tasks},
        decisions=[
            Decision(1, offset, "v", VISITS, outcome, run_id)
            for offset, (run_id, outcome) in enumerate(told)
        ],
        instances=[
            FoundInstance(KEY, 1, 4, "ended", "1 2 - 3", V3),
            FoundInstance(KEY, 2, 2, "open", "4 -", SECOND),
        ],
        states=dict(STATES),
    )


def test_good_visits_pass(intents, seen):
    assert checker.violations(intents, seen) == []
    assert checker.violations_of_all(seen) == []


def test_a_visit_that_comes_before_a_silence_is_over_is_no_fault(intents, seen):
    remove(seen, FIRST)
    again(seen, V3, place=(1, 3), state="1 2 3", ended=True)
    seen.states["1 2 3"] = {"visitor": ANN, "count": 3, "seen": [1, 2, 3], "silences": 0}
    seen.instances[0] = replace(seen.instances[0], sequence=3, state_sha256="1 2 3")
    assert visits.violations(intents, seen) == []


def remove(seen: Observation, run_id: str) -> None:
    seen.rows = [row for row in seen.rows if row.stream != f"run:{run_id}"]


def add(seen: Observation, run_id: str, place: tuple[int, int], state: str, **how) -> None:
    seen.rows += applied(run_id, place, state, **how)[1]


def again(seen: Observation, run_id: str, *, place: tuple[int, int], state: str, **how) -> None:
    """Have a run applied at another place, or with another state."""
    remove(seen, run_id)
    add(seen, run_id, place, state, **how)


def visit_lost(intents: Intents, seen: Observation) -> None:
    remove(seen, V4)


def visit_applied_twice(intents: Intents, seen: Observation) -> None:
    """What came once more after the end is taken for a visit of the next generation."""
    add(seen, V1, (2, 3), "4 - 1")


def visits_swapped(intents: Intents, seen: Observation) -> None:
    again(seen, V2, place=(1, 1), state="2")
    again(seen, V1, place=(1, 2), state="2 1")


def visit_of_nobody_applied(intents: Intents, seen: Observation) -> None:
    add(seen, identity.event_run(VISITS, "s", "v9"), (2, 3), "4 -")


def visit_applied_to_another_instance(intents: Intents, seen: Observation) -> None:
    again(seen, V4, place=(1, 1), state="4", key="another")


def place_left_out(intents: Intents, seen: Observation) -> None:
    again(seen, SECOND, place=(2, 3), state="4 -")


def generation_left_out(intents: Intents, seen: Observation) -> None:
    remove(seen, SECOND)
    again(seen, V4, place=(3, 1), state="4")


def place_taken_twice(intents: Intents, seen: Observation) -> None:
    again(seen, V2, place=(1, 1), state="1 2")


def ended_instance_goes_on(intents: Intents, seen: Observation) -> None:
    again(seen, V4, place=(1, 5), state="1 2 - 3 4")


def generation_without_its_end(intents: Intents, seen: Observation) -> None:
    again(seen, V3, place=(1, 4), state="1 2 - 3")


def generation_ended_early(intents: Intents, seen: Observation) -> None:
    again(seen, V2, place=(1, 2), state="1 2", ended=True)


def state_forgotten(intents: Intents, seen: Observation) -> None:
    """As if a visit had been applied to a state from before the visit that was before it."""
    seen.states["1 2"] = seen.states["1 2"] | {"count": 1, "seen": [2]}


def state_lost(intents: Intents, seen: Observation) -> None:
    del seen.states["1 2 -"]


def state_kept_after_the_end(intents: Intents, seen: Observation) -> None:
    seen.states["4"] = seen.states["4"] | {"count": 4, "seen": [1, 2, 3, 4]}


def timer_fired_twice(intents: Intents, seen: Observation) -> None:
    add(seen, f"{SECOND}-again", (2, 3), "4 -")


def timer_fired_after_the_end(intents: Intents, seen: Observation) -> None:
    add(seen, identity.timer_run(VISITS, KEY, 1, 4, "quiet"), (1, 5), "1 2 - 3")


def timer_of_another_visit(intents: Intents, seen: Observation) -> None:
    remove(seen, SECOND)
    add(seen, identity.timer_run(VISITS, KEY, 1, 2, "quiet") + "x", (2, 2), "4 -")


def timer_never_fired(intents: Intents, seen: Observation) -> None:
    remove(seen, SECOND)


def timer_left_set(intents: Intents, seen: Observation) -> None:
    seen.instances[1] = replace(seen.instances[1], timers=1)


def table_behind(intents: Intents, seen: Observation) -> None:
    seen.instances[0] = replace(seen.instances[0], sequence=3, last_run_id=FIRST)


def generation_not_in_the_table(intents: Intents, seen: Observation) -> None:
    del seen.instances[1]


def generation_of_nothing(intents: Intents, seen: Observation) -> None:
    seen.instances.append(replace(seen.instances[1], generation=3))


def event_left_waiting(intents: Intents, seen: Observation) -> None:
    seen.queued = 1


def signalled_twice(intents: Intents, seen: Observation) -> None:
    seen.decisions[3] = replace(seen.decisions[3], outcome="signalled")


def signalled_in_silence(intents: Intents, seen: Observation) -> None:
    del seen.decisions[4]


def started_instead(intents: Intents, seen: Observation) -> None:
    seen.decisions[1] = replace(seen.decisions[1], outcome="started")


def signalled_for_nothing(intents: Intents, seen: Observation) -> None:
    seen.decisions.append(replace(seen.decisions[0], run_id=f"{VISITS}:event:x"))


PLANTS: list[tuple[Plant, str]] = [
    (visit_lost, r"s-ann: the visit 4 was not applied"),
    (visit_applied_twice, r"s-ann: .* was applied 2 times"),
    (visits_swapped, r"s-ann: the visits were applied as \[2, 1, 3, 4\], and came as .*"),
    (visit_of_nobody_applied, r"s-ann: .* was applied, and is no visit"),
    (visit_applied_to_another_instance, r"another is nobody's instance"),
    (place_left_out, r"chaos.visits: .* has the place \(2, 3\) of .*, expected \(2, 2\)"),
    (generation_left_out, r"chaos.visits: .* has the place \(3, 1\) of .*, expected \(2, 1\)"),
    (place_taken_twice, r"chaos.visits: .* has the place \(1, 1\) of .*, expected \(1, 2\)"),
    (ended_instance_goes_on, r"chaos.visits: .* has the place \(1, 5\) .*, expected \(2, 1\)"),
    (generation_without_its_end, r"s-ann: the generation goes on at \(1, 4\)"),
    (generation_ended_early, r"s-ann: the generation ends at \(1, 2\)"),
    (state_forgotten, r"s-ann: the state at \(1, 2\) is .*"),
    (state_lost, r"s-ann: the state at \(1, 3\) is None, expected .*"),
    (state_kept_after_the_end, r"s-ann: the state at \(2, 1\) is .*"),
    (timer_fired_twice, r"s-ann: a timer fired at \(2, 3\), in no silence or twice in one"),
    (timer_fired_after_the_end, r"s-ann: a timer fired at \(1, 5\), in no silence or twice in one"),
    (timer_of_another_visit, r"s-ann: the timer at \(2, 2\) is .*, expected .*"),
    (timer_never_fired, r"s-ann: nobody came after \(2, 1\), and no timer fired"),
    (timer_left_set, r"s-ann: the generation 2 stands at \(.*, 1\), expected \(.*, 0\)"),
    (table_behind, r"s-ann: the generation 1 stands at \(3, .*\), expected \(4, .*\)"),
    (generation_not_in_the_table, r"s-ann: the generation 2 stands at None, expected .*"),
    (generation_of_nothing, r"s-ann: the generation 3 stands at .*, expected None"),
    (event_left_waiting, r"1 events wait for their turn in an instance"),
    (signalled_twice, r"of .* the ledger says {'signalled': 2}"),
    (signalled_in_silence, r"of .* the ledger says {}"),
    (started_instead, r"of .* the ledger says {'started': 1}"),
    (signalled_for_nothing, r"of chaos.visits:event:x the ledger says {'signalled': 1}"),
]


@pytest.mark.parametrize(
    ("plant", "violation"), PLANTS, ids=lambda one: getattr(one, "__name__", "")
)
def test_a_planted_fault_is_found(
    intents: Intents, seen: Observation, plant: Plant, violation: str
):
    plant(intents, seen)
    found = checker.violations(intents, seen)
    assert any(re.fullmatch(f"I8: {violation}", one) for one in found), found


def test_places_of_earlier_scenarios_are_judged_with_all_of_them(seen):
    place_left_out(Intents(), seen)
    seen.rows = [replace(row, earlier=True) for row in seen.rows]
    seen.decisions.clear()
    assert visits.violations(Intents(), seen) == []
    assert any(one.startswith("I8: ") for one in checker.violations_of_all(seen))


def run_without_its_task(seen: Observation) -> None:
    seen.runs[3] = replace(seen.runs[3], tasks=())


def timer_with_a_task_too_many(seen: Observation) -> None:
    seen.runs[4] = replace(seen.runs[4], tasks=seen.runs[5].tasks)


def timer_without_a_cause(seen: Observation) -> None:
    seen.runs.append(replace(seen.runs[5], run_id=f"{VISITS}:timer:{KEY}:7:1:quiet"))


def two_executions(seen: Observation) -> None:
    seen.executions[V3] = 2


def execution_of_a_visit_without_a_task(seen: Observation) -> None:
    seen.executions[V1] = 1


@pytest.mark.parametrize(
    ("plant", "invariant"),
    [
        (run_without_its_task, "I3"),
        (timer_with_a_task_too_many, "I3"),
        (timer_without_a_cause, "I1"),
        (two_executions, "I2"),
        (execution_of_a_visit_without_a_task, "I2"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_runs_of_visits_are_judged_as_others_are(intents, seen, plant, invariant):
    plant(seen)
    names = {violation.partition(":")[0] for violation in checker.violations(intents, seen)}
    assert invariant in names


def test_visits_of_a_workload_keep_their_order_end_and_come_twice():
    records = workload.plan(1, "s", events=30, duplicates=3)
    mixed = workload.with_visits(records, 1, "s", visitors=3, each=9)
    assert [one for one in mixed if one.visit is None] == records
    same = workload.with_visits(records, 1, "s", visitors=3, each=9)
    assert [one.event_id for one in same] == [one.event_id for one in mixed]
    told = [one for one in mixed if one.visit is not None]
    assert sum(one.duplicate for one in told) == 3 * 3
    assert [(one.visit.visitor, one.visit.number) for one in mixed[-3:]] == [
        ("s-v3", 9), ("s-v4", 9), ("s-v5", 9),
    ]  # fmt: skip
    for visitor in {one.visit.visitor for one in told}:
        own = [one for one in told if one.visit.visitor == visitor]
        assert {one.key for one in own} == {visitor.encode()}
        assert [one.visit.number for one in own if not one.duplicate] == list(range(1, 10))
        assert any(one.visit.leaves for one in own)
        first: set[str] = set()
        for one in own:
            assert one.duplicate == (one.event_id in first)
            first.add(one.event_id)
