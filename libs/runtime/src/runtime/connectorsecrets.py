"""Reads the secrets of looking at systems, and says in one sentence what is missing."""

import os
from collections.abc import Mapping
from pathlib import Path

from contracts.catalogue import Catalogue, HttpConnector, PostgresConnector
from runtime import databases, secretfiles
from runtime.errors import ConfigurationError, SecretUnreadableError

_SHORTEST_KEY = 32


def check(catalogue: Catalogue, *, environment: str) -> None:
    """Return when the secret of every connector that runs look at can be read.

    Raises:
        ConfigurationError: one cannot, or is in a variable where the environment is not local:
            variables are dumped and inherited, files are not.
    """
    if environment != "local":
        in_files(catalogue)
    for name, connector in catalogue.connectors.items():
        if connector.postgres is not None:
            dsn(name, connector.postgres)
        # One that only has calls is the built-in handlers' alone.
        if connector.http is not None and connector.http.paths:
            token(name, connector.http)


def in_files(catalogue: Catalogue, variables: Mapping[str, str] = os.environ) -> None:
    """Return when no secret of a connector is in a variable; a DSN without a password is none.

    Raises:
        ConfigurationError: one is.
    """
    for name, connector in catalogue.connectors.items():
        http, postgres = connector.http, connector.postgres
        if http is not None and http.token_env is not None:
            raise ConfigurationError(
                f"connector {name}: tokenEnv is for a machine of one's own; name a file (tokenFile)"
            )
        variable = None if postgres is None else postgres.dsn_env
        if variable is not None and databases.holds_password(variables.get(variable, "")):
            raise ConfigurationError(
                f"connector {name}: {variable} holds a password, which is for a machine of one's "
                "own; name a file (dsnFile)"
            )


def dsn(
    name: str, connector: PostgresConnector, environment: Mapping[str, str] = os.environ
) -> str:
    """Return the DSN of a connector, read now, so that a rotated secret is seen.

    Raises:
        ConfigurationError: the variable is not set, or the file is missing or empty.
    """
    found = _read(name, connector.dsn_env, connector.dsn_file, environment)
    try:
        return databases.well_formed(found)
    except ConfigurationError as exc:
        raise ConfigurationError(f"connector {name}: {exc}") from None


def token(
    name: str, connector: HttpConnector, environment: Mapping[str, str] = os.environ
) -> str | None:
    """Return the token of a connector, read now; None for one that has none.

    Raises:
        ConfigurationError: the variable is not set, the file is missing or empty, or what it holds
            cannot stand in a header.
    """
    if connector.token_env is None and connector.token_file is None:
        return None
    found = _read(name, connector.token_env, connector.token_file, environment)
    if not found.isascii() or not found.isprintable():
        raise ConfigurationError(f"connector {name}: the token is not one line of printable ASCII")
    return found


def redaction_key(path: Path | None) -> bytes | None:
    """Return the key in a file; None without a file.

    Raises:
        ConfigurationError: the file cannot be read, or its key is too short to keep a secret.
    """
    if path is None:
        return None
    try:
        found = path.read_bytes().strip()
    except OSError as exc:
        raise ConfigurationError(f"the redaction key {path} cannot be read: {exc}") from exc
    if len(found) < _SHORTEST_KEY:
        raise ConfigurationError(
            f"the redaction key {path} has {len(found)} bytes, fewer than {_SHORTEST_KEY}"
        )
    return found


def _read(name: str, variable: str | None, file: str | None, environment: Mapping[str, str]) -> str:
    if variable is not None:
        found = environment.get(variable, "")
        if not found:
            raise ConfigurationError(
                f"connector {name}: the environment variable {variable} is not set"
            )
        return found
    try:
        return secretfiles.read(Path(file or ""))
    except SecretUnreadableError as exc:
        raise ConfigurationError(f"connector {name}: {exc}") from exc
