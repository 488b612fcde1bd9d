from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from contracts.catalogue import PostgresConnector
from contracts.definitions import StatementQuery
from orchestrator_worker.adapters.postgres_context import PostgresContextSource
from orchestrator_worker.errors import ConnectorError, ContextUnavailableError, StatementError

STATEMENTS: dict[str, Any] = {
    "overdue": {
        "sql": "SELECT id, amount, due, note FROM invoices WHERE due < $1 ORDER BY id",
        "parameters": [{"name": "until", "type": "timestamptz"}],
        "maxRows": 150,
    },
    "heavy": {
        "sql": "SELECT repeat('x', 300) AS text FROM generate_series(1, 50)",
        "maxBytes": 10_000,
    },
    "typed": {
        "sql": "SELECT $1::text AS t, $2::bigint AS i, $3::numeric AS n, $4::bool AS b,"
        " $5::timestamptz AS z, $6::date AS d, $7::text AS missing",
        "parameters": [
            {"name": "t", "type": "text"},
            {"name": "i", "type": "integer"},
            {"name": "n", "type": "number"},
            {"name": "b", "type": "boolean"},
            {"name": "z", "type": "timestamptz"},
            {"name": "d", "type": "date"},
            {"name": "missing", "type": "text", "nullable": True},
        ],
    },
    "kinds": {
        "sql": "SELECT '00000000-0000-0000-0000-000000000001'::uuid AS id,"
        " '{\"a\": [1, 2.5]}'::jsonb AS document, ARRAY[1, 2] AS numbers,"
        " 12.50::numeric AS price, now() AS at, NULL AS nothing"
    },
    "binary": {"sql": "SELECT '\\x00'::bytea AS content"},
    "writes": {"sql": "DELETE FROM invoices RETURNING id"},
    "slow": {"sql": "SELECT pg_sleep(30)"},
    "wrong": {"sql": "SELECT nothing FROM nowhere"},
    "twice": {"sql": "SELECT 1 AS a, 2 AS a"},
    "divides": {
        "sql": "SELECT 1 / $1::int AS x",
        "parameters": [{"name": "by", "type": "integer"}],
    },
    "mistyped": {
        "sql": "SELECT id FROM invoices WHERE due < $1",
        "parameters": [{"name": "until", "type": "text"}],
    },
}


def _connectors(statements: dict[str, Any]) -> dict[str, PostgresConnector]:
    return {
        "billing-db": PostgresConnector.model_validate(
            {"dsnEnv": "UNUSED", "statementTimeout": "1s", "statements": statements}
        )
    }


@pytest.fixture
async def source(postgres_dsn: str) -> AsyncIterator[PostgresContextSource]:
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(
        "CREATE TABLE invoices (id int PRIMARY KEY, amount numeric, due timestamptz, note text)"
    )
    await connection.execute(
        "INSERT INTO invoices SELECT n, n + 0.5, '2026-01-01T00:00:00Z'::timestamptz"
        " + n * interval '1 day', repeat('x', n) FROM generate_series(1, 200) n"
    )
    await connection.close()
    source = PostgresContextSource(
        _connectors(STATEMENTS), dsn=lambda _name, _connector: postgres_dsn
    )
    yield source
    await source.close()


async def _ask(
    source: PostgresContextSource,
    statement: str,
    parameters: dict[str, Any],
    *,
    connector: str = "billing-db",
) -> Any:
    query = StatementQuery(connector=connector, statement=statement)
    return await source.query("context looked_at", query, parameters)


async def test_rows_are_objects_of_json_values(source: PostgresContextSource) -> None:
    rows = await _ask(source, "overdue", {"until": "2026-01-04T00:00:00Z"})
    assert rows == [
        {"id": 1, "amount": 1.5, "due": "2026-01-02T00:00:00Z", "note": "x"},
        {"id": 2, "amount": 2.5, "due": "2026-01-03T00:00:00Z", "note": "xx"},
    ]


