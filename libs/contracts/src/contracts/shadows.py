"""Shadows: versions that decide on what happens, beside the version that counts, without effect."""

from datetime import timedelta
from enum import StrEnum


class ShadowOutcome(StrEnum):
    """What a shadow made of a run.

    FAILED: its rules give an error. NOT_STARTED: the cause satisfies none of its triggers.
    NOT_COMPARABLE: what it looks at could not be had, or which run would be its own is unknown.
    """

    DECIDED = "decided"
    FAILED = "failed"
    NOT_STARTED = "not_started"
    NOT_COMPARABLE = "not_comparable"


DEFAULT_SHADOW_RUNS = 10_000
MAX_SHADOW_RUNS = 100_000
"""Runs that one shadow decides at most."""
MAX_SHADOW_AGE = timedelta(days=31)
"""How long one shadow decides at most."""
