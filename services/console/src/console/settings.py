"""What the console is told: where it listens, whom it asks, and who its visitors are."""

import getpass
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from runtime.settings import LedgerClientSettings, RegistryClientSettings, TokenSettings


class Settings(RegistryClientSettings, LedgerClientSettings, TokenSettings):
    """Addresses are of the people's port where visitors show tokens; see `console_people`."""

    router_address: str
    console_listen: str = Field("127.0.0.1:0", description="host:port of the pages.")
    console_people: bool | None = Field(
        None,
        description="Whether visitors sign in with a token, which goes with every call of theirs: "
        "without a word everywhere but where the environment is local.",
    )
    console_actor: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9@._:/-]{0,127}$",
        description="Who visitors are where they do not sign in: without a word the user of the "
        "operating system. Local only.",
    )
    console_origin: str | None = Field(
        None,
        pattern=r"^https?://[A-Za-z0-9.-]+(:\d{1,5})?$",
        description="Under which origin the pages are reached (https://console.example.com), when "
        "something that ends TLS stands before them.",
    )
    console_client_id: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="As which client of the issuer (BACKBONE_OIDC_ISSUER) the console signs people "
        "in; none has them bring a token along.",
    )
    console_client_secret_file: Path | None = Field(
        None, description="File of the client's secret; none for a client that has none."
    )
    console_discovery_url: str | None = Field(
        None,
        description="Where the issuer describes itself; without a word "
        "<issuer>/.well-known/openid-configuration.",
    )
    console_scopes: tuple[str, ...] = Field(
        ("openid",),
        description="What the issuer is asked for: openid, and with offline_access (or by the "
        "issuer's own rules) what renews a session.",
    )
    console_forwards: Literal["access_token", "id_token"] = Field(
        "access_token",
        description="Which of the issuer's tokens goes to the services: the one that has their "
        "audience.",
    )
    console_ends_issuer_session: bool = Field(
        default=True,
        description="Whether who signs out is sent on to the issuer, to sign out there, where it "
        "says how.",
    )
    temporal_ui_url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="Temporal's own UI, to link to; none for none."
    )
    call_timeout: timedelta = Field(
        timedelta(seconds=10), gt=timedelta(0), description="How long a call to a service may take."
    )
    request_timeout: timedelta = Field(
        timedelta(seconds=30), gt=timedelta(0), description="How long a page may take in all."
    )
    body_timeout: timedelta = Field(
        timedelta(seconds=10), gt=timedelta(0), description="How long a form may take to come."
    )
    max_body_bytes: int = Field(
        4 * 1024 * 1024, ge=64 * 1024, description="How large a form may be, files included."
    )

    @model_validator(mode="after")
    def _nobody_is_somebody_else(self) -> Self:
        if self.environment != "local" and (self.console_actor or not self.signs_in):
            raise ValueError(
                "without signing in everybody would be the same person: BACKBONE_CONSOLE_ACTOR and "
                "BACKBONE_CONSOLE_PEOPLE=false are for BACKBONE_ENVIRONMENT=local only"
            )
        return self

    @model_validator(mode="after")
    def _who_signs_in_comes_back(self) -> Self:
        if self.console_client_id is None:
            return self
        if not self.signs_in or not self.oidc_issuer or not self.console_origin:
            raise ValueError(
                "signing in at an issuer (BACKBONE_CONSOLE_CLIENT_ID) needs BACKBONE_OIDC_ISSUER, "
                "BACKBONE_OIDC_AUDIENCE, BACKBONE_OIDC_JWKS_URL and BACKBONE_CONSOLE_ORIGIN, and "
                "visitors who sign in"
            )
        if "openid" not in self.console_scopes:
            raise ValueError("BACKBONE_CONSOLE_SCOPES has to hold openid: it asks for an ID token")
        for name, url in (
            ("BACKBONE_CONSOLE_ORIGIN", self.console_origin),
            ("BACKBONE_CONSOLE_DISCOVERY_URL", self.discovery_url),
        ):
            if not self._is_safe(url):
                raise ValueError(f"what signs people in is in the clear: {name} has to be https://")
        return self

    @property
    def discovery_url(self) -> str:
        """Where the issuer describes itself."""
        issuer = (self.oidc_issuer or "").rstrip("/")
        return self.console_discovery_url or f"{issuer}/.well-known/openid-configuration"

    @property
    def signs_in(self) -> bool:
        """Whether visitors sign in with a token."""
        return self.environment != "local" if self.console_people is None else self.console_people

    @property
    def actor(self) -> str:
        """Who visitors are where they do not sign in."""
        if self.console_actor is not None:
            return self.console_actor
        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return "unknown"
