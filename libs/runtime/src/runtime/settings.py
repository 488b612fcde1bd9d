"""Settings: read once from the environment (`BACKBONE_*`), typed, frozen.

A service combines the mixins it needs: `class Settings(GrpcServerSettings, PostgresSettings,
ServiceSettings)`. Only `app` and `__main__` read them; adapters receive values.
"""

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(
        env_prefix="BACKBONE_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    environment: Literal["local", "dev", "stage", "prod"] = "prod"
    namespaces: tuple[str, ...] = Field(("dev",), min_length=1)
    http_listen: str = Field("127.0.0.1:0", description="host:port of health and metrics.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otlp_endpoint: str | None = Field(
        None, description="OTLP/gRPC collector; none exports nothing."
    )
    shutdown_grace: timedelta = Field(
        timedelta(seconds=20), description="How long work in flight may take to end after SIGTERM."
    )


class TlsSettings(BaseSettings):
    """Certificates of this process; all three or none."""

    tls_certificate: Path | None = None
    tls_private_key: Path | None = None
    tls_client_ca: Path | None = Field(None, description="Whom we trust, as server and as client.")

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        given = [self.tls_certificate, self.tls_private_key, self.tls_client_ca]
        if any(given) and not all(given):
            raise ValueError(
                "TLS needs BACKBONE_TLS_CERTIFICATE, BACKBONE_TLS_PRIVATE_KEY and "
                "BACKBONE_TLS_CLIENT_CA together"
            )
        return self


class GrpcServerSettings(TlsSettings):
    """A gRPC server."""

    grpc_listen: str = Field("127.0.0.1:0", description="host:port of gRPC.")


class PostgresSettings(BaseSettings):
    """A service's own database."""

    postgres_dsn: SecretStr
    postgres_pool_size: int = Field(8, ge=1, le=100)


class TemporalSettings(BaseSettings):
    """The Temporal server; each namespace is a Temporal namespace of the same name."""

    temporal_address: str


class KafkaSettings(BaseSettings):
    """The Kafka brokers."""

    kafka_bootstrap_servers: str


class LedgerClientSettings(TlsSettings):
    """Where the ledger answers."""

    ledger_address: str


class RegistryClientSettings(TlsSettings):
    """Where the registry answers."""

    registry_address: str


class CatalogueSettings(BaseSettings):
    """The operator's catalogue: connectors, statements and handlers."""

    catalogue: Path | None = Field(None, description="The catalogue file.")
