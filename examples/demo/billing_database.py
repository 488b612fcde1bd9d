"""The examples' billing database, beside Backbone's own on the same PostgreSQL."""

import asyncpg

DATABASE = "billing"
ROLE = "context_ro"
_TIMEOUT_S = 30.0


async def prepare(superuser_dsn: str, *, billing_dsn: str, script: str, password: str) -> None:
    """Make the database, run `script` in it and give its reader a password; idempotent.

    Args:
        superuser_dsn: Of any database of the server.
        billing_dsn: The superuser's, of the database `billing`.
        script: The SQL of the schema and the generated data.
        password: Hexadecimal text.
    """
    connection = await asyncpg.connect(superuser_dsn, timeout=_TIMEOUT_S)
    try:
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE
        ):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()
    connection = await asyncpg.connect(billing_dsn, timeout=_TIMEOUT_S)
    try:
        await connection.execute("SET client_min_messages = warning")
        await connection.execute(script)
        # DDL takes no parameters; the password is our own hexadecimal text.
        await connection.execute(f"ALTER ROLE {ROLE} PASSWORD '{bytes.fromhex(password).hex()}'")
    finally:
        await connection.close()
