"""Tells the relays of an outbox that something was committed to it, without any writer waiting.

A NOTIFY inside the writers' transactions would have their commits queue for one lock of the whole
cluster. So it is sent after the commit, on a connection of its own, for all commits since the last
one together. It is a hint and may be lost: relays look by themselves too.
"""

import asyncio
import random
from collections.abc import Callable

import asyncpg

from contracts import names
from runtime import logs, postgres
from runtime.errors import DatabaseUnavailableError
from runtime.faultpoints import faultpoint
from runtime.lifecycle import Background

# Commits follow one another faster than anybody has to be told of them.
_PAUSE_S = 0.001
_FIRST_BACK_OFF_S = 0.1
_LONGEST_BACK_OFF_S = 5.0

_log = logs.get_logger(__name__)


class RelayWakeup(Background):
    """A component of a process that appends; give `wake` to its event store.

    One notification is on its way and one more waits, however many commits there are. While the
    database is away it connects again with back-off, and what was committed meanwhile is one.
    """

    name = "relay-wakeup"

    def __init__(
        self,
        dsn: str,
        *,
        schema: str,
        application: str,
        password: Callable[[], str] | None = None,
    ) -> None:
        self._dsn = dsn
        self._password = password
        self._notify = f'NOTIFY "{names.outbox_channel(schema)}"'
        self._application = f"{application}-wakeup"
        self._committed = asyncio.Event()

    def wake(self) -> None:
        """Have the relays told soon. Never blocks, never fails."""
        self._committed.set()

    async def _run(self) -> None:
        back_off = _FIRST_BACK_OFF_S
        while True:
            try:
                async with postgres.dedicated(
                    self._dsn, application=self._application, password=self._password
                ) as connection:
                    # A hint that a crash of the server may forget need not wait for its disk.
                    await connection.execute("SET synchronous_commit TO off")
                    # A session that ends while nothing happens is noticed by one wake-up more.
                    connection.add_termination_listener(lambda _: self.wake())
                    while True:
                        await self._committed.wait()
                        self._committed.clear()
                        faultpoint("eventstore.before_notify")
                        await connection.execute(self._notify)
                        faultpoint("eventstore.after_notify")
                        back_off = _FIRST_BACK_OFF_S
                        await asyncio.sleep(_PAUSE_S)
            except (DatabaseUnavailableError, asyncpg.PostgresError) as exc:
                self.wake()
                _log.warning("relay_wakeup_lost", reason=str(exc), again_in_s=back_off)
            await asyncio.sleep(random.uniform(back_off / 2, back_off))  # noqa: S311 - jitter
            back_off = min(back_off * 2, _LONGEST_BACK_OFF_S)
