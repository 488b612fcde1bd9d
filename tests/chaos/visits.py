"""Judges what visits left in the instances of their visitors: I8. Shares no code with Backbone.

What is applied to an instance is an event or a timer, and each is a run whose event says at which
place of which generation, and which state it leaves. The same is computed here from the records.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import identity
from history import FoundRun, Intents, Observation, Row, Visit, digest

VISITS = "chaos.visits"
TIMER = "quiet"
EACH, FIRST = 3, 1  # every so many visits of a generation have a task, and its first silence
DECIDED = "backbone.RunDecided"

State = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """What was applied to an instance, as the event of its run tells it."""

    definition_id: str
    run_id: str
    key_hash: str
    generation: int
    sequence: int
    state_sha256: str
    ended: bool

    @property
    def place(self) -> tuple[int, int]:
        """The generation, and which of its applications it is."""
        return self.generation, self.sequence

    @property
    def of_timer(self) -> bool:
        """Whether a timer fired, or an event came."""
        return self.run_id.startswith(f"{self.definition_id}:timer:")


def steps(rows: Iterable[Row]) -> list[Step]:
    """Return what was applied, by instance, in the order of its places."""
    found = []
    for row in rows:
        if row.type != DECIDED or not (step := row.payload().get("instance")):
            continue
        payload = row.payload()
        found.append(
            Step(
                definition_id=payload["definition_id"],
                run_id=payload["run_id"],
                key_hash=step["key_hash"],
                generation=step["generation"],
                sequence=step["sequence"],
                state_sha256=step["state_sha256"],
                ended=step["ended"],
            )
        )
    return sorted(found, key=lambda one: (one.definition_id, one.key_hash, *one.place))


def came_back(seen: Observation) -> int:
    """Return how many workflows of instances began anew after they had been terminated."""
    return sum("TERMINATED" in found[:-1] for found in seen.instance_executions.values())


def is_carried_out(run: FoundRun) -> bool:
    """Say whether a run has an execution: that of a visit has none where nothing is to be done."""
    return run.definition_id != VISITS or bool(run.tasks)


def event_runs(intents: Intents) -> set[str]:
    """Return the runs of the visits that Kafka acknowledged."""
    return {
        _run_id(sent.source, sent.event_id)
        for sent in intents.sent
        if sent.visit is not None and sent.offset is not None
    }


def timer_prefixes(intents: Intents) -> list[str]:
    """Return how the ids of the runs of the visitors' timers begin."""
    visitors = {sent.visit.visitor for sent in intents.sent if sent.visit is not None}
    return [f"{VISITS}:timer:{identity.key_hash(VISITS, visitor)}:" for visitor in visitors]


def expected_runs(intents: Intents, seen: Observation) -> dict[str, tuple[str, ...]]:
    """Return the tasks of the run of each visit that Kafka has."""
    expected = {}
    for visits in _accepted(intents, seen).values():
        count = 0
        for run_id, visit in visits.items():
            count += 1
            expected[run_id] = ("third/",) if count % EACH == 0 else ()
            if visit.leaves:
                count = 0
    return expected


def possible_runs(seen: Observation) -> dict[str, tuple[str, ...]]:
    """Return the tasks of the run of each timer that fired, as often as it did."""
    possible = {}
    fired: Counter[tuple[str, int]] = Counter()
    for step in steps(seen.rows_here()):
        if step.definition_id == VISITS and step.of_timer:
            fired[step.key_hash, step.generation] += 1
            first = fired[step.key_hash, step.generation] == FIRST
            possible[step.run_id] = ("miss/",) if first else ()
    return possible


def violations(intents: Intents, seen: Observation) -> list[str]:
    """Return which visits were not applied once, in turn, and what is wrong with the instances."""
    accepted = _accepted(intents, seen)
    applied: dict[str, list[Step]] = defaultdict(list)
    for step in steps(seen.rows_here()):
        if step.definition_id == VISITS:
            applied[step.key_hash].append(step)
    wrong = places([step for found in applied.values() for step in found])
    for visitor, visits in accepted.items():
        of_visitor = applied.pop(identity.key_hash(VISITS, visitor), [])
        found = [
            *_once_and_in_order(visits, [one.run_id for one in of_visitor if not one.of_timer]),
            *_folded(visitor, visits, of_visitor, seen.states),
            *_timers(of_visitor),
            *_as_it_stands(of_visitor, seen),
        ]
        wrong += [f"I8: {visitor}: {one}" for one in found]
    wrong += [f"I8: {key} is nobody's instance" for key in applied]
    wrong += _told(accepted, seen)
    if seen.queued:
        wrong.append(f"I8: {seen.queued} events wait for their turn in an instance")
    return wrong


