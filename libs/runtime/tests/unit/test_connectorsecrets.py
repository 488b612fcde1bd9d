from pathlib import Path
from typing import Any

import pytest

from contracts.catalogue import Catalogue
from runtime import connectorsecrets
from runtime.errors import ConfigurationError


def _catalogue(**connector: Any) -> Catalogue:
    postgres = {**connector, "statements": {"all": {"sql": "SELECT 1"}}}
    return Catalogue.model_validate({"connectors": {"db": {"postgres": postgres}}})


def test_a_secret_is_in_the_environment_or_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_DSN", "postgresql://localhost/billing")
    by_name = _catalogue(dsnEnv="BILLING_DSN")
    connectorsecrets.check(by_name, environment="local")
    connector = by_name.connectors["db"].postgres
    assert connectorsecrets.dsn("db", connector) == "postgresql://localhost/billing"

    secret = tmp_path / "dsn"
    secret.write_text("postgresql://old\n", encoding="utf-8")
    by_path = _catalogue(dsnFile=str(secret))
    connectorsecrets.check(by_path, environment="local")
    connector = by_path.connectors["db"].postgres
    assert connectorsecrets.dsn("db", connector) == "postgresql://old"
    secret.write_text("postgresql://new\n", encoding="utf-8")
    assert connectorsecrets.dsn("db", connector) == "postgresql://new", "a rotated one is seen"


def test_nothing_is_asked_for_without_connectors() -> None:
    connectorsecrets.check(Catalogue(), environment="local")
    calls = {"url": "https://crm.test", "tokenEnv": "NOT_SET", "calls": {"PUT /a": {}}}
    connectorsecrets.check(
        Catalogue.model_validate({"connectors": {"crm": {"http": calls}}}), environment="local"
    )


@pytest.mark.parametrize(
    ("connector", "says"),
    [
        ({"dsnEnv": "NOT_THERE"}, "connector db: the environment variable NOT_THERE is not set"),
        ({"dsnFile": "/nowhere/dsn"}, "connector db: /nowhere/dsn cannot be read"),
        ({"dsnFile": "/dev/null"}, "connector db: /dev/null is empty"),
    ],
)
def test_a_secret_that_is_not_there_is_one_sentence(connector: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        connectorsecrets.check(_catalogue(**connector), environment="local")


def test_outside_of_local_no_secret_is_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = _catalogue(dsnEnv="BILLING_DSN")
    monkeypatch.setenv("BILLING_DSN", "postgresql://u:canary@db/billing")
    with pytest.raises(ConfigurationError, match="BILLING_DSN holds a password") as caught:
        connectorsecrets.check(by_name, environment="prod")
    assert "canary" not in str(caught.value)
    connectorsecrets.check(by_name, environment="local")
    monkeypatch.setenv("BILLING_DSN", "postgresql://u@db/billing?sslmode=verify-full")
    connectorsecrets.check(by_name, environment="prod")
    crm = {"url": "https://crm.test", "tokenEnv": "CRM", "paths": {"/a": {}}}
    token = Catalogue.model_validate({"connectors": {"crm": {"http": crm}}})
    monkeypatch.setenv("CRM", "canary")
    with pytest.raises(ConfigurationError, match="connector crm: tokenEnv is for a machine"):
        connectorsecrets.check(token, environment="stage")
