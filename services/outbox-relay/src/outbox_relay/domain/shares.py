"""Who of the relays of an outbox leads which of its shards: an even share each."""

from collections.abc import Collection
from dataclasses import dataclass

SHARDS = 16
"""How many shards a stream may hash to: the expression of `outbox_pending.shard` says the same."""


@dataclass(frozen=True, slots=True)
class Change:
    """The shards to give up, and those to try to take."""

    give: frozenset[int]
    take: frozenset[int]


def change(*, members: int, mine: Collection[int], others: Collection[int]) -> Change:
    """Return what one of `members` relays does next to come to an even share.

    `mine` are the shards it leads, `others` those that somebody else does. Each member rounds its
    share up, so that together they can take every shard. What a relay has, it keeps if it may: a
    shard that stays is not interrupted.
    """
    share = -(-SHARDS // max(members, 1))
    kept = sorted(mine)[:share]
    free = sorted(set(range(SHARDS)) - set(mine) - set(others))
    return Change(
        give=frozenset(mine) - frozenset(kept),
        take=frozenset(free[: share - len(kept)]),
    )
