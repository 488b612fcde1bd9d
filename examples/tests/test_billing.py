from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from contracts.catalogue import Catalogue, Statement
from orchestrator_worker.domain import values
from rules import jsonschemas

SQL = "billing.sql"


@pytest.fixture
async def billing(examples: Path, postgres_dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_dsn)
    script = (examples / SQL).read_text(encoding="utf-8")
    await connection.execute(script)
    await connection.execute(script)  # the demo runs it every time
    yield connection
    await connection.close()


@pytest.fixture
def statement(catalogue: Catalogue) -> Statement:
    connector = catalogue.connectors["billing-db"].postgres
    assert connector is not None
    return connector.statements["overdue_invoices"]


async def test_overdue_invoices_are_the_unpaid_ones_past_their_date(
    billing: Any, statement: Statement
) -> None:
    rows = await billing.fetch(statement.sql, None)
    assert [(row["id"], row["days_overdue"]) for row in rows] == [
        ("INV-0001", 7),
        ("INV-0002", 14),
        ("INV-0006", 42),
    ]


async def test_what_the_statement_answers_is_what_the_catalogue_says(
    billing: Any, statement: Statement
) -> None:
    rows = [values.to_json(dict(row)) for row in await billing.fetch(statement.sql, None)]
    assert statement.result is not None
    assert jsonschemas.validate(statement.result, rows) == []
    assert jsonschemas.validate(statement.result, [*rows, {"id": 1}])


async def test_context_role_reads_and_cannot_write(billing: Any, statement: Statement) -> None:
    await billing.execute("SET ROLE context_ro")
    assert await billing.fetch(statement.sql, None)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await billing.execute("UPDATE invoices SET paid_at = now()")
