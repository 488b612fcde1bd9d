"""Places of records within the topic of dead letters, as pages and commands write them: `0:42`."""

import re

_PLACE = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


def parse(text: str) -> tuple[int, int]:
    """Return the partition and the offset. Raises ValueError with a sentence."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError("A place of a dead letter is a partition and an offset, such as 0:42.")
    return int(match[1]), int(match[2])
