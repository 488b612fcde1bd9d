"""PostgreSQL, Redis, Kafka and Temporal: one interface, processes or containers behind it."""

from devstack.infrastructure.databases import create_database, drop_database
from devstack.infrastructure.endpoints import Endpoints, PostgresEndpoint
from devstack.infrastructure.providing import Infrastructure, provide
from devstack.infrastructure.servers import SERVERS, Server
from devstack.infrastructure.topics import ensure_topics

__all__ = [
    "SERVERS",
    "Endpoints",
    "Infrastructure",
    "PostgresEndpoint",
    "Server",
    "create_database",
    "drop_database",
    "ensure_topics",
    "provide",
]
