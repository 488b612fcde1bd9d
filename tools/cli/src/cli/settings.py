"""Where the services are: from the environment, else from the file that a running stack writes."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import SettingsConfigDict

from cli.errors import UsageError
from contracts import identifiers
from runtime.settings import TlsSettings

STATE_FILE = Path(".backbone") / "env"


class Settings(TlsSettings):
    """Addresses (host:port), the namespace, and who we are where TLS is on.

    The authority alone is enough for whoever shows a token. Each is `BACKBONE_<NAME>`; an address
    that is absent matters only to the commands that need it.
    """

    model_config = SettingsConfigDict(
        env_prefix="BACKBONE_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    namespace: str = Field("dev", pattern=identifiers.NAMESPACE_PATTERN, max_length=63)
    registry_address: str | None = None
    ledger_address: str | None = None
    router_address: str | None = None
    kafka_bootstrap_servers: str | None = None
    otlp_endpoint: str | None = None
    trace_sample_ratio: float = Field(1.0, ge=0, le=1)
    token_file: Path | None = None
    token: SecretStr | None = None

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        pair = [self.tls_certificate, self.tls_private_key]
        if any(pair) and not all([*pair, self.tls_client_ca]):
            raise ValueError(
                "a certificate needs BACKBONE_TLS_CERTIFICATE, BACKBONE_TLS_PRIVATE_KEY and "
                "BACKBONE_TLS_CLIENT_CA together"
            )
        if self.token_file is not None and self.token is not None:
            raise ValueError(
                "BACKBONE_TOKEN_FILE and BACKBONE_TOKEN may say two things: set one of them"
            )
        return self


def load(env_file: Path | None, *, start: Path | None = None) -> Settings:
    """Read the settings; without `env_file`, from the nearest `.backbone/env` upwards of `start`.

    The environment goes before the file. `start` is the current folder unless given.

    Raises:
        UsageError: the file is not there, or a setting is malformed.
    """
    if env_file is not None and not env_file.is_file():
        raise UsageError(f"there is no file {env_file} (--env-file)")
    found = env_file or nearest(start or Path.cwd())
    try:
        return Settings(_env_file=found)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        name = "_".join(str(part) for part in error["loc"][:1]).upper() or "TLS"
        raise UsageError(f"setting BACKBONE_{name}: {error['msg']}") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{found} cannot be read: {exc}") from exc


def nearest(start: Path) -> Path | None:
    """Return the `.backbone/env` of `start` or of the nearest folder above it, None without one."""
    for folder in (start, *start.parents):
        candidate = folder / STATE_FILE
        if candidate.is_file():
            return candidate
    return None
