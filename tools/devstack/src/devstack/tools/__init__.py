"""The servers' programs: found on this machine, or installed into a cache outside the clone."""

from devstack.tools.chromium import Chromium, find_chromium
from devstack.tools.kafka import Kafka, find_kafka
from devstack.tools.postgresql import Postgresql, find_postgresql
from devstack.tools.prometheus import Prometheus, find_prometheus
from devstack.tools.redis import find_redis
from devstack.tools.temporal import find_temporal
from devstack.tools.temporal_server import TemporalServer, find_temporal_server
from devstack.tools.toxiproxy import find_toxiproxy

__all__ = [
    "Chromium",
    "Kafka",
    "Postgresql",
    "Prometheus",
    "TemporalServer",
    "find_chromium",
    "find_kafka",
    "find_postgresql",
    "find_prometheus",
    "find_redis",
    "find_temporal",
    "find_temporal_server",
    "find_toxiproxy",
]
