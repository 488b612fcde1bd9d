"""Which dead letters are asked for: all that is given has to hold."""

from dataclasses import dataclass
from datetime import datetime

from router.domain.dead_letters import DeadLetter, State


@dataclass(frozen=True)
class Filter:
    """What a dead letter has to be like; an empty text, None and no places mean any.

    `places` are (partition, offset) in the topic of dead letters. `parked_from` is included,
    `parked_to` is not.
    """

    reason: str = ""
    origin_topic: str = ""
    source: str = ""
    event_id: str = ""
    type: str = ""
    parked_from: datetime | None = None
    parked_to: datetime | None = None
    state: State | None = None
    places: tuple[tuple[int, int], ...] = ()

    @property
    def since_ms(self) -> int | None:
        """`parked_from` in milliseconds since 1970."""
        return _milliseconds(self.parked_from)

    @property
    def until_ms(self) -> int | None:
        """`parked_to` in milliseconds since 1970."""
        return _milliseconds(self.parked_to)

    def wants(self, letter: DeadLetter) -> bool:
        """Say whether all holds of a dead letter that the letter itself tells: not its state."""
        parked_at = letter.parked_at_ms or 0
        origin = letter.record.topic if letter.has_origin else ""
        return (
            self.reason in {"", letter.reason}
            and self.origin_topic in {"", origin}
            and self.source in {"", letter.source}
            and self.event_id in {"", letter.event_id}
            and self.type in {"", letter.type}
            and (self.since_ms is None or parked_at >= self.since_ms)
            and (self.until_ms is None or parked_at < self.until_ms)
        )

    def words(self) -> tuple[str, ...]:
        """Return what tells this filter from others, for page tokens."""
        return (
            *(self.reason, self.origin_topic, self.source, self.event_id, self.type),
            *(str(self.since_ms), str(self.until_ms), str(self.state)),
        )


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
