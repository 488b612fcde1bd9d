"""Reads the secrets that connectors name, and says in one sentence what is missing."""

import os
from collections.abc import Mapping
from pathlib import Path

from contracts.catalogue import Catalogue, PostgresConnector
from runtime.errors import ConfigurationError


def check(catalogue: Catalogue) -> None:
    """Return when the secret of every connector can be read.

    Raises:
        ConfigurationError: one cannot.
    """
    for name, connector in catalogue.connectors.items():
        dsn(name, connector.postgres)


def dsn(
    name: str, connector: PostgresConnector, environment: Mapping[str, str] = os.environ
) -> str:
    """Return the DSN of a connector, read now, so that a rotated secret is seen.

    Raises:
        ConfigurationError: the variable is not set, or the file is missing or empty.
    """
    if connector.dsn_env is not None:
        found = environment.get(connector.dsn_env, "")
        if not found:
            raise ConfigurationError(
                f"connector {name}: the environment variable {connector.dsn_env} is not set"
            )
        return found
    path = Path(connector.dsn_file or "")
    try:
        found = path.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise ConfigurationError(f"connector {name}: {path} cannot be read: {exc}") from exc
    if not found:
        raise ConfigurationError(f"connector {name}: {path} is empty")
    return found
