"""What the console is told: where it listens, whom it asks, and who its visitors are."""

import getpass
from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from runtime.settings import LedgerClientSettings, RegistryClientSettings, ServiceSettings


class Settings(RegistryClientSettings, LedgerClientSettings, ServiceSettings):
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