async def test_no_rows_are_an_empty_list(source: PostgresContextSource) -> None:
    assert await _ask(source, "overdue", {"until": "2020-01-01T00:00:00Z"}) == []


async def test_parameters_arrive_as_they_are_declared(source: PostgresContextSource) -> None:
    given = {
        "t": "it's; DROP TABLE invoices",
        "i": 2**40,
        "n": 0.1,
        "b": True,
        "z": "2026-01-01T01:00:00+01:00",
        "d": "2026-01-31",
        "missing": None,
    }
    assert await _ask(source, "typed", given) == [{**given, "z": "2026-01-01T00:00:00Z"}]


async def test_database_types_become_json(source: PostgresContextSource) -> None:
    (row,) = await _ask(source, "kinds", {})
    assert row.pop("at").endswith("Z")
    assert row == {
        "id": "00000000-0000-0000-0000-000000000001",
        "document": {"a": [1, 2.5]},
        "numbers": [1, 2],
        "price": 12.5,
        "nothing": None,
    }


@pytest.mark.parametrize(
    ("statement", "parameters", "says"),
    [
        ("overdue", {"until": "2027-01-01T00:00:00Z"}, "more than the 150 rows"),
        ("heavy", {}, "more than the 10000 bytes"),
        ("overdue", {"until": "yesterday"}, "parameter until"),
        ("binary", {}, "column content: a bytes has no form"),
        ("writes", {}, "read-only transaction"),
        ("wrong", {}, "the statement failed"),
        ("twice", {}, "share a name"),
        ("divides", {"by": 0}, "division by zero"),
        ("divides", {"by": 2**40}, "out of range"),
    ],
)
async def test_what_a_statement_cannot_answer_is_final(
    source: PostgresContextSource,
    statement: str,
    parameters: dict[str, Any],
    says: str,
) -> None:
    with pytest.raises(StatementError, match=says):
        await _ask(source, statement, parameters)


@pytest.mark.parametrize(
    ("statement", "connector", "parameters", "says"),
    [
        ("overdue", "crm", {}, "no database connector crm"),
        ("absent", "billing-db", {}, "no such statement"),
        ("overdue", "billing-db", {}, "takes the parameters until"),
        ("kinds", "billing-db", {"until": 1}, "takes the parameters \\(none\\)"),
        ("mistyped", "billing-db", {"until": "x"}, "declared text, but the statement takes"),
    ],
)
async def test_what_the_operator_has_not_configured_is_final(
    source: PostgresContextSource,
    statement: str,
    connector: str,
    *,
    parameters: dict[str, Any],
    says: str,
) -> None:
    with pytest.raises(ConnectorError, match=says):
        await _ask(source, statement, parameters, connector=connector)


async def test_slow_statement_is_ended_and_may_be_tried_again(
    source: PostgresContextSource,
) -> None:
    with pytest.raises(ContextUnavailableError, match="statement timeout"):
        await _ask(source, "slow", {})


async def test_database_that_is_away_may_be_tried_again() -> None:
    source = PostgresContextSource(
        _connectors(STATEMENTS), dsn=lambda _name, _connector: "postgresql://127.0.0.1:1/nowhere"
    )
    with pytest.raises(ContextUnavailableError, match="does not answer"):
        await _ask(source, "kinds", {})
    await source.close()


async def test_check_prepares_every_statement(postgres_dsn: str) -> None:
    good = PostgresContextSource(
        _connectors({"one": {"sql": "SELECT 1 AS a"}}), dsn=lambda _n, _c: postgres_dsn
    )
    assert await good.check("billing-db") == "1 statements prepared"
    await good.close()
    bad = PostgresContextSource(
        _connectors({"one": {"sql": "SELECT $1::int AS a"}}), dsn=lambda _n, _c: postgres_dsn
    )
    with pytest.raises(ConnectorError, match="1 parameters, 0 are declared"):
        await bad.check("billing-db")
    await bad.close()
