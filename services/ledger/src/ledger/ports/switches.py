"""What the use cases of kill switches need of the database, and others need of kill switches.

Every method works in the transaction it is given and commits nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from contracts.switches import KillSwitch, Point
from ledger.domain.switches import SwitchState
from runtime.postgres import Transaction


class Halts(Protocol):
    """What is stopped now, for who hands something out."""

    async def halting(
        self, transaction: Transaction, point: Point, definition_id: str
    ) -> KillSwitch | None:
        """Return the switch that stops a definition at a point; None when nothing does."""
        ...


class KillSwitchStore(Halts, Protocol):
    """Kill switches, and the definitions that they stop."""

    async def lock(self, transaction: Transaction) -> datetime:
        """Change switches of the namespace after all others do; return the time."""
        ...

    async def thrown(self, transaction: Transaction) -> list[SwitchState]:
        """Return the switches that are thrown, the oldest first."""
        ...

    async def get(self, transaction: Transaction, switch_id: str) -> SwitchState | None:
        """Return a switch, thrown or reset."""
        ...

    async def page(
        self, transaction: Transaction, *, before: int | None, with_reset: bool, limit: int
    ) -> list[SwitchState]:
        """Return at most `limit` switches from before a position, the newest first."""
        ...

    async def add(
        self,
        transaction: Transaction,
        switch_id: str,
        *,
        point: Point,
        labels: Mapping[str, str],
        at: datetime,
        actor: str,
        reason: str,
    ) -> None:
        """Write a switch that is thrown."""
        ...

    async def reset(
        self, transaction: Transaction, switch_id: str, *, at: datetime, actor: str, reason: str
    ) -> None:
        """Write that a switch is reset."""
        ...

    async def halt(
        self,
        transaction: Transaction,
        switch_id: str,
        *,
        point: Point,
        definition_ids: Collection[str],
    ) -> None:
        """Stop definitions; `*` stands for all."""
        ...

    async def release(
        self, transaction: Transaction, switch_id: str, *, all_but: Collection[str] = ()
    ) -> list[str]:
        """Let a switch stop no definitions `all_but` these; return those that it did."""
        ...

    async def selected(self, transaction: Transaction, switch_id: str, *, revision: int) -> None:
        """Write of which revision of the registry it was told what a switch selects."""
        ...

    async def halted_waiting(self, transaction: Transaction, *, limit: int) -> Sequence[str]:
        """Return definitions of which events wait that a switch had wait."""
        ...

    async def look_again(
        self, transaction: Transaction, definition_ids: Collection[str] | None
    ) -> None:
        """Have what waits of definitions looked at now; None for all."""
        ...
