"""Every attack of the table gets the refusal that is written beside it, and costs little."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from attacks import ATTACKS, Attack
from hostile_child import ENTRIES

HERE = Path(__file__).parent
MOST_PROCESSOR_S = 5.0
"""Of one attack: what grows faster than its payload takes minutes."""
MOST_MEMORY = 700 * 1024**2
"""Of the process that takes them all, one after another: it began with a seventh of that."""

ALONE = [number for number, attack in enumerate(ATTACKS) if attack.given in ENTRIES]


@dataclass
class Taken:
    """What became of one attack, and what it cost."""

    outcome: str
    processor_s: float = 0.0
    memory: int = 0


@pytest.fixture(scope="module")
def taken() -> dict[int, Taken]:
    """What became of every attack that needs no server, by its number."""
    found: dict[int, Taken] = {}
    waiting = list(ALONE)
    while waiting:
        done = subprocess.run(
            [sys.executable, HERE / "hostile_child.py", *map(str, waiting)],
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        begun = None
        for line in done.stdout.splitlines():
            number, *rest = json.loads(line)
            begun = number
            if rest:
                found[number], begun = Taken(*rest), None
        if begun is None:
            assert done.returncode == 0, done.stderr
        else:
            found[begun] = Taken(f"ended the process: {done.returncode} {done.stderr[-500:]}")
        waiting = [number for number in waiting if number not in found]
    return found


def _id(number: int) -> str:
    return (
        f"{ATTACKS[number].given}-{ATTACKS[number].name}"[:80].encode("ascii", "replace").decode()
    )


@pytest.mark.parametrize("number", ALONE, ids=_id)
def test_an_attack_gets_its_refusal(number: int, taken: dict[int, Taken]) -> None:
    got, attack = taken[number], ATTACKS[number]
    assert re.match(attack.outcome, got.outcome, re.DOTALL), got.outcome[:2_000]
    assert got.processor_s < MOST_PROCESSOR_S
    assert got.memory < MOST_MEMORY


def test_every_attack_is_taken_by_somebody() -> None:
    assert {attack.given for attack in ATTACKS} - ENTRIES.keys() == {"answer", "post"}


def test_attacks_have_names_of_their_own() -> None:
    names = [(attack.given, attack.kind, attack.name) for attack in ATTACKS]
    assert len(names) == len(set(names))
    assert all(isinstance(attack, Attack) for attack in ATTACKS)
