from pathlib import Path
from typing import Any

import pytest

from contracts.catalogue import Catalogue
from orchestrator_worker.adapters import connector_secrets
from runtime.errors import ConfigurationError


def _catalogue(**connector: Any) -> Catalogue:
    postgres = {**connector, "statements": {"all": {"sql": "SELECT 1"}}}
    return Catalogue.model_validate({"connectors": {"db": {"postgres": postgres}}})


def test_a_secret_is_in_the_environment_or_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_DSN", "postgresql://localhost/billing")
    by_name = _catalogue(dsnEnv="BILLING_DSN")
    connector_secrets.check(by_name)
    connector = by_name.connectors["db"].postgres
    assert connector_secrets.dsn("db", connector) == "postgresql://localhost/billing"

    secret = tmp_path / "dsn"
    secret.write_text("postgresql://old\n", encoding="utf-8")
    by_path = _catalogue(dsnFile=str(secret))
    connector_secrets.check(by_path)
    connector = by_path.connectors["db"].postgres
    assert connector_secrets.dsn("db", connector) == "postgresql://old"
    secret.write_text("postgresql://new\n", encoding="utf-8")
    assert connector_secrets.dsn("db", connector) == "postgresql://new", "a rotated one is seen"


def test_nothing_is_asked_for_without_connectors() -> None:
    connector_secrets.check(Catalogue())


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
        connector_secrets.check(_catalogue(**connector))
