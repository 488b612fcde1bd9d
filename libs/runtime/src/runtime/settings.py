"""Settings: read once from the environment (`BACKBONE_*`), typed, frozen.

A service combines the mixins it needs: `class Settings(GrpcServerSettings, PostgresSettings,
ServiceSettings)`. Only `app` and `__main__` read them; adapters receive values.
"""

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


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


class ServiceSettings(TlsSettings):
    """What every service has; without certificates it is only local, see `TlsFiles.required`."""

    model_config = SettingsConfigDict(
        env_prefix="BACKBONE_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        # What was wrong is told without what it was: that may be a secret.
        hide_input_in_errors=True,
    )

    environment: Literal["local", "dev", "stage", "prod"] = "prod"
    namespaces: tuple[str, ...] = Field(("dev",), min_length=1)
    http_listen: str = Field("127.0.0.1:0", description="host:port of health and metrics.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otlp_endpoint: str | None = Field(
        None, description="OTLP/gRPC collector; none exports nothing."
    )
    trace_sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Which part of the traces that begin here is recorded; others are as they were "
        "begun.",
    )
    shutdown_grace: timedelta = Field(
        timedelta(seconds=20), description="How long work in flight may take to end after SIGTERM."
    )


class TokenSettings(ServiceSettings):
    """Whose tokens are believed, and what they say where; see `docs/authorisation.md`."""

    oidc_issuer: str | None = Field(
        None, description="Whose tokens say who calls, exactly as they say it; none takes none."
    )
    oidc_audience: str | None = Field(None, description="For whom tokens have to be meant: us.")
    oidc_jwks_url: str | None = Field(
        None, description="Where the issuer's keys are (`jwks_uri`); https but locally."
    )
    oidc_ca: Path | None = Field(
        None, description="Whom to trust there; without it whom this machine trusts."
    )
    oidc_name_claim: str = Field("sub", description="The claim with a person's name.")
    oidc_roles_claim: str = Field("backbone_roles", description="The claim with a list of roles.")
    oidc_namespaces_claim: str = Field(
        "backbone_namespaces", description="The claim with a list of namespaces; `*` is all."
    )
    oidc_groups_claim: str = Field("groups", description="The claim with a list of groups.")
    oidc_leeway: timedelta = Field(
        timedelta(seconds=30),
        ge=timedelta(0),
        le=timedelta(minutes=5),
        description="How far the issuer's clock may be from ours.",
    )
    oidc_max_lifetime: timedelta = Field(
        timedelta(days=1), gt=timedelta(0), description="How long a token may live at most."
    )

    @model_validator(mode="after")
    def _tokens_are_whole(self) -> Self:
        given = [self.oidc_issuer, self.oidc_audience, self.oidc_jwks_url]
        if any(given) and not all(given):
            raise ValueError(
                "tokens need BACKBONE_OIDC_ISSUER, BACKBONE_OIDC_AUDIENCE and "
                "BACKBONE_OIDC_JWKS_URL together"
            )
        if not self._is_safe(self.oidc_jwks_url):
            raise ValueError(
                "who changes the issuer's keys on their way is everybody: "
                "BACKBONE_OIDC_JWKS_URL has to begin with https://"
            )
        return self

    def _is_safe(self, url: str | None) -> bool:
        """Say whether nobody on the way to `url` can change what it says; locally nobody is."""
        allowed = ("https://",) if self.environment != "local" else ("https://", "http://")
        return url is None or url.startswith(allowed)


class GrpcServerSettings(TokenSettings):
    """A gRPC server, and whose word it takes for who calls; see `docs/authorisation.md`."""

    grpc_listen: str = Field("127.0.0.1:0", description="host:port of gRPC.")
    trust_domain: str = Field(
        "backbone",
        pattern=r"^[a-z0-9.-]{1,255}$",
        description="Whose certificates say who calls; names of another trust domain are nobody's.",
    )
    people_listen: str | None = Field(
        None,
        description="host:port of gRPC for people, who show a token and no certificate; none is "
        "not there.",
    )

    @model_validator(mode="after")
    def _tokens_are_known_and_hidden(self) -> Self:
        if self.people_listen is not None and not self.oidc_issuer:
            raise ValueError(
                "BACKBONE_PEOPLE_LISTEN is for people with tokens: it needs BACKBONE_OIDC_ISSUER, "
                "BACKBONE_OIDC_AUDIENCE and BACKBONE_OIDC_JWKS_URL"
            )
        if self.oidc_issuer and self.tls_certificate is None:
            raise ValueError(
                "tokens in the clear are everybody's: BACKBONE_OIDC_ISSUER needs "
                "BACKBONE_TLS_CERTIFICATE and its companions"
            )
        return self


class PostgresSettings(BaseSettings):
    """A service's own database."""

    postgres_dsn: SecretStr
    postgres_password_file: Path | None = Field(
        None,
        description="File of the password, read for each connection. With certificates the DSN "
        "itself must not hold one.",
    )
    postgres_pool_size: int = Field(8, ge=1, le=100)


class SigningSettings(BaseSettings):
    """What signs the events and the checkpoints of an event store; see `runtime.signingkeys`."""

    signing_key: Path | None = Field(
        None, description="File of the key of the events that are emitted; may lack only if local."
    )
    checkpoint_key: Path | None = Field(
        None, description="File of the key of checkpoints; may lack only if local."
    )


Encryption = Literal["off", "accept", "required"]


class EncryptionSettings(BaseSettings):
    """What is encrypted at rest, and with which keys; see `runtime.encryption`."""

    encryption: Encryption | None = Field(
        None,
        description="required encrypts and takes nothing in the clear, accept encrypts and takes "
        "both, off does not encrypt; without a word required, save where the environment is local "
        "and there are no keys.",
    )
    data_keys: Path | None = Field(
        None, description="The file of the data keys; may lack only when nothing is encrypted."
    )


class TemporalSettings(EncryptionSettings):
    """The Temporal server; each namespace is a Temporal namespace of the same name."""

    temporal_address: str
    temporal_token_file: Path | None = Field(
        None,
        description="File of the token that says what we may do there; read when it changes. "
        "Without it Temporal knows us by certificate alone.",
    )


class TemporalWorkerSettings(TemporalSettings, ServiceSettings):
    """A process that serves task queues."""

    graceful_shutdown: timedelta = Field(
        timedelta(seconds=10),
        ge=timedelta(0),
        description="How long what is under way may go on after SIGTERM before it is cancelled.",
    )
    temporal_metrics_listen: str | None = Field(
        None,
        pattern=r"^\S+:\d{1,5}$",
        description="host:port of the metrics of Temporal's own SDK; none is not there.",
    )

    @model_validator(mode="after")
    def _cancelled_before_abandoned(self) -> Self:
        if self.graceful_shutdown >= self.shutdown_grace:
            raise ValueError(
                "BACKBONE_GRACEFUL_SHUTDOWN has to be shorter than BACKBONE_SHUTDOWN_GRACE: what "
                "is cancelled then still has to tell Temporal"
            )
        return self


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
