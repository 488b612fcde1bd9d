"""One seed of the campaign: workload and faults at once, then the verdict; plain and secure."""

import asyncio

import campaign
import certificate
import pytest
import trial
from faults import EVERY_KIND
from stack import Stack

SEED = 20261123
PLAIN = ("--events=270", "--faults=12")
# Few events and many faults: that each is carried out against an end that asks for a certificate.
SECURE = ("--secure", "--events=180", f"--faults={EVERY_KIND}", "--every-kind")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("words", [PLAIN, SECURE], ids=["plain", "secure"])
def test_nothing_is_lost_and_nothing_invented_whatever_is_killed_stopped_or_cut(tmp_path, words):
    options = campaign.parse([f"--seed={SEED}", *words])
    with Stack(tmp_path, secure=options.secure) as stack:
        versions = certificate.versions(secure=options.secure)
        asyncio.run(trial.prepare(stack, tmp_path))
        verdict = asyncio.run(
            trial.run(
                stack,
                seed=options.seed,
                events=options.events,
                fault_count=options.faults,
                folder=tmp_path,
                every_kind=options.every_kind,
            )
        )
        overall = asyncio.run(trial.from_the_beginning(stack))
    print(verdict.line())  # noqa: T201 - what it found, for who reads the log

    assert verdict.violations == [], campaign.again(verdict, options)
    assert overall == []
    undone = [one for one in trial.idle([verdict]) if not one.endswith(trial.BY_CHANCE)]
    assert undone == []
    page = certificate.write(
        tmp_path / "certificate", [verdict], versions=versions, idle=[], overall=[], crashes=[]
    ).read_text()
    assert "Verdict: **green**" in page
    assert f"## Seed {SEED}: green" in page
