"""The context source over the whole catalogue: asks the right technology, checks the answer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from contracts.catalogue import Catalogue, HttpPath, Statement
from contracts.definitions import ContextEntry
from orchestrator_worker.adapters.http_context import HttpContextSource
from orchestrator_worker.adapters.postgres_context import PostgresContextSource
from orchestrator_worker.errors import ConnectorError, ContextShapeError
from orchestrator_worker.ports import Answer
from rules import jsonschemas
from rules.errors import SchemaError
from rules.jsonschemas import Validator
from runtime.errors import ConfigurationError


class _Promise(NamedTuple):
    """What the catalogue says of the answers to one question."""

    validator: Validator | None
    redact: Sequence[str]


class CatalogueContext:
    """Looks up entries by the connectors of a catalogue."""

    def __init__(
        self, catalogue: Catalogue, *, postgres: PostgresContextSource, http: HttpContextSource
    ) -> None:
        """Look up what `catalogue` lists.

        Raises:
            ConfigurationError: the schema of a result cannot be used.
        """
        self._catalogue = catalogue
        self._postgres = postgres
        self._http = http
        self._promises = {
            (connector, what): _Promise(_validator(connector, what, asked), asked.redact)
            for connector, what, asked in _questions(catalogue)
        }

    async def look(self, entry: ContextEntry, parameters: Mapping[str, Any]) -> Answer:
        """Return what an entry's statement or path answers (see `ports.ContextSource`)."""
        if entry.query is not None:
            question = entry.query.connector, entry.query.statement
            where = f"context {entry.name} ({'.'.join(question)})"
            value = await self._postgres.query(where, entry.query, parameters)
        elif entry.http is not None:
            question = entry.http.connector, entry.http.path
            where = f"context {entry.name} ({' '.join(question)})"
            value = await self._http.query(where, entry.http, parameters)
        else:
            raise ConnectorError(f"context {entry.name}: it names no connector")
        promise = self._promises[question]
        if promise.validator is not None:
            problems = promise.validator.problems(value, name="the answer")
            if problems:
                raise ContextShapeError(
                    f"{where}: the answer does not follow its schema: {'; '.join(problems)}"
                )
        return Answer(value, redact=promise.redact)

    async def check(self, name: str) -> str:
        """Look whether a connector's system is there; return what was found."""
        if self._catalogue.connectors[name].postgres is not None:
            return await self._postgres.check(name)
        return await self._http.check(name)

    async def close(self) -> None:
        """Close every connection."""
        await self._postgres.close()
        await self._http.close()


def _questions(catalogue: Catalogue) -> Iterator[tuple[str, str, Statement | HttpPath]]:
    for name, connector in catalogue.connectors.items():
        if connector.postgres is not None:
            for statement, asked in connector.postgres.statements.items():
                yield name, statement, asked
        if connector.http is not None:
            for path, read in connector.http.paths.items():
                yield name, path, read


def _validator(connector: str, what: str, asked: Statement | HttpPath) -> Validator | None:
    if asked.result is None:
        return None
    try:
        return jsonschemas.compile(asked.result)
    except SchemaError as exc:
        raise ConfigurationError(f"connector {connector}, {what}: result: {exc}") from exc
