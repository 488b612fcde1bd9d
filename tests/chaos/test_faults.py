"""A seed says everything about the faults, and a nemesis that did nothing is told of."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import faults
import pytest
import trial
from histories import RUN_EVENTS, row
from history import Controlled, Intents, Observation, Resolution, Row
from nemesis import Inflicted
from observing import Mark
from scenario import Outcome
from stack import EDGES, REPLICAS
from trial import Verdict

SEEDS = range(200)


def test_a_seed_gives_the_same_faults_again():
    assert faults.plan(7, count=12, seconds=60) == faults.plan(7, count=12, seconds=60)
    assert faults.plan(7, count=12, seconds=60) != faults.plan(8, count=12, seconds=60)


@pytest.mark.parametrize("seed", range(20))
def test_each_plan_has_its_number_of_faults_in_time(seed):
    plan = faults.plan(seed, count=12, seconds=60)
    assert len(plan) == 12
    assert all(0 <= fault.at < 60 for fault in plan)
    assert [fault.at for fault in plan] == sorted(fault.at for fault in plan)


@pytest.mark.parametrize("seed", range(20))
def test_each_plan_has_what_every_campaign_needs(seed):
    plan = faults.plan(seed, count=12, seconds=60)
    assert any(fault.kind == "lose-replies-and-kill" for fault in plan)
    assert any(fault.kind == "stop" and fault.seconds > 10 for fault in plan)
    assert any(fault.kind == "terminate" for fault in plan)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_of_every_kind_has_them_all_and_kills_every_server(seed):
    plan = faults.plan(seed, count=faults.EVERY_KIND, seconds=60, every_kind=True)
    assert {fault.kind for fault in plan} == set(get_args(faults.Kind))
    assert {fault.target for fault in plan if fault.kind == "kill"} >= set(faults.SERVERS)


def test_seeds_together_hurt_everybody_in_every_way():
    plans = [fault for seed in SEEDS for fault in faults.plan(seed, count=12, seconds=60)]
    done = {(fault.kind, fault.target) for fault in plans}
    processes = (*faults.SERVICES, *faults.SERVERS)
    expected = {(kind, name) for kind in ("kill", "stop", "restart") for name in processes}
    expected |= {(kind, e) for kind in ("cut", "black-hole", "slow", "reset") for e in EDGES}
    expected |= {(kind, name) for kind in ("scale", "fail-over") for name in REPLICAS}
    expected |= {("flush", "redis"), ("hold-transaction", "backbone"), ("terminate", "instance")}
    assert expected <= done
    unheard = {(f.target, f.detail) for f in plans if f.kind == "lose-replies-and-kill"}
    assert unheard == set(faults.UNHEARD)
    assert {f.detail for f in plans if f.kind == "fail-over"} == {"kill", "stop"}


def test_faults_of_one_process_take_turns_with_its_replica():
    fail_over = faults.Fault(0, 0.0, "fail-over", "outbox-relay-2", 1.0, "kill")
    assert fail_over.turns == ["outbox-relay", "outbox-relay-2"]
    unheard = faults.Fault(0, 0.0, "lose-replies-and-kill", "router", 1.0, "router-kafka")
    assert unheard.turns == ["router", "router-kafka"]


def step(key: str, sequence: int, *, ended: bool = False) -> Row:
    run_id = f"chaos.visits:{key}"
    place = {"key_hash": "k", "generation": 1, "sequence": sequence, "state_sha256": "s"}
    return row(
        f"run:{run_id}",
        1,
        "backbone.RunDecided",
        RUN_EVENTS,
        run_id=run_id,
        definition_id="chaos.visits",
        instance=place | {"ended": ended},
    )


@pytest.fixture
def verdict() -> Verdict:
    planned = faults.plan(1, count=6, seconds=10)
    applied = [step("event:x", 1), step("timer:x", 2), step("event:y", 3, ended=True)]
    seen = Observation(
        resolutions=[Resolution(0, 0, "redriven")],
        rows=applied,
        instance_executions={"chaos.visits:instance:k": ["TERMINATED", "COMPLETED"]},
    )
    intents = Intents(controlled=[Controlled("r", "pack/", retries=1, cancelled=True)])
    return Verdict(
        seed=1,
        source="s",
        begun=datetime(2026, 11, 23, tzinfo=UTC),
        seconds=1.0,
        planned=planned,
        inflicted=[Inflicted(fault, 0.0, healed=1.0) for fault in planned],
        restarts=sum(Counter(fault.kills for fault in planned).elements()),
        outcome=Outcome(intents, seen, [], settled=True, settling_s=1.0, mark=Mark()),
        duplicates={"events": 1},
        violations=[],
        history=Path("history.jsonl"),
    )


def test_a_nemesis_that_did_its_work_is_not_idle(verdict):
    assert trial.idle([verdict]) == []


def test_a_fault_that_did_not_end_is_told(verdict):
    begun = [replace(verdict.inflicted[0], healed=None), *verdict.inflicted[1:]]
    (told,) = trial.idle([replace(verdict, inflicted=begun)])
    assert verdict.planned[0].name in told


def test_kills_that_ended_nothing_are_told(verdict):
    assert any("kills" in told for told in trial.idle([replace(verdict, restarts=0)]))


def test_a_campaign_without_a_second_copy_is_told(verdict):
    assert trial.idle([replace(verdict, duplicates={"events": 0})]) == [
        "no event was published twice"
    ]


def test_a_campaign_without_a_redrive_is_told(verdict):
    verdict.outcome.seen.resolutions.clear()
    assert trial.idle([verdict]) == ["no dead letter was redriven"]


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ([0, 1], ["no instance ended"]),
        ([0, 2], ["no timer of an instance fired"]),
        (
            [],
            [
                "no event was applied to an instance",
                "no instance ended",
                "no timer of an instance fired",
            ],
        ),
    ],
)
def test_a_campaign_without_instances_is_told(verdict, kept, told):
    rows = verdict.outcome.seen.rows
    rows[:] = [rows[number] for number in kept]
    assert trial.idle([verdict]) == told


@pytest.mark.parametrize("found", [[], ["COMPLETED", "RUNNING"], ["COMPLETED", "TERMINATED"]])
def test_a_campaign_whose_terminated_instances_stay_away_is_told(verdict, found):
    verdict.outcome.seen.instance_executions["chaos.visits:instance:k"] = found
    assert trial.idle([verdict]) == ["no instance came back after its workflow was terminated"]


def test_violations_are_told_by_their_invariant(verdict):
    red = replace(verdict, violations=["I2: two runs", "I10: not at rest"])
    assert not red.green
    assert {name for name, found in red.by_invariant().items() if found} == {"I2", "I10"}
