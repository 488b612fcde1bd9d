"""What the workload did and what was found afterwards, as plain data outside of the system.

Nothing here imports Backbone: the checker must not share a mistake with what it checks.
"""

import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

Kind = Literal["invoke", "ok", "fail", "info"]
"""Of an operation: begun; done; refused, so that it has no effect; or nobody knows."""


@dataclass(frozen=True)
class Visit:
    """An event for the instance of a visitor: the visitor's visits count from 1."""

    visitor: str
    number: int
    leaves: bool  # the instance ends with it


@dataclass(frozen=True)
class Sent:
    """A record that was given to Kafka. `expect_*` is the oracle's word on it."""

    source: str
    event_id: str | None
    digest: str  # of the value
    # Where Kafka acknowledged it; none: whether Kafka has it, and how often, nobody knows.
    partition: int | None
    offset: int | None
    expect_tasks: tuple[str, ...] = ()
    expect_reason: str | None = None
    expect_decision: str = "started"  # or filtered, signalled, or unrouted: nobody wants it
    duplicate: bool = False
    early: bool = False  # refused for that reason until its schema version is registered
    visit: Visit | None = None

    @property
    def starts(self) -> bool:
        """Whether it is an event that starts a run, by the oracle."""
        return (
            self.event_id is not None
            and self.expect_reason is None
            and self.expect_decision == "started"
        )


@dataclass(frozen=True)
class Triggered:
    """A start by hand, tried with one request id until it was answered or given up."""

    definition_id: str
    request_id: str
    acknowledged: bool
    expect_tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answered:
    """The end of a human task: a person's completion, tried likewise, or that of its time."""

    run_id: str
    task: str  # "rule/key"
    acknowledged: bool


@dataclass(frozen=True)
class Controlled:
    """A run of which a failed task was retried so often by hand, and that was cancelled or not."""

    run_id: str
    task: str  # "rule/key"
    retries: int
    cancelled: bool


@dataclass(frozen=True)
class Applied:
    """A new version of a resource, applied by one request that was tried likewise."""

    stream: str
    acknowledged: bool


@dataclass(frozen=True)
class Scheduled:
    """A definition that was due every so many seconds between two instants."""

    definition_id: str
    every_s: float
    begin: datetime
    end: datetime
    expect_tasks: tuple[str, ...] = ()


@dataclass
class Intents:
    """All that the workload did."""

    sent: list[Sent] = field(default_factory=list)
    triggered: list[Triggered] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    applied: list[Applied] = field(default_factory=list)
    controlled: list[Controlled] = field(default_factory=list)
    scheduled: Scheduled | None = None
    bundling: str | None = None  # the definition that gathers what starts a run
    early: str | None = None  # the definition that early events start
    # The runs of events that were replayed, with their tasks.
    replayed: dict[str, tuple[str, ...]] = field(default_factory=dict)


class HistoryFile:
    """An append-only file of operations; each line is on disk before the call returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._operations = 0

    def begin(self, process: str, operation: str, **details: Any) -> int:
        """Write that an operation begins; return its number."""
        with self._lock:
            self._operations += 1
            number = self._operations
        self._line(number, "invoke", {"process": process, "operation": operation, **details})
        return number

    def end(self, number: int, kind: Kind, **details: Any) -> None:
        """Write how it ended."""
        self._line(number, kind, details)

    def write(self, document: dict[str, Any]) -> None:
        """Write a line that belongs to no operation."""
        self._line(0, "info", document)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _line(self, number: int, kind: Kind, details: dict[str, Any]) -> None:
        line = {
            "op": number,
            "type": kind,
            "monotonic_ns": time.monotonic_ns(),
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **details,
        }
        with self._lock:
            self._file.write(json.dumps(line, default=str) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())


def digest(value: bytes | None) -> str:
    """Return what tells one value of a record from another, an absent one from an empty one."""
    return "null" if value is None else hashlib.sha256(value).hexdigest()


@dataclass(frozen=True)
class Record:
    """A record read back from Kafka."""

    topic: str
    key: bytes | None
    headers: dict[str, str]
    value: bytes | None
    partition: int = 0
    offset: int = 0

    def document(self) -> dict[str, Any]:
        """Return the value, which is a JSON document."""
        return json.loads(self.value or b"{}")


@dataclass(frozen=True)
class Row:
    """A row of a service's table `events`."""

    service: str
    namespace: str
    stream: str
    version: int
    event_id: str
    type: str
    topic: str
    key: str
    headers: dict[str, str]
    body: bytes
    earlier: bool = False  # from before the scenario began

    def payload(self) -> dict[str, Any]:
        """Return the event's payload."""
        return json.loads(self.body)["payload"]


@dataclass(frozen=True)
class FoundTask:
    """A row of the table of tasks."""

    task_id: str
    name: str  # "rule/key"
    type: str
    status: str


@dataclass(frozen=True)
class FoundRun:
    """A run as the ledger's tables hold it, with the event or due time that its trigger holds."""

    run_id: str
    definition_id: str
    status: str
    kind: str
    tasks: tuple[FoundTask, ...]
    source: str = ""
    event_id: str = ""
    version: int = 1  # of the definition
    members: tuple[tuple[str, str], ...] = ()  # source and id of each event it stands for


@dataclass(frozen=True)
class DueTime:
    """A due time of a schedule as the ledger accounts for it."""

    due_at: datetime
    outcome: str
    run_id: str | None
    acknowledged: bool = True  # by the tick that started its run
    decided_at: datetime | None = None


@dataclass(frozen=True)
class Decision:
    """What the ledger says that an event at a place meant to a definition."""

    partition: int
    offset: int
    event_id: str
    definition_id: str
    outcome: str
    run_id: str | None = None
    clause: str | None = None
    seen: str | None = None
    cause: str = ""  # that of whoever had it routed again
    waited: bool = False  # its outcome is what became of an event that waited


@dataclass(frozen=True)
class Resolution:
    """What the ledger says that somebody decided of a dead letter, by its place."""

    partition: int
    offset: int
    state: str


@dataclass(frozen=True)
class FoundInstance:
    """A generation of an instance as the ledger's table holds it."""

    key_hash: str
    generation: int
    sequence: int  # of what was applied last
    status: str
    state_sha256: str
    last_run_id: str
    timers: int = 0  # that are set


@dataclass(frozen=True)
class Unrouted:
    """A range of offsets of which the ledger says that some records had no candidate."""

    partition: int
    first: int
    last: int
    records: int


@dataclass
class Observation:
    """Everything that was read after the workload had settled."""

    runs: list[FoundRun] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)
    inputs: list[Record] = field(default_factory=list)
    dead_letters: list[Record] = field(default_factory=list)
    executions: dict[str, int] = field(default_factory=dict)  # workflow id -> executions
    due_times: list[DueTime] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    unrouted: list[Unrouted] = field(default_factory=list)
    resolutions: list[Resolution] = field(default_factory=list)
    instances: list[FoundInstance] = field(default_factory=list)
    instance_executions: dict[str, list[str]] = field(default_factory=dict)  # by workflow id
    states: dict[str, Any] = field(default_factory=dict)  # of instances, by the document's hash
    pending_outbox: int = 0
    parked: int = 0
    uncommitted: int = 0
    waiting: int = 0  # starts and operations that are queued in the ledger
    queued: int = 0  # events that wait for their turn in an instance

    def rows_here(self) -> list[Row]:
        """Return the rows that were written since the scenario began."""
        return [row for row in self.rows if not row.earlier]
