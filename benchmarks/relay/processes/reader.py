"""Notes when a consumer has each record of a topic.

    python -m benchmarks.relay.processes.reader SERVERS TOPIC COUNT IDLE-SECONDS OUTPUT.json

Says "ready" once it reads from the end of every partition.
"""

import json
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

_CALL_S = 10.0


def main(bootstrap: str, topic: str, count: str, idle_s: str, output: str) -> None:
    """Read until all records were there, or for too long none was, then write what was seen."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench"})
    partitions = consumer.list_topics(topic, timeout=_CALL_S).topics[topic].partitions
    consumer.assign(
        [TopicPartition(topic, number, _end(consumer, topic, number)) for number in partitions]
    )
    consumer.poll(0)
    print("ready", flush=True)
    seen: dict[str, float] = {}
    last = time.monotonic()
    while len(seen) < int(count) and time.monotonic() - last < float(idle_s):
        record = consumer.poll(0.1)
        if record is None or record.error() is not None:
            continue
        last = time.monotonic()
        seen.setdefault(json.loads(record.value() or b"{}")["event_id"], last)
    consumer.close()
    Path(output).write_text(json.dumps(seen))


def _end(consumer: Consumer, topic: str, number: int) -> int:
    offsets = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_CALL_S)
    return int(offsets[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
