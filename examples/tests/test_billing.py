from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

SQL = "billing.sql"


@pytest.fixture
async def billing(examples: Path, postgres_dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_dsn)
    script = (examples / SQL).read_text(encoding="utf-8")
    await connection.execute(script)
    await connection.execute(script)  # the demo runs it every time
    yield connection
    await connection.close()


def statement(examples: Path) -> str:
    document = yaml.safe_load((examples / "connectors.yaml").read_text(encoding="utf-8"))
    return str(
        document["connectors"]["billing-db"]["postgres"]["statements"]["overdue_invoices"]["sql"]
    )


async def test_overdue_invoices_are_the_unpaid_ones_past_their_date(
    billing: Any, examples: Path
) -> None:
    rows = await billing.fetch(statement(examples), None)
    assert [(row["id"], row["days_overdue"]) for row in rows] == [
        ("INV-0001", 7),
        ("INV-0002", 14),
        ("INV-0006", 42),
    ]


async def test_context_role_reads_and_cannot_write(billing: Any, examples: Path) -> None:
    await billing.execute("SET ROLE context_ro")
    assert await billing.fetch(statement(examples), None)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await billing.execute("UPDATE invoices SET paid_at = now()")
