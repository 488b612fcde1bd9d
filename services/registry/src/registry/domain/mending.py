"""What has to be done so that a clock is as it should be, and whether somebody changed it by hand.

Nothing here asks or writes: it is told what is wanted and what is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.domain.materialisation import Tampered

MAX_DIFFERENCES = 20
"""That are told of one clock; the rest is made right all the same."""

_LONGEST_VALUE = 300


class DriftKind(StrEnum):
    """The ways in which what is there is not what is asked for."""

    MISSING = "missing"
    DIFFERENT = "different"
    UNEXPECTED = "unexpected"
    REFUSED = "refused"
    PENDING = "pending"


class Step(StrEnum):
    """What to do with a clock."""

    LEAVE = "leave"
    CREATE = "create"
    UPDATE = "update"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Expected:
    """A clock as it is to be: every fact that is written, by path, and the fingerprint of them."""

    fingerprint: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """A clock as it stands.

    `mark` is the fingerprint that it bears, or how it was `Tampered` with. `token` changes with
    every write, so that one who has seen an older state can overwrite nothing.
    """

    mark: str
    facts: Mapping[str, str]
    token: bytes


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that is not as it should be; None where it is not there at all."""

    path: str
    wanted: str | None
    found: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The step to take; `drift` says how it was changed by hand, None when it was not."""

    step: Step
    differences: tuple[Difference, ...] = ()
    drift: DriftKind | None = None


def plan(expected: Expected | None, standing: Standing | None, *, handed_on: bool) -> Plan:
    """Return what makes `standing` what is expected; None is a clock that is not (to be) there.

    `handed_on` says that it was exactly as expected before: what is gone, others removed, and what
    is there all the same, others made.
    """
    if expected is None:
        if standing is None:
            return Plan(Step.LEAVE)
        drift = DriftKind.UNEXPECTED if handed_on else None
        return Plan(Step.REMOVE, _differences({}, standing.facts), drift)
    if standing is None:
        return Plan(Step.CREATE, drift=DriftKind.MISSING if handed_on else None)
    found = _differences(expected.facts, standing.facts)
    if not found:
        return Plan(Step.LEAVE)
    # The sound mark of something else is one that we wrote ourselves, from an earlier version.
    by_hand = standing.mark == expected.fingerprint or standing.mark in set(Tampered)
    return Plan(Step.UPDATE, found, DriftKind.DIFFERENT if by_hand else None)


def _differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> tuple[Difference, ...]:
    different = [
        Difference(path, _cut(wanted.get(path)), _cut(found.get(path)))
        for path in sorted(wanted.keys() | found.keys())
        if wanted.get(path) != found.get(path)
    ]
    return tuple(different[:MAX_DIFFERENCES])


def _cut(value: str | None) -> str | None:
    if value is None or len(value) <= _LONGEST_VALUE:
        return value
    return value[: _LONGEST_VALUE - 1] + "…"
