"""What led to what in a chain of causes: event, runs, their tasks, and the events of these.

Each node is told once, where it comes first; where it comes again it is only named.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["event", "run", "task"]
EventKey = tuple[str, str]
"""Source and event id."""


@dataclass(frozen=True)
class Node:
    """Something in a chain, and what came of it."""

    kind: Kind
    id: str
    title: str = ""
    source: str = ""  # of an event
    status: str = ""
    parts: Sequence["Node"] = ()
    again: bool = False
    """It is told elsewhere in the picture."""


@dataclass(frozen=True)
class Task:
    """A task of a run."""

    task_id: str
    title: str
    status: str


@dataclass(frozen=True)
class Run:
    """A run of the chain: what it is there for, as its trigger says, and its tasks."""

    run_id: str
    title: str
    status: str
    trigger: Mapping[str, Any]
    tasks: Sequence[Task] = ()

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """The events that started it."""
        return self.trigger.get("events") or []


@dataclass
class Picture:
    """Puts nodes together, over the runs that are known of a chain."""

    runs: Sequence[Run]
    _told: set[tuple[str, ...]] = field(default_factory=set)

    def of_event(self, event_id: str, source: str = "") -> list[Node]:
        """Return the events of an id (of one source, if it is given), with all that they caused.

        Empty when no run is known that one of them has started.
        """
        keys = {
            _key(event): event
            for run in self.runs
            for event in run.events
            if event["event_id"] == event_id and source in ("", event["source"])
        }
        return [self._event(event) for event in keys.values()]

    def of_run(self, run_id: str) -> list[Node]:
        """Return the events that started a run, or the run itself, with all that came of it."""
        run = next((one for one in self.runs if one.run_id == run_id), None)
        if run is None:
            return []
        return [self._event(event) for event in run.events] or [self._run(run)]

    def _event(self, event: Mapping[str, Any]) -> Node:
        key = _key(event)
        again = self._is_told("event", *key)
        started = () if again else [run for run in self.runs if key in map(_key, run.events)]
        return Node(
            kind="event",
            id=event["event_id"],
            source=event["source"],
            title=event["type"],
            parts=[self._run(run) for run in started],
            again=again,
        )

    def _run(self, run: Run) -> Node:
        again = self._is_told("run", run.run_id)
        parts: list[Node] = []
        if not again:
            parts += [self._task(run, task) for task in run.tasks]
            parts += [
                self._event(event)
                for event in self._events()
                if (event.get("payload") or {}).get("run_id") == run.run_id
                and event.get("subject") not in {task.task_id for task in run.tasks}
            ]
        return Node(
            kind="run", id=run.run_id, title=run.title, status=run.status, parts=parts, again=again
        )

    def _task(self, run: Run, task: Task) -> Node:
        # Of one run each task is told once; what its events have started follows from it.
        told = [
            *(self._event(one) for one in self._events() if one.get("subject") == task.task_id),
            *(
                self._run(one)
                for one in self.runs
                if one is not run
                and (one.trigger.get("chain") or {}).get("causation_id") == task.task_id
            ),
        ]
        return Node(kind="task", id=task.task_id, title=task.title, status=task.status, parts=told)

    def _events(self) -> Iterator[Mapping[str, Any]]:
        """Yield the events of Backbone's own that have started a run, each once."""
        seen: set[EventKey] = set()
        for run in self.runs:
            for event in run.events:
                if str(event["source"]).startswith("backbone/") and _key(event) not in seen:
                    seen.add(_key(event))
                    yield event

    def _is_told(self, *key: str) -> bool:
        told = key in self._told
        self._told.add(key)
        return told


def _key(event: Mapping[str, Any]) -> EventKey:
    return (event["source"], event["event_id"])
