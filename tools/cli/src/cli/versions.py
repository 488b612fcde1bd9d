"""Versions of definitions that are tried: one that is stored, or one in a file, compiled."""

from pydantic import ValidationError

from cli import definition_files
from cli.clients import Clients
from cli.errors import CliError, UsageError
from cli.kinds import Kind
from contracts import definitions
from rules.backtests import Version
from rules.errors import DecisionError


def number(option: str, text: str) -> int:
    """Return the version that an option says: 8, for `8` or `v8`. Raises UsageError."""
    digits = text.removeprefix("v")
    if not (digits.isascii() and digits.isdecimal() and 0 < int(digits) < 2**63):
        raise UsageError(f"{option} is a version, such as v8, not {text!r}")
    return int(digits)


async def stored(clients: Clients, definition_id: str, number: int) -> Version:
    """Return a version out of the registry.

    Raises:
        CliError: there is none, or it cannot be read or compiled by this release.
    """
    resource = await clients.registry.resource(Kind.DEFINITION, definition_id, version=number)
    try:
        return Version.of(definitions.load(resource.content), resource.version)
    except (ValidationError, DecisionError) as exc:
        raise CliError(
            f"version {number} of {definition_id} cannot be read by this release: {exc}"
        ) from exc


async def chosen(
    clients: Clients, definition_id: str, *, option: str, version: str, file: str
) -> Version:
    """Return the version that an option names, or else that of a file, as the one to come.

    Raises:
        UsageError: the option says no version, or the file holds another definition.
        CliError: the version cannot be had, or cannot run.
    """
    if not file:
        return await stored(clients, definition_id, number(option, version))
    definition = definition_files.load(file)
    metadata = definition.metadata
    if (metadata.id, metadata.namespace) != (definition_id, clients.namespace):
        raise UsageError(
            f"{file} is {metadata.id} in namespace {metadata.namespace}, not {definition_id} in "
            f"{clients.namespace}"
        )
    current = await clients.registry.resource(Kind.DEFINITION, definition_id)
    try:
        return Version.of(definition, current.current_version + 1)
    except DecisionError as exc:
        raise CliError(f"{file}: {exc}") from exc
