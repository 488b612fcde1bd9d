"""What the workload did and what was found afterwards, as plain data outside of the system.

Nothing here imports Backbone: the checker must not share a mistake with what it checks.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sent:
    """A record that Kafka acknowledged. `expect` is the oracle's word on it."""

    source: str
    event_id: str | None
    partition: int
    offset: int
    expect_tasks: tuple[str, ...] = ()
    expect_reason: str | None = None
    duplicate: bool = False


class HistoryFile:
    """An append-only file of operations; each line is on disk before the call returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, operation: Any) -> None:
        line = operation if isinstance(operation, dict) else asdict(operation)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class Record:
    """A record read back from Kafka."""

    topic: str
    key: bytes | None
    headers: dict[str, str]
    value: bytes | None

    def document(self) -> dict[str, Any]:
        return json.loads(self.value or b"{}")


@dataclass(frozen=True)
class FoundRun:
    """A run as the ledger's tables hold it, with the event that its trigger holds."""

    run_id: str
    status: str
    source: str
    event_id: str
    tasks: tuple[str, ...]  # "rule/key" of each task row
    task_ids: tuple[str, ...]
    version: int = 1  # of the definition


@dataclass
class Observation:
    """Everything that was read after the workload had settled."""

    runs: list[FoundRun] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)
    dead_letters: list[Record] = field(default_factory=list)
    executions: dict[str, int] = field(default_factory=dict)  # workflow id -> executions
    pending_outbox: int = 0
    uncommitted: int = 0
