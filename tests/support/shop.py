"""Orders of a shop, as those place them who then look at the console. Generated data."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from backbone_command import Backbone
from confluent_kafka import Producer

from devstack.suite import Suite

T = TypeVar("T")

DEFINITIONS = str(Path(__file__).parents[1] / "browser" / "definitions")
TYPE = "shop.order.placed"
_PATIENCE_S = 60.0


@dataclass
class Shop:
    """The definitions about its orders are applied; `place` sends one."""

    suite: Suite
    backbone: Backbone
    source: str = field(default_factory=lambda: f"shop-{uuid.uuid4().hex[:6]}")

    def open(self) -> None:
        """Apply the definitions."""
        self.backbone("apply", "-f", DEFINITIONS, "--reason", "the shop opens")

    def place(self, amount: int, **fields: Any) -> str:
        """Send an order, wait until it has been decided, and return the event's id."""
        event = {
            "event_id": f"order-{uuid.uuid4().hex[:12]}",
            "type": TYPE,
            "source": self.source,
            "occurred_at": datetime.now(UTC).isoformat(),
            "subject": f"customer/{self.source}",
            "payload": {"amount": amount},
        } | fields
        producer = Producer({"bootstrap.servers": self.suite.endpoints.kafka_bootstrap_servers})
        producer.produce("dev.orders", value=json.dumps(event).encode())
        assert producer.flush(30) == 0
        event_id = str(event["event_id"])
        waited(lambda: self.rows("decisions", "--event", event_id))
        return event_id

    def rows(self, *words: str) -> list[Any]:
        """Return the documents that a command prints."""
        return [json.loads(line) for line in self.backbone(*words, "-o", "json").splitlines()]

    def run_of(self, event_id: str, definition_id: str = "shop.look-at-orders") -> str:
        """Return the run of an event, once it is recorded."""

        def recorded() -> str:
            (decision,) = [
                one
                for one in self.rows("decisions", "--event", event_id)
                if one["definition_id"] == definition_id
            ]
            known = {run["run_id"] for run in self.rows("runs", "--definition", definition_id)}
            return decision["run_id"] if decision["run_id"] in known else ""

        return waited(recorded)

    def task_of(self, run_id: str) -> str:
        """Return the only task of a run."""
        (task,) = self.rows("tasks", "--run", run_id)
        return str(task["task_id"])


def waited(look: Callable[[], T]) -> T:
    """Look again and again, and return what is found first."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.25)
    return found