def places(applied: Iterable[Step]) -> list[str]:
    """Return where a place of an instance was left out, or taken twice."""
    wrong = []
    of_instance = itertools.groupby(applied, lambda one: (one.definition_id, one.key_hash))
    for (definition_id, key), found in of_instance:
        place = (1, 1)
        for step in found:
            if step.place != place:
                wrong.append(
                    f"I8: {definition_id}: {step.run_id} has the place {step.place} of {key}, "
                    f"expected {place}"
                )
            generation, sequence = step.place
            place = (generation + 1, 1) if step.ended else (generation, sequence + 1)
    return wrong


def _run_id(source: str, event_id: str | None) -> str:
    return identity.event_run(VISITS, source, event_id or "")


def _accepted(intents: Intents, seen: Observation) -> dict[str, dict[str, Visit]]:
    """Return the visits of each visitor by their runs, in the order of their partition."""
    visits = {sent.digest: sent for sent in intents.sent if sent.visit is not None}
    accepted: dict[str, dict[str, Visit]] = defaultdict(dict)
    for record in sorted(seen.inputs, key=lambda one: (one.partition, one.offset)):
        sent = visits.get(digest(record.value))
        if sent is not None and sent.visit is not None:
            run_id = _run_id(sent.source, sent.event_id)
            accepted[sent.visit.visitor].setdefault(run_id, sent.visit)
    return accepted


def _once_and_in_order(visits: dict[str, Visit], applied: Sequence[str]) -> list[str]:
    wrong = [f"the visit {visits[one].number} was not applied" for one in visits.keys() - applied]
    wrong += [f"{run_id} was applied, and is no visit" for run_id in set(applied) - visits.keys()]
    wrong += [f"{run_id} was applied {n} times" for run_id, n in Counter(applied).items() if n > 1]
    order = [visits[run_id].number for run_id in dict.fromkeys(applied) if run_id in visits]
    expected = [visit.number for run_id, visit in visits.items() if run_id in applied]
    if order != expected:
        wrong.append(f"the visits were applied as {order}, and came as {expected}")
    return wrong


def _folded(
    visitor: str, visits: dict[str, Visit], applied: Sequence[Step], states: dict[str, State]
) -> list[str]:
    """Return where a state is not what was applied comes to, or a generation ends or does not."""
    wrong = []
    state: State = {}
    for step in applied:
        state = state or {"visitor": visitor, "count": 0, "seen": [], "silences": 0}
        visit = visits.get(step.run_id)
        if visit is not None:
            state = state | {"count": state["count"] + 1, "seen": [*state["seen"], visit.number]}
        elif step.of_timer:
            state = state | {"silences": state["silences"] + 1}
        found = states.get(step.state_sha256)
        if found != state:
            wrong.append(f"the state at {step.place} is {found}, expected {state}")
        leaves = visit is not None and visit.leaves
        if step.ended != leaves:
            wrong.append(f"the generation {'ends' if step.ended else 'goes on'} at {step.place}")
        if leaves:
            state = {}
    return wrong


def _timers(applied: Sequence[Step]) -> list[str]:
    """Return which timer fired without a silence, or for one that another fired for, or never."""
    wrong = []
    silence: tuple[int, int] | None = None  # the place of the visit since which nobody came
    for step in applied:
        if not step.of_timer:
            silence = None if step.ended else step.place
        elif silence is None:
            wrong.append(f"a timer fired at {step.place}, in no silence or twice in one")
        else:
            wanted = identity.timer_run(VISITS, step.key_hash, *silence, TIMER)
            if step.run_id != wanted:
                wrong.append(f"the timer at {step.place} is {step.run_id}, expected {wanted}")
            silence = None
    if silence is not None:
        wrong.append(f"nobody came after {silence}, and no timer fired")
    return wrong


def _as_it_stands(applied: Sequence[Step], seen: Observation) -> list[str]:
    """Return where the table is not what was applied last to each generation."""
    if not applied:
        return []
    last = {
        step.generation: (
            step.sequence,
            "ended" if step.ended else "open",
            step.state_sha256,
            step.run_id,
            0,
        )
        for step in applied
    }
    found = {
        one.generation: (one.sequence, one.status, one.state_sha256, one.last_run_id, one.timers)
        for one in seen.instances
        if one.key_hash == applied[0].key_hash
    }
    return [
        f"the generation {number} stands at {found.get(number)}, expected {last.get(number)}"
        for number in sorted(last.keys() | found.keys())
        if found.get(number) != last.get(number)
    ]


def _told(accepted: dict[str, dict[str, Visit]], seen: Observation) -> list[str]:
    """Return where the log of decisions does not say once of each visit that it was signalled."""
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    for one in seen.decisions:
        if one.definition_id == VISITS:
            outcomes[one.run_id or "no run"][one.outcome] += 1
    runs = {run_id for visits in accepted.values() for run_id in visits}
    return [
        f"I8: of {run_id} the ledger says {dict(outcomes[run_id])}"
        for run_id in sorted(runs | outcomes.keys())
        if run_id not in runs
        or outcomes[run_id]["signalled"] != 1
        or set(outcomes[run_id]) > {"signalled", "duplicate"}
    ]
