"""Where the servers answer, whoever runs them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import quote

from devstack.infrastructure.certificates import ADMIN, StackCertificates
from devstack.issuer import Issuer
from runtime import databases, kafka
from runtime.kafka import Brokers
from runtime.tls import TlsFiles


@dataclass(frozen=True)
class PostgresEndpoint:
    """A database of a PostgreSQL server, with the passwords of its roles."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    passwords: Mapping[str, str] = field(repr=False)
    certificates: Mapping[str, TlsFiles] | None = None
    """Of each role, where it is told by that and not by a password."""

    def dsn(self, role: str | None = None, *, database: str | None = None) -> str:
        """Return the URL for `role` (the superuser if none) in `database` (this one if none)."""
        user = role or self.user
        if self.certificates is not None:
            address = f"postgresql://{user}@{self.host}:{self.port}/{database or self.database}"
            return databases.secured(address, self.certificates[user])
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
    redis_admin_url: str = field(repr=False)
    """As who prepares it, with the files to show where it asks for any."""
    kafka_bootstrap_servers: str
    temporal_address: str
    temporal_ui_url: str
    """Empty where there is none."""
    kafka_listeners: Mapping[str, str] = field(default_factory=dict)
    """Where Kafka's further listeners are, by their names; see `provide`."""
    temporal_parts: Mapping[str, str] = field(default_factory=dict)
    """Where each part of a full Temporal server listens, as host:port."""
    temporal_metrics: str = ""
    """Where Temporal's server offers its metrics, as host:port; empty where it does not."""
    certificates: StackCertificates | None = None
    """Of a secure infrastructure, which speaks with nobody else."""
    issuer: Issuer | None = None
    """Of a secure infrastructure: whose tokens count in it."""
    issuer_url: str = ""
    """Below which the issuer's keys are."""

    def temporal_token(self, holder: str) -> Path | None:
        """Return the file with the token by which Temporal knows `holder`; None in the clear.

        Nobody has one but whom `access.temporal` names.
        """
        return None if self.issuer is None else self.issuer.token_file(holder)

    @property
    def brokers(self) -> Brokers:
        """Kafka, as who prepares it."""
        files = None if self.certificates is None else self.certificates.files(ADMIN)
        return kafka.brokers(self.kafka_bootstrap_servers, files)
