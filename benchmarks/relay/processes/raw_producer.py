"""A bare producer, the floor: reads nothing, deletes nothing, sends the records of a file in turn.

    python raw_producer.py CONFIGURATION.json RECORDS.pickle TOPIC COUNT

Run as a script: importing this package would put its imports into the floor's memory.
"""

import itertools
import json
import pickle
import signal
import sys
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer


def main(configuration: str, records: str, topic: str, count: str) -> None:
    """Send, then wait for the end: a supervisor looks on."""
    # Reports come for failures only, which is the least that one can ask for.
    settings = json.loads(Path(configuration).read_text()) | {"delivery.report.only.error": True}
    producer = Producer(settings)
    sample: list[tuple[str, bytes, list[tuple[str, str | bytes | None]]]] = pickle.loads(  # noqa: S301 - ours
        Path(records).read_bytes()
    )
    for key, value, headers in itertools.islice(itertools.cycle(sample), int(count)):
        while True:
            try:
                producer.produce(topic, value, key, headers=headers, on_delivery=_fail)
                break
            except BufferError:
                producer.poll(0.01)
    if left := producer.flush(60):
        sys.exit(f"{left} records were not acknowledged")
    signal.pause()


def _fail(error: KafkaError | None, _: Message) -> None:
    if error is not None:
        sys.exit(f"a record was refused: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
