"""The policies cost no statement an index.

PostgreSQL looks at a policy before it calls anything that might tell of a row, which is everything
that is not marked LEAKPROOF: `position < COALESCE($2, …)` is then no condition of an index any
more, `position < (SELECT COALESCE($2, …))` is.
"""

import re
from importlib import resources

import psycopg
import pytest

import ledger.app
import registry.app
from devstack.infrastructure import create_database, drop_database
from runtime import sqlfiles

APPS = {"ledger": ledger.app, "registry": registry.app}
SHARED = ("events", "outbox")

ACROSS = {
    *("empty_task_changes", "empty_tasks", "empty_run_retries"),
    *("empty_failure_calls", "empty_runs", "empty_instances", "forget_events"),
}
"""Statements that run across all namespaces, where no policy restricts them."""

CHEAP = {
    "epochs_since": "a definition has few epochs",
    "parked": "with rows in the tables it has its index: without, two plans cost the same",
}
"""Statements that lose one, with the reason why it does not matter."""

PARTS = (psycopg.errors.SyntaxError, psycopg.errors.IndeterminateDatatype)
"""What PostgreSQL says of the parts of statements."""

_CONDITION = re.compile(r"(?:Index|TID) Cond: (.*)")
_COMPARED = re.compile(r"\(?\"?(\w+)\"? (?:<|>|=|<=|>=|@>|&&) ")


def compared(plan):
    """Return the columns that a plan finds rows by, but the namespace."""
    conditions = " ".join(_CONDITION.findall("\n".join(plan)))
    return set(_COMPARED.findall(conditions)) - {"namespace"}


def plan(connection, statement):
    """Return the lines of a statement's plan for whatever arguments, from tables without rows."""
    connection.execute("DEALLOCATE ALL")
    connection.execute(b"PREPARE asked AS " + statement.strip().rstrip(";").encode())
    (count,) = connection.execute(
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements"
    ).fetchone()
    arguments = f"({', '.join(['NULL'] * count)})" if count else ""
    rows = connection.execute(f"EXPLAIN (COSTS off) EXECUTE asked{arguments}").fetchall()
    return [line for (line,) in rows]


@pytest.fixture(params=sorted(APPS))
def service(request):
    return request.param


@pytest.fixture
def sessions(endpoints, migrated, service, unique_name):
    """Two sessions in the service's schema: one of a superuser, and its own."""
    app = APPS[service]
    template = migrated(app.SCHEMA, *app.MIGRATIONS)
    database = create_database(endpoints, unique_name, template=template)
    try:
        with (
            psycopg.connect(database.dsn(), autocommit=True, prepare_threshold=None) as free,
            psycopg.connect(
                database.dsn(service), autocommit=True, prepare_threshold=None
            ) as bound,
        ):
            for connection in (free, bound):
                connection.execute(f"SET search_path = {service}")
                connection.execute("SET backbone.namespace = 'dev'")
                # Whatever can be done by an index is, though there is nothing to find.
                for setting in ("enable_seqscan", "enable_bitmapscan", "enable_sort", "jit"):
                    connection.execute(f"SET {setting} = off")
                connection.execute("SET plan_cache_mode = force_generic_plan")
            yield free, bound
    finally:
        drop_database(endpoints, unique_name)


def statements(service):
    """Yield (name, text) of every statement of a service and of its event store."""
    own = [
        file.name.removesuffix(".sql")
        for file in resources.files(service).joinpath("sql").iterdir()
        if file.name.endswith(".sql")
    ]
    for package, file in [(service, file) for file in own] + [("eventstore", f) for f in SHARED]:
        yield from sqlfiles.load(package, file).items()


def test_policies_cost_no_statement_an_index(sessions, service):
    free, bound = sessions
    looked_at, lost = 0, {}
    for name, text in statements(service):
        if name in ACROSS:
            continue
        try:
            before = compared(plan(free, text))
        except PARTS:
            continue
        after = compared(plan(bound, text))
        looked_at += 1
        if before - after and name not in CHEAP:
            lost[name] = before - after
    assert lost == {}
    assert looked_at > 50
