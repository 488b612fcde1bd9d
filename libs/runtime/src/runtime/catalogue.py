"""The operator's catalogue file: read the same way by whoever checks with it and works by it."""

from pathlib import Path

from pydantic import ValidationError

from contracts.catalogue import Catalogue
from runtime import yamlfiles
from runtime.errors import ConfigurationError


def load(path: Path | None) -> Catalogue:
    """Return the catalogue at `path`; an empty one without a path.

    Raises:
        ConfigurationError: the file is missing, not YAML, or not a catalogue; one line says all.
    """
    if path is None:
        return Catalogue()
    try:
        document = yamlfiles.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"catalogue {path} cannot be read: {exc}") from exc
    except ValueError as exc:
        raise ConfigurationError(f"catalogue {path} is not YAML: {exc}") from exc
    try:
        return Catalogue.model_validate(document)
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'file'}: {error['msg']}"
            for error in exc.errors(include_url=False, include_input=False)
        )
        raise ConfigurationError(f"catalogue {path}: {problems}") from exc
