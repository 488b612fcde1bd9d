"""Operations: what is stopped, refused or waits, and what operators do about it."""

from console.adapters.areas import Area
from console.adapters.pages import (
    audit,
    backfills,
    dead_letters,
    drift,
    pending,
    replays,
    switches,
    task_queues,
)

_PARTS = (dead_letters, switches, pending, task_queues, drift, replays, backfills, audit)

AREA = Area("operations", [route for part in _PARTS for route in part.ROUTES], title="Operations")
