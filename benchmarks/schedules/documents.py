"""Definitions with one schedule each: generated data.

Those that are due once a year are due while nobody measures; the others are due every other minute.
"""

from datetime import datetime

from backbone.registry.v1 import registry_pb2
from contracts import identifiers

NAMESPACE = "dev"

_DEFINITION = """\
# Counts what a year has brought: generated data.
apiVersion: backbone/v1
kind: ActivityDefinition
metadata: {id: %(id)s, namespace: dev, owner: bench}
spec:
  taskQueue: bench-tq
  triggers:
    - name: yearly
      schedule:
        cron: "%(minute)d %(hour)d 1 %(month)d *"
        timezone: Europe/Berlin
        missedRuns: {policy: compress, window: 24h}
  rules:
    - name: count
      task: {type: automated, handler: count_year, taskQueue: notifications-tq}
"""


def definition_id(number: int) -> str:
    """Return the id of a definition by its number, from 0."""
    return f"bench.yearly-{number}"


def definition(number: int, *, month: int, edition: int = 0) -> registry_pb2.Document:
    """Return a definition that is due once a year, in a month; each edition at another time."""
    minute = number + edition
    text = _DEFINITION % {
        "id": definition_id(number),
        "minute": minute % 60,
        "hour": minute // 60 % 24,
        "month": month,
    }
    return registry_pb2.Document(content=text.encode(), name=definition_id(number))


_TICKING = """\
# Looks every other minute whether there is anything to do, and there never is: generated data.
apiVersion: backbone/v1
kind: ActivityDefinition
metadata: {id: %(id)s, namespace: dev, owner: bench}
spec:
  taskQueue: bench-tq
  triggers:
    - name: tick
      schedule:
        cron: "%(second)d */2 * * * *"
        start: "%(start)s"
        end: "%(end)s"
        missedRuns: {policy: catchUp, window: 24h, limit: 1000}
        overlap: allowAll
  rules:
    - name: work
      when: trigger.scheduled_for == 'never'
      task: {type: automated, handler: count_year, taskQueue: notifications-tq}
"""


def lateness_prefix(due: int) -> str:
    """Return what the ids begin with of the definitions of which so many are due in a minute."""
    return f"bench.tick-{due}-"


def schedule_prefix(due: int) -> str:
    """Return what the ids of their Temporal Schedules begin with."""
    return identifiers.schedule_id(lateness_prefix(due))


def every_other_minute(
    number: int, due: int, start: datetime, end: datetime
) -> registry_pb2.Document:
    """Return one of `due` definitions that share the even minutes between two instants evenly."""
    name = f"{lateness_prefix(due)}{number}"
    text = _TICKING % {
        "id": name,
        "second": number * 60 // due,
        "start": start.isoformat(),
        "end": end.isoformat(),
    }
    return registry_pb2.Document(content=text.encode(), name=name)
