"""PostgreSQL, Redis, Kafka and Temporal: one interface, processes or containers behind it."""

from devstack.infrastructure.databases import create_database, drop_database
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint
from devstack.infrastructure.providing import Infrastructure, provide
from devstack.infrastructure.servers import SERVERS, SHORT_LIVED, Server, temporal_client
from devstack.infrastructure.temporal_server import TemporalServerInfrastructure
from devstack.infrastructure.topics import ensure_grants, ensure_topics

__all__ = [
    "SERVERS",
    "SHORT_LIVED",
    "Endpoints",
    "Infrastructure",
    "PostgresEndpoint",
    "Server",
    "TemporalServerInfrastructure",
    "create_database",
    "drop_database",
    "ensure_grants",
    "ensure_topics",
    "provide",
    "temporal_client",
]
