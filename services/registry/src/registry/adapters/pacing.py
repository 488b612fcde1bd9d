"""Calls evenly spread: never more a second than a server was promised."""

import asyncio


class Pace:
    """Lets callers through one by one, in the order in which they came, `per_s` of them a second.

    Nobody saves up turns: after a quiet hour the next second has no more of them.
    """

    def __init__(self, per_s: float) -> None:
        self._gap = 1.0 / per_s
        self._next = 0.0

    async def turn(self) -> None:
        """Return when it is the caller's turn."""
        loop = asyncio.get_running_loop()
        mine = max(loop.time(), self._next)
        self._next = mine + self._gap
        await asyncio.sleep(mine - loop.time())
