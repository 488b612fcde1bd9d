"""Answers context queries from PostgreSQL: named statements, read-only, bounded."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from contracts import binding
from contracts.catalogue import ParameterType, PostgresConnector, Statement
from contracts.definitions import StatementQuery
from orchestrator_worker.domain import values
from orchestrator_worker.errors import ConnectorError, ContextUnavailableError, StatementError
from runtime.errors import ConfigurationError
from runtime.faultpoints import faultpoint

_CONNECT_TIMEOUT_S = 2.0
_ACQUIRE_TIMEOUT_S = 2.0
_CHUNK_ROWS = 100

# Of the database's types, those that a declared parameter may meet.
_ACCEPTED: dict[ParameterType, frozenset[str]] = {
    ParameterType.TEXT: frozenset({"text", "varchar", "bpchar", "name"}),
    ParameterType.INTEGER: frozenset({"int2", "int4", "int8", "numeric"}),
    ParameterType.NUMBER: frozenset({"float4", "float8", "numeric"}),
    ParameterType.BOOLEAN: frozenset({"bool"}),
    ParameterType.TIMESTAMPTZ: frozenset({"timestamptz"}),
    ParameterType.DATE: frozenset({"date"}),
}

_CAST: dict[ParameterType, str] = {
    ParameterType.TEXT: "text",
    ParameterType.INTEGER: "bigint",
    ParameterType.NUMBER: "double precision",
    ParameterType.BOOLEAN: "boolean",
    ParameterType.TIMESTAMPTZ: "timestamptz",
    ParameterType.DATE: "date",
}

# SQLSTATE classes that say "not now" rather than "not so".
_TRANSIENT_CLASSES = frozenset({"08", "28", "40", "53", "55", "57", "58"})


class PostgresContextSource:
    """Asks the catalogue's databases; a pool opens with its first query."""

    def __init__(
        self,
        connectors: Mapping[str, PostgresConnector],
        *,
        dsn: Callable[[str, PostgresConnector], str],
    ) -> None:
        """Ask `connectors`; `dsn(name, connector)` gives the secret when a pool opens."""
        self._connectors = connectors
        self._dsn = dsn
        self._pools: dict[str, asyncpg.Pool[asyncpg.Record]] = {}
        self._opening = asyncio.Lock()

    async def query(self, where: str, query: StatementQuery, parameters: Mapping[str, Any]) -> Any:
        """Return the rows as a list of objects (see `ports.ContextSource`)."""
        name = query.connector
        connector = self._connectors.get(name)
        if connector is None:
            raise ConnectorError(f"{where}: there is no database connector {name}")
        statement = connector.statements.get(query.statement)
        if statement is None:
            raise ConnectorError(f"{where}: the connector has no such statement")
        given = _bound(where, statement, parameters)
        try:
            async with asyncio.timeout(connector.statement_timeout.total_seconds() + 5):
                rows = await self._rows(where, name, connector, statement, given)
        except asyncpg.PostgresError as exc:
            raise _statement_error(where, exc) from exc
        except (OSError, TimeoutError, asyncpg.InterfaceError) as exc:
            raise ContextUnavailableError(
                f"{where}: the database does not answer: {exc or type(exc).__name__}"
            ) from exc
        return rows

    async def check(self, name: str) -> str:
        """Prepare every statement of a connector; return what was found.

        Raises:
            ConnectorError: a statement does not take the parameters that are declared.
            asyncpg.PostgresError: the database refuses one.
        """
        connector = self._connectors[name]
        pool = await self._pool(name, connector)
        async with pool.acquire(timeout=_ACQUIRE_TIMEOUT_S) as connection:
            for statement_name, statement in connector.statements.items():
                where = f"{name}.{statement_name}"
                _check_types(where, statement, await connection.prepare(statement.sql))
        return f"{len(connector.statements)} statements prepared"

    async def close(self) -> None:
        """Close every pool that was opened."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.close()

    async def _rows(
        self,
        where: str,
        name: str,
        connector: PostgresConnector,
        statement: Statement,
        given: Sequence[Any],
    ) -> list[dict[str, Any]]:
        pool = await self._pool(name, connector)
        async with (
            pool.acquire(timeout=_ACQUIRE_TIMEOUT_S) as connection,
            connection.transaction(readonly=True),
        ):
            prepared = await connection.prepare(statement.sql)
            types = _check_types(where, statement, prepared)
            columns = [attribute.name for attribute in prepared.get_attributes()]
            if len(set(columns)) != len(columns):
                raise StatementError(f"{where}: two columns of the result share a name")
            adapted = [_adapt(value, kind) for value, kind in zip(given, types, strict=True)]
            try:
                cursor = await prepared.cursor(*adapted)
            except (asyncpg.DataError, OverflowError, ValueError) as exc:
                raise StatementError(f"{where}: a parameter is out of range: {exc}") from exc
            rows: list[dict[str, Any]] = []
            total = 0
            while records := await cursor.fetch(_CHUNK_ROWS):
                for record in records:
                    row = _row(where, columns, record)
                    rows.append(row)
                    total += values.size(row)
                if len(rows) > statement.max_rows:
                    raise StatementError(
                        f"{where}: more than the {statement.max_rows} rows that are allowed"
                    )
                if total > statement.max_bytes:
                    raise StatementError(
                        f"{where}: more than the {statement.max_bytes} bytes that are allowed"
                    )
            faultpoint("worker.before_query")
        faultpoint("worker.after_query")
        return rows

    async def _pool(
        self, name: str, connector: PostgresConnector
    ) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._opening:
            pool = self._pools.get(name)
            if pool is None:
                timeout_ms = str(int(connector.statement_timeout.total_seconds() * 1000))
                try:
                    dsn = self._dsn(name, connector)
                except ConfigurationError as exc:
                    raise ContextUnavailableError(str(exc)) from exc
                pool = await asyncpg.create_pool(
                    dsn,
                    min_size=0,
                    max_size=connector.pool_size,
                    max_inactive_connection_lifetime=60,
                    timeout=_CONNECT_TIMEOUT_S,
                    command_timeout=connector.statement_timeout.total_seconds() + 1,
                    init=_read_json,
                    server_settings={
                        "application_name": "backbone-orchestrator-worker",
                        "default_transaction_read_only": "on",
                        "statement_timeout": timeout_ms,
                        "lock_timeout": timeout_ms,
                        "idle_in_transaction_session_timeout": "10000",
                    },
                )
                self._pools[name] = pool
            return pool


async def _read_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=json.dumps, decoder=json.loads
        )


def _bound(where: str, statement: Statement, parameters: Mapping[str, Any]) -> list[Any]:
    declared = [parameter.name for parameter in statement.parameters]
    missing = [name for name in declared if name not in parameters]
    unknown = [name for name in parameters if name not in declared]
    if missing or unknown:
        raise ConnectorError(
            f"{where}: it takes the parameters {', '.join(declared) or '(none)'}"
            f" and was given {', '.join(parameters) or '(none)'}"
        )
    bound = []
    for parameter in statement.parameters:
        try:
            bound.append(binding.bind(parameter, parameters[parameter.name]))
        except ValueError as exc:
            raise StatementError(f"{where}: parameter {parameter.name}: {exc}") from exc
    return bound


def _check_types(
    where: str, statement: Statement, prepared: "PreparedStatement[asyncpg.Record]"
) -> list[str]:
    types = [kind.name for kind in prepared.get_parameters()]
    if len(types) != len(statement.parameters):
        raise ConnectorError(
            f"{where}: the statement has {len(types)} parameters, "
            f"{len(statement.parameters)} are declared"
        )
    for position, (parameter, kind) in enumerate(
        zip(statement.parameters, types, strict=True), start=1
    ):
        if kind not in _ACCEPTED[parameter.type]:
            raise ConnectorError(
                f"{where}: parameter {parameter.name} is declared {parameter.type}, "
                f"but the statement takes {kind}; write ${position}::{_CAST[parameter.type]}"
            )
    return types


def _adapt(value: Any, kind: str) -> Any:
    # The driver takes only a Decimal for numeric, by the number's spelling and not its bits.
    if kind == "numeric" and value is not None:
        return Decimal(str(value))
    return value


def _row(where: str, columns: Sequence[str], record: asyncpg.Record) -> dict[str, Any]:
    row = {}
    for column, value in zip(columns, record.values(), strict=True):
        try:
            row[column] = values.to_json(value)
        except ValueError as exc:
            raise StatementError(f"{where}: column {column}: {exc}") from exc
    return row


def _statement_error(
    where: str, exc: asyncpg.PostgresError
) -> StatementError | ContextUnavailableError:
    state = getattr(exc, "sqlstate", None) or ""
    if state[:2] in _TRANSIENT_CLASSES:
        return ContextUnavailableError(f"{where}: the database is not ready: {exc}")
    return StatementError(f"{where}: the statement failed: {exc}")
