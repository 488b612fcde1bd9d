"""Which definitions have to be looked at: each waits once, what was changed goes first."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Job:
    """One definition to hand on.

    It was not only changed, where `look` says so: there may be more of it than is known here.
    `thorough` has the ledger told again, too. It waits since `since`, by the backlog's clock.
    """

    definition_id: str
    look: bool
    thorough: bool
    since: float


class Backlog:
    """What waits to be looked at, by several at once, though one definition by only one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Tell ages by `clock`, in seconds."""
        self._clock = clock
        self._changed: dict[str, Job] = {}
        self._others: dict[str, Job] = {}
        self._taken: dict[str, Job] = {}
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._changed) + len(self._others) + len(self._taken)

    def age_s(self) -> float:
        """Return for how long the change that waits longest has waited, 0 without one."""
        taken = [job.since for job in self._taken.values()]
        oldest = min([*taken, *(job.since for job in self._changed.values())], default=None)
        return 0.0 if oldest is None else self._clock() - oldest

    def add(self, definition_id: str, *, changed: bool = False, thorough: bool = False) -> None:
        """Have a definition looked at, before others if it was `changed`; once, if it waits."""
        look = not changed
        waits = self._changed.pop(definition_id, None)
        changed = changed or waits is not None
        waits = waits or self._others.pop(definition_id, None)
        job = Job(
            definition_id,
            look or (waits is not None and waits.look),
            thorough or (waits is not None and waits.thorough),
            self._clock() if waits is None else waits.since,
        )
        (self._changed if changed else self._others)[definition_id] = job
        self._news.set()

    async def take(self) -> Job:
        """Return the next one, once there is one that nobody else is looking at."""
        while True:
            for waiting in (self._changed, self._others):
                # No more of them are taken than there are takers: this looks at a few.
                for definition_id in waiting:
                    if definition_id not in self._taken:
                        job = self._taken[definition_id] = waiting.pop(definition_id)
                        return job
            self._news.clear()
            await self._news.wait()

    def done(self, job: Job, *, again: bool = False) -> None:
        """Say that a definition was looked at, or has to be `again`."""
        del self._taken[job.definition_id]
        if again:
            self.add(job.definition_id, changed=True)
            later = self._changed[job.definition_id]
            self._changed[job.definition_id] = replace(
                job, look=True, thorough=job.thorough or later.thorough
            )
        self._news.set()
