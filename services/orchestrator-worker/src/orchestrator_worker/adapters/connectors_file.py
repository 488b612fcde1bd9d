"""Reads the connectors file, and says in one sentence what is wrong with it."""

import os
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from orchestrator_worker.domain.connectors import Connectors, PostgresConnector
from runtime.errors import ConfigurationError


def load(path: Path | None) -> Connectors:
    """Return the connectors at `path`; none without a path.

    Raises:
        ConfigurationError: the file is missing, not YAML, or not a connectors file.
    """
    if path is None:
        return Connectors()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"connectors file {path} cannot be read: {exc}") from exc
    except yaml.YAMLError as exc:
        raise ConfigurationError(f"connectors file {path} is not YAML: {exc}") from exc
    try:
        connectors = Connectors.model_validate(document)
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'file'}: {error['msg']}"
            for error in exc.errors(include_url=False, include_input=False)
        )
        raise ConfigurationError(f"connectors file {path}: {problems}") from exc
    for name, connector in connectors.connectors.items():
        dsn(name, connector.postgres)
    return connectors


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
