import pytest
from pydantic import ValidationError

from console.settings import Settings

WHERE = dict.fromkeys(("registry_address", "ledger_address", "router_address"), "127.0.0.1:1")
TOKENS = {
    "oidc_issuer": "https://issuer.example/",
    "oidc_audience": "backbone",
    "oidc_jwks_url": "https://issuer.example/keys",
}
SIGNING_IN = {
    **TOKENS,
    "console_client_id": "console",
    "console_origin": "https://console.example",
    "environment": "prod",
}


def settings(**given: object) -> Settings:
    return Settings(**WHERE, **given)  # type: ignore[arg-type]


def test_the_issuer_describes_itself_where_it_is_unless_told_otherwise() -> None:
    found = settings(**SIGNING_IN)
    assert found.discovery_url == "https://issuer.example/.well-known/openid-configuration"
    elsewhere = "https://elsewhere.example/description"
    assert settings(**SIGNING_IN, console_discovery_url=elsewhere).discovery_url == elsewhere


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"oidc_issuer": None}, "BACKBONE_OIDC_JWKS_URL together"),
        (dict.fromkeys(TOKENS), "needs BACKBONE_OIDC_ISSUER"),
        ({"console_origin": None}, "BACKBONE_CONSOLE_ORIGIN"),
        ({"console_origin": "http://console.example"}, "BACKBONE_CONSOLE_ORIGIN has to be https"),
        ({"console_discovery_url": "http://issuer.example"}, "DISCOVERY_URL has to be https"),
        ({"console_scopes": ("profile",)}, "has to hold openid"),
        ({"environment": "local", "console_people": False}, "visitors who sign in"),
    ],
)
def test_signing_in_that_could_not_work_or_not_be_safe_is_refused(
    given: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(**(SIGNING_IN | given))
