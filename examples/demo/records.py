"""What comes back from Kafka, read as any consumer would read it."""

import queue
import threading
from typing import Any

from cli import events
from cli.errors import CliError
from cli.kafka import Record, Tail
from contracts import names
from runtime.kafka import Brokers


class Records:
    """Backbone's out-topics of a namespace; each event once, however often it comes."""

    def __init__(self, servers: Brokers, namespace: str) -> None:
        """Begin to read. Raises CliError when the topics cannot be had.

        From the beginning: a due time may have run before anybody could listen.
        """
        topics = [names.topic(namespace, topic) for topic in events.OUT_TOPICS]
        self._tail = Tail(servers, topics, from_beginning=True)
        self._arrived: queue.SimpleQueue[Record | Exception] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._seen: dict[str, dict[str, Any]] = {}
        self.copies = 0

    def arrived(self) -> list[dict[str, Any]]:
        """Return what came since the last call. Raises CliError when reading has ended."""
        fresh = []
        while not self._arrived.empty():
            item = self._arrived.get()
            if isinstance(item, Exception):
                raise item
            envelope = events.as_document(item)["value"]
            self.copies += 1
            if envelope["event_id"] not in self._seen:
                envelope["topic"] = item.topic
                self._seen[envelope["event_id"]] = envelope
                fresh.append(envelope)
        return fresh

    def of_run(self, run_id: str) -> list[dict[str, Any]]:
        """Return what has come of a run, in the order it came."""
        return [e for e in self._seen.values() if e["payload"].get("run_id") == run_id]

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join()
        self._tail.close()

    def _read(self) -> None:
        try:
            for record in self._tail.records(stopped=self._stopped.is_set):
                self._arrived.put(record)
        except CliError as exc:
            self._arrived.put(exc)
