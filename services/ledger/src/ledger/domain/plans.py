"""Plans that people look at and then have carried out, exactly as they are.

What is common to replays of events and to backfills: which of the past is meant, how far a plan is,
what may be done to it when, and the hash by which it is applied.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum

from contracts import canonical


class Mode(StrEnum):
    """Which of the past is started once more."""

    MISSING = "missing"
    FAILED = "failed"
    ALL = "all"


class State(StrEnum):
    """How far a plan is."""

    PLANNING = "planning"
    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Action(StrEnum):
    """What people do to a plan."""

    APPLY = "apply"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


FROM: Mapping[Action, frozenset[State]] = {
    Action.APPLY: frozenset({State.PLANNED}),
    Action.PAUSE: frozenset({State.RUNNING}),
    Action.RESUME: frozenset({State.PAUSED}),
    Action.CANCEL: frozenset({State.PLANNING, State.PLANNED, State.RUNNING, State.PAUSED}),
}
"""In which states something can be done."""
TO: Mapping[Action, State] = {
    Action.APPLY: State.RUNNING,
    Action.PAUSE: State.PAUSED,
    Action.RESUME: State.RUNNING,
    Action.CANCEL: State.CANCELLED,
}


def link(previous: bytes, lines: Iterable[object]) -> bytes:
    """Return the hash of a plan with what is added to it, behind the hash of what was before."""
    state = hashlib.sha256(previous)
    for line in lines:
        state.update(canonical.render(line))
    return state.digest()
