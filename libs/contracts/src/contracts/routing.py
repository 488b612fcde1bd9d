"""What became of an event for one definition: the words of the router and of the decision log."""

from enum import StrEnum


class RoutingOutcome(StrEnum):
    """What one event meant to one candidate."""

    STARTED = "started"
    SIGNALLED = "signalled"
    DUPLICATE = "duplicate"
    FILTERED = "filtered"
    ERRORED = "errored"
    DISABLED = "disabled"
    HELD = "held"
    BATCHED = "batched"
    LIMITED = "limited"
    DISCARDED = "discarded"


class PendingOutcome(StrEnum):
    """What becomes of what waits. HELD goes on waiting, RETURNED is handed out again."""

    STARTED = "started"
    SIGNALLED = "signalled"
    DUPLICATE = "duplicate"
    FILTERED = "filtered"
    ERRORED = "errored"
    DISABLED = "disabled"
    DISCARDED = "discarded"
    HELD = "held"
    RETURNED = "returned"


MAX_RECORDED_EVENTS = 5000
"""Events of one call that records decisions."""
MAX_RECORDED_CANDIDATES = 20_000
"""Candidates of all events of such a call."""
MAX_EXPLANATION_LENGTH = 2000
"""Characters that are kept of a failed clause, of what was seen in its place, and of a detail."""
