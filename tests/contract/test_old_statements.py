"""The release before runs on the newest schema: each statement that it sends is planned there.

While a release is rolled out its `pre` migrations have run, and the old code is not gone yet. What
is in `released/sql` is all SQL of that code but migrations. PostgreSQL plans it as who sends it, so
that a table, a column, a type or a right that is gone is found, without a row being touched. That
an `INSERT` leaves out a column which has become mandatory is found beside that. What a new
constraint makes of values is not.
"""

import re
import uuid
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import ledger.app
import registry.app
from devstack.infrastructure import create_database, databases, drop_database
from runtime import migrations, sqlfiles

RELEASED = Path(__file__).parent / "released" / "sql"
APPS = {"ledger": ledger.app, "registry": registry.app}
# Whose statements are sent to a schema, by which role.
SENDERS = {
    "ledger": {"ledger": ["ledger", "eventstore"], "relay": ["outbox_relay"]},
    "registry": {"registry": ["registry", "eventstore"], "relay": ["outbox_relay"]},
}
ACROSS = {"eventstore/audit/insert"}
"""Sent by the role that sees all namespaces, which a service becomes for a transaction."""
PIECES = {"eventstore/outbox/put_back"}
"""The end of a statement whose beginning is another block."""
BEGINNINGS = {
    "eventstore/outbox/events_of_stream": "eventstore/outbox/put_back",
    "eventstore/outbox/events_in_range": "eventstore/outbox/put_back",
}
_LOCK = re.compile(r"^LOCK TABLE ", re.MULTILINE)
_INSERT = re.compile(r"INSERT INTO (\w+)(?: AS \w+)? \(([^)]*)\)")


def statements(package):
    """Return the statements that a released package sends, by name."""
    blocks = {
        f"{package}/{file.stem}/{name}": text
        for file in sorted((RELEASED / package).glob("*.sql"))
        for name, text in sqlfiles.blocks(file.read_text(encoding="utf-8"), file.name).items()
    }
    for name, end in BEGINNINGS.items():
        if name in blocks:
            blocks[name] = f"WITH event AS (\n{blocks[name]}\n), {blocks[end]}"
    return {name: text for name, text in blocks.items() if name not in PIECES}


class Schema:
    """A service's schema with every `pre` migration of now, in a transaction that is undone."""

    def __init__(self, connection, service):
        self._connection = connection
        self._service = service

    def change(self, statement):
        """Do what a migration might."""
        self._connection.execute(statement)

    def refused(self):
        """Return the statements that the old code sends in vain, each with the reason."""
        found = {}
        for role, packages in SENDERS[self._service].items():
            for name, text in (one for of in packages for one in statements(of).items()):
                sender = f"{role}_across" if name in ACROSS else role
                problem = self._problem(sender, text)
                if problem is not None:
                    found[f"{sender}: {name}"] = problem
        return found

    def _problem(self, role, text):
        try:
            with self._connection.transaction():
                self._connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
                self._plan(text)
                # As it was, for the next one: it is undone with the block only if that fails.
                self._connection.execute("RESET ROLE")
        except psycopg.Error as exc:
            return str(exc).splitlines()[0]
        return self._left_out(text)

    def _plan(self, text):
        if _LOCK.search(text):
            self._connection.execute(text)  # nothing to plan; it ends with the transaction
            return
        self._connection.execute(f"PREPARE sent AS {text}")
        (count,) = self._connection.execute(
            "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'sent'"
        ).fetchone()
        values = f"({', '.join(['NULL'] * count)})" if count else ""
        self._connection.execute(f"EXPLAIN EXECUTE sent{values}")
        self._connection.execute("DEALLOCATE sent")

    def _left_out(self, text):
        for table, columns in _INSERT.findall(text):
            given = {one.strip() for one in columns.split(",")}
            rows = self._connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0"
                " AND attnotnull AND NOT atthasdef AND attidentity = '' AND NOT attisdropped",
                [f"{self._service}.{table}"],
            ).fetchall()
            missing = {name for (name,) in rows} - given
            if missing:
                return f"INSERT INTO {table} leaves out {', '.join(sorted(missing))}"
        return None


@pytest.fixture(scope="module", params=sorted(APPS))
def migrated_dsn(request, endpoints):
    """The superuser's DSN of a database in which one service's `pre` migrations have run."""
    service = request.param
    name = f"rollout_{uuid.uuid4().hex[:8]}"
    made = create_database(endpoints, name)
    migrations.apply(
        made.dsn(databases.owner(service)),
        schema=service,
        sources=APPS[service].MIGRATIONS,
        phase="pre",
    )
    yield service, made.dsn()
    drop_database(endpoints, name)


@pytest.fixture
def schema(migrated_dsn):
    """That schema; what a test changes is undone."""
    service, dsn = migrated_dsn
    with psycopg.connect(dsn) as connection:
        connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(service)))
        # A plan for any value: NULL would let whole branches be left out.
        connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        yield Schema(connection, service)
        connection.rollback()


def test_what_the_old_code_sends_is_still_taken(schema):
    assert not schema.refused()


BREAKS = {
    "a column that is gone": ("ALTER TABLE events DROP COLUMN key", "events"),
    "a table of another name": ("ALTER TABLE outbox_pending RENAME TO waiting", "outbox_pending"),
    "a right that is taken away": ("REVOKE SELECT ON outbox_pending FROM relay", "permission"),
    "a column that has become mandatory": (
        "ALTER TABLE events ADD COLUMN shade text NOT NULL",
        "leaves out shade",
    ),
}


@pytest.mark.parametrize("migrated_dsn", ["registry"], indirect=True)
@pytest.mark.parametrize("change", BREAKS)
def test_a_migration_that_breaks_the_old_code_is_found(schema, change):
    statement, said = BREAKS[change]
    schema.change(statement)
    assert any(said in reason for reason in schema.refused().values())
