"""One seed of the campaign: workload and faults at once, then the verdict."""

import asyncio

import campaign
import certificate
import pytest
import trial
from stack import Stack

SEED = 20261123
EVENTS, FAULTS = 300, 12


@pytest.mark.timeout(420)
def test_nothing_is_lost_and_nothing_invented_whatever_is_killed_stopped_or_cut(tmp_path):
    with Stack(tmp_path) as stack:
        versions = certificate.versions()
        asyncio.run(trial.prepare(stack, tmp_path))
        verdict = asyncio.run(
            trial.run(stack, seed=SEED, events=EVENTS, fault_count=FAULTS, folder=tmp_path)
        )
        overall = asyncio.run(trial.from_the_beginning(stack))
    print(verdict.line())  # noqa: T201 - what it found, for who reads the log

    assert verdict.violations == [], campaign.again(verdict, events=EVENTS, faults=FAULTS)
    assert overall == []
    assert trial.idle([verdict]) == []
    page = certificate.write(
        tmp_path / "certificate", [verdict], versions=versions, idle=[], overall=[], crashes=[]
    ).read_text()
    assert "Verdict: **green**" in page
    assert f"## Seed {SEED}: green" in page
