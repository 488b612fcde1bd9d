"""A definition out of a file, read and checked without the registry."""

from typing import Any

from pydantic import ValidationError

from cli.errors import CliError
from cli.session import read
from cli.sources import MAX_DOCUMENT_BYTES
from contracts.definitions import ActivityDefinition
from rules import checks
from runtime import yamlfiles


def load(path: str) -> ActivityDefinition:
    """Return the definition in a YAML or JSON file, or on standard input for `-`.

    What only the registry knows (event types, the catalogue) is not checked.

    Raises:
        UsageError: the file cannot be read.
        CliError: it holds no definition, or one that cannot run; the message names all problems.
    """
    document = parsed(path)
    try:
        definition = ActivityDefinition.model_validate(document)
    except ValidationError as exc:
        raise _refused(path, told(exc)) from exc
    problems = [f"{one.path}: {one.message}" for one in checks.problems(definition)]
    if problems:
        raise _refused(path, "; ".join(problems))
    return definition


def parsed(path: str) -> Any:
    """Return the one document in a YAML or JSON file. Raises UsageError or CliError as `load`."""
    raw = read(path, limit=MAX_DOCUMENT_BYTES + 1)
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise CliError(f"{path}: a document has at most 256 KiB, and this has more")
    try:
        return yamlfiles.parse(raw.decode("utf-8-sig"))
    except ValueError as exc:
        raise CliError(f"{path} is neither YAML nor JSON: {exc}") from exc


def told(error: ValidationError) -> str:
    """Return everything that is wrong with a document, each with its path."""
    errors = error.errors(include_url=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'document'}: {one['msg']}" for one in errors
    )


def _refused(path: str, problems: str) -> CliError:
    return CliError(f"{path} is not a definition that can run: {problems}")
