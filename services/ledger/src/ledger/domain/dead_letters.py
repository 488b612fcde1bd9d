"""What people decide of dead letters: each is resolved once, and the first resolution stays."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

State = Literal["redriven", "discarded"]


@dataclass(frozen=True)
class Resolution:
    """What becomes of one dead letter; `detail` says what became of a redriven record."""

    partition: int
    offset: int
    state: State
    detail: str


@dataclass(frozen=True)
class Opening:
    """Somebody was shown what is in a dead letter."""

    topic: str
    partition: int
    offset: int
    actor: str
    reason: str
    request_id: str


@dataclass(frozen=True)
class Opened:
    """An opening as it stands; `opening_id` counts up."""

    opening_id: int
    opening: Opening
    opened_at: datetime


@dataclass(frozen=True)
class Resolved:
    """A resolution as it stands."""

    topic: str
    resolution: Resolution
    actor: str
    reason: str
    request_id: str
    resolved_at: datetime
