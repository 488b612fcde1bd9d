"""Where the servers answer, whoever runs them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import quote


@dataclass(frozen=True)
class PostgresEndpoint:
    """A database of a PostgreSQL server, with the passwords of its roles."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    passwords: Mapping[str, str] = field(repr=False)

    def dsn(self, role: str | None = None, *, database: str | None = None) -> str:
        """Return the URL for `role` (the superuser if none) in `database` (this one if none)."""
        user = role or self.user
        password = self.password if user == self.user else self.passwords[user]
        parts = (user, password, database or self.database)
        user, password, path = (quote(part, safe="") for part in parts)
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{path}"

    def within(self, database: str) -> Self:
        """Return the endpoint of another database of the same server."""
        return replace(self, database=database)


@dataclass(frozen=True)
class Endpoints:
    """The addresses of a running infrastructure."""

    postgres: PostgresEndpoint
    redis_url: str
    kafka_bootstrap_servers: str
    temporal_address: str
    temporal_ui_url: str
    kafka_listeners: Mapping[str, str] = field(default_factory=dict)
    """Where Kafka's further listeners are, by their names; see `provide`."""
