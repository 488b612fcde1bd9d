"""The addresses of pages, built here and nowhere else.

Ids are in the query and never in the path: what strangers name may hold anything.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlencode


@dataclass(frozen=True)
class Links:
    """Addresses within one namespace; each method returns a path with its query."""

    namespace: str
    temporal_ui: str | None = None

    def to(self, page: str, /, **query: str | int | None) -> str:
        """Return the address of a page (`tasks/claim`) with what of the query is not empty."""
        told = {name: value for name, value in query.items() if value not in (None, "")}
        return f"/{self.namespace}/{page}" + (f"?{urlencode(told)}" if told else "")

    def elsewhere(self, namespace: str, page: str) -> str:
        """Return the address of a page of another namespace."""
        return f"/{namespace}/{page}"

    def run(self, run_id: str) -> str:
        """Return the address of a run."""
        return self.to("run", id=run_id)

    def task(self, task_id: str) -> str:
        """Return the address of a task."""
        return self.to("task", id=task_id)

    def event(self, event_id: str, source: str = "") -> str:
        """Return the address of an event."""
        return self.to("event", id=event_id, source=source)

    def definition(self, definition_id: str) -> str:
        """Return the address of a definition."""
        return self.to("definition", id=definition_id)

    def search(self, words: str) -> str:
        """Return the address of what is found for an id."""
        return self.to("search", q=words)

    def temporal(self, workflow_id: str, run_id: str = "") -> str | None:
        """Return where Temporal's UI shows an execution; None where there is no UI."""
        if not self.temporal_ui:
            return None
        where = f"{self.temporal_ui.rstrip('/')}/namespaces/{quote(self.namespace, safe='')}"
        told = f"{where}/workflows/{quote(workflow_id, safe='')}"
        return f"{told}/{quote(run_id, safe='')}" if run_id else told
