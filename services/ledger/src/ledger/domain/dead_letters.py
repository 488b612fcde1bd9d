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
class Resolved:
    """A resolution as it stands."""

    topic: str
    resolution: Resolution
    actor: str
    reason: str
    request_id: str
    resolved_at: datetime
