"""The floor: what a bare producer does with the same records and settings."""

import contextlib
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.relay import backlog
from benchmarks.relay.contenders import Place
from runtime import kafka

_SCRIPT = Path(__file__).parent / "processes/raw_producer.py"


class RawProducer:
    """confluent-kafka alone, with the relay's own guarantees; there is no database."""

    name = "raw-producer"

    def __init__(self) -> None:
        self._rows = 0

    async def prepare(self, _: Place) -> None:
        """There are no tables."""

    async def load(self, place: Place, rows: int) -> None:
        """Write the sample to a file: it is sent until there are as many records as `rows`."""
        self._rows = rows
        records = [
            (event.key, event.body, [(name, value.encode()) for name, value in event.headers])
            for _, event in backlog.sample(place.namespace)
        ]
        folder = place.stack.folder
        (folder / "records.pickle").write_bytes(pickle.dumps(records))
        (folder / "producer.json").write_text(json.dumps(_settings(place.stack.bootstrap)))

    @contextlib.contextmanager
    def running(self, place: Place) -> Iterator[psutil.Process]:
        """Run the producer, which begins at once."""
        folder = place.stack.folder
        files = (str(folder / name) for name in ("producer.json", "records.pickle"))
        argv = [sys.executable, str(_SCRIPT), *files, place.topic, str(self._rows)]
        with place.stack.process(self.name, argv, {}) as process:
            yield process

    async def ready(self, _: Place) -> bool:
        """Return True."""
        return True

    async def empty(self, _: Place) -> bool:
        """Return True: it has no outbox."""
        return True


def _settings(bootstrap: str) -> dict[str, object]:
    # Those of the relay's producer; how long it lingers is the library's affair, nobody waits.
    return {
        **kafka.producer_settings(bootstrap, client_id="raw-producer"),
        "enable.gapless.guarantee": True,
        "message.timeout.ms": 0,
    }
