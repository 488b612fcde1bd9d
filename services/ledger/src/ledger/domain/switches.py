"""Kill switches as the ledger keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from contracts import identifiers
from contracts.switches import KillSwitch, Point

EVERYTHING = "*"
"""In place of a definition's id: all of the namespace."""


@dataclass(frozen=True, slots=True)
class SwitchState:
    """A switch, thrown or reset.

    `definitions` is how many its labels select; `selected_revision` is the registry's when that was
    told last, None before it was.
    """

    switch_id: str
    position: int
    point: Point
    labels: Mapping[str, str]
    thrown_at: datetime
    thrown_by: str
    reason: str
    definitions: int = 0
    selected_revision: int | None = None
    reset_at: datetime | None = None
    reset_by: str | None = None
    reset_reason: str | None = None

    @property
    def switch(self) -> KillSwitch:
        """What stops."""
        return KillSwitch(self.switch_id, self.point, self.labels, self.thrown_by, self.reason)


def switch_id(request_id: str) -> str:
    """Return the id of the switch that a request throws, within its namespace."""
    return identifiers.short_hash("kill-switch", request_id)
