"""Pages over the partitions of a topic: one order, and where each partition was left.

The order is that of time, as it would be if no partition ever went back in it, then of partition
and offset. It does not depend on how the records were fetched.
"""

import base64
import binascii
import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from contracts import identifiers
from router.domain.dead_letters import DeadLetter
from router.errors import RequestInvalidError

Stretches = dict[int, tuple[int, int]]
"""What is left of each partition: `[next, end)`. The end is that of the first page: what comes
while pages are turned is not of this listing."""


@dataclass(frozen=True)
class Line:
    """What was fetched of a partition, in its order; `complete` when nothing of it is left."""

    letters: Sequence[DeadLetter]
    complete: bool


def merged(lines: Mapping[int, Line]) -> Iterator[DeadLetter]:
    """Return what was fetched in the one order, as far as it is certain.

    It ends where a partition that is not complete has nothing more: its next record could be the
    next of all.
    """
    heap: list[tuple[int, int, int]] = []

    def put(partition: int, index: int, not_before: int) -> bool:
        line = lines[partition]
        if index == len(line.letters):
            return line.complete
        time = max(not_before, line.letters[index].parked_at_ms or 0)
        heapq.heappush(heap, (time, partition, index))
        return True

    certain = True
    for partition in sorted(lines):
        certain = put(partition, 0, 0) and certain
    while heap and certain:
        time, partition, index = heapq.heappop(heap)
        yield lines[partition].letters[index]
        certain = put(partition, index + 1, time)


def token(left: Stretches, *filters: str) -> str:
    """Return the token of the page that begins where these stretches do; empty at the end."""
    if all(first >= end for first, end in left.values()):
        return ""
    places = {str(partition): stretch for partition, stretch in sorted(left.items())}
    content = json.dumps([identifiers.short_hash(*filters), places], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode()


def stretches(page_token: str, *filters: str) -> Stretches | None:
    """Return what a token says is left, None for the first page.

    Raises:
        RequestInvalidError: the token is not one, or belongs to a list with other filters.
    """
    if not page_token:
        return None
    try:
        mark, places = json.loads(base64.urlsafe_b64decode(page_token.encode()))
        left = {int(partition): (int(a), int(b)) for partition, (a, b) in places.items()}
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError) as exc:
        raise RequestInvalidError("page_token is not one of this service") from exc
    if mark != identifiers.short_hash(*filters):
        raise RequestInvalidError("page_token belongs to a list with other filters")
    return left
