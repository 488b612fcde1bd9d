"""Our side of the benchmark as a process of its own: the rules and the events of two files.

It does what its standard input says, as `EventRuler.java` does.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from rules import patterns
from rules.matching import Index

Written = tuple[str, str]
"""The name of a rule and its pattern, as text."""


def main(rules: str, events: str, more: str) -> None:
    """Build the index, then match, or add and remove, as often as it is told to."""
    written = read(rules)
    index: Index[str] = Index()
    started = time.perf_counter()
    for rule in written:
        put(index, rule)
    say("built", time.perf_counter() - started)
    del written
    records = Path(events).read_bytes().splitlines()
    for order in sys.stdin:
        match order.split():
            case ["match", seconds]:
                say("matched", *match_for(index, records, float(seconds)))
            case _:
                say("added", add(index, read(more)))


def match_for(index: Index[str], records: Sequence[bytes], seconds: float) -> tuple[float, ...]:
    """Match all events again and again; return seconds, events and matches.

    The seconds are the thread's processor time: what else the machine does is not in them.
    """
    matched = count = 0
    loads, match = orjson.loads, index.match
    started = now = time.thread_time()
    while now - started < seconds:
        for record in records:
            document = loads(record)
            matched += len(match(document["type"], document))
        count += len(records)
        now = time.thread_time()
    return now - started, count, matched


def add(index: Index[str], rules: Sequence[Written]) -> float:
    """Add rules one at a time, and remove them; return the median of what one took in ms."""
    took = []
    for rule in rules:
        started = time.thread_time()
        put(index, rule)
        took.append(1e3 * (time.thread_time() - started))
    for name, _ in rules:
        index.remove(name)
    return sorted(took)[len(took) // 2]


def put(index: Index[str], rule: Written) -> None:
    """Add a rule from its text, whose type is a type of events to us."""
    name, text = rule
    pattern: dict[str, Any] = json.loads(text)
    [event_type] = pattern.pop("type")
    index.put(name, patterns.compile(pattern), event_type=event_type)


def read(file: str) -> list[Written]:
    """Read names and patterns, a tab between them."""
    lines = (line.split("\t", 1) for line in Path(file).read_text().splitlines())
    return [(name, pattern) for name, pattern in lines]


def say(what: str, *figures: float) -> None:
    """Answer."""
    print(what, *figures, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
