"""Each table of a namespace's rows shows a transaction those of its own, whatever a query forgets.

The tables are read from the catalogue, so that a new one without a policy is found here.
"""

import uuid

import psycopg
import pytest
from psycopg import sql

import ledger.app
import registry.app
from devstack.infrastructure import create_database, drop_database

APPS = {"ledger": ledger.app, "registry": registry.app}

WITHOUT_NAMESPACE = {
    "audit_checkpoints": "the chain is over the events of all namespaces; holds hashes",
    "_yoyo_log": "which migrations ran",
    "_yoyo_migration": "which migrations ran",
    "_yoyo_version": "which migrations ran",
    "yoyo_lock": "who migrates",
}
"""Tables that have no column `namespace`, with the reason."""

COUNTED = {"position", "ordinal", "decision_id", "drift_id"}
"""Columns that the database counts: nobody chooses a value, to see whether another has it."""

DEFINERS = {
    "unrouted_ranges_at",
    "unrouted_range_is_known",
    "months_ensure",
    "months_drop",
    "months_clear_default",
    "events_drop_sealed_month",
    "events_clear_sealed_default",
    "events_position_before",
}
"""Functions that act as the owner, who sees everything; the first two are the ledger's."""

RELAYED = {"events", "outbox_pending", "outbox_parked"}


@pytest.fixture(scope="module", params=sorted(APPS))
def service(request):
    """The name of a service that has a database, and with it of its schema and its role."""
    return request.param


@pytest.fixture(scope="module")
def database(endpoints, migrated, service):
    """Its database, migrated."""
    app = APPS[service]
    name = f"tenancy_{uuid.uuid4().hex[:8]}"
    template = migrated(app.SCHEMA, *app.MIGRATIONS)
    yield create_database(endpoints, name, template=template)
    drop_database(endpoints, name)


@pytest.fixture(scope="module")
def catalogue(database, service):
    """Asks the catalogue for the rows of a query; `%(schema)s` is the service's."""
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        yield lambda query: connection.execute(query, {"schema": service}).fetchall()


TABLES = """
    SELECT class.relname, class.relispartition, class.relrowsecurity, class.relforcerowsecurity,
        EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = class.oid AND attname = 'namespace'
        ) AS of_namespaces
    FROM pg_class AS class
    WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'p')
    ORDER BY 1
"""


def test_every_table_of_namespaces_forces_row_security(catalogue):
    tables = catalogue(TABLES)
    open_to_all = [name for name, _, on, forced, of in tables if of and not (on and forced)]
    assert open_to_all == []
    assert {name for name, *_, of in tables if not of} == set(WITHOUT_NAMESPACE)
    assert len(tables) > 20


def test_every_table_has_the_same_policies(catalogue, service):
    rows = catalogue(
        "SELECT tablename, policyname, permissive, roles::text[], cmd, qual, with_check"
        " FROM pg_policies WHERE schemaname = %(schema)s"
    )
    one = "(namespace = NULLIF(current_setting('backbone.namespace'::text, true), ''::text))"
    everywhere = {
        ("one_namespace", (service,), "ALL", one),
        ("all_namespaces", (f"{service}_across", f"{service}_owner"), "ALL", "true"),
    }
    relays = {("relay", ("relay",), "ALL", "true"), ("relay", ("relay",), "SELECT", "true")}
    found = {}
    for table, policy, permissive, roles, command, using, check in rows:
        assert (permissive, check) == ("PERMISSIVE", None)
        found.setdefault(table, set()).add((policy, tuple(sorted(roles)), command, using))
    assert set(found) == {name for name, *_, of in catalogue(TABLES) if of}
    for table, policies in found.items():
        assert policies - relays == everywhere, table
        assert bool(policies & relays) == (table in RELAYED), table


def test_who_serves_owns_nothing_and_passes_no_policy(catalogue, service):
    attributes = catalogue(
        "SELECT rolname FROM pg_roles WHERE rolsuper OR rolbypassrls OR rolcreaterole"
    )
    owned = catalogue(
        "SELECT relname FROM pg_class WHERE relnamespace = %(schema)s::regnamespace"
        " AND relowner::regrole::text IN"
        " ('ledger', 'ledger_across', 'registry', 'registry_across', 'relay')"
    )
    memberships = catalogue(
        "SELECT roleid::regrole::text, rolname, rolinherit FROM pg_auth_members"
        " JOIN pg_roles ON pg_roles.oid = member WHERE rolname IN"
        " ('ledger', 'ledger_across', 'registry', 'registry_across', 'relay')"
    )
    assert [role for (role,) in attributes] == ["postgres"]
    assert owned == []
    assert sorted(memberships) == [
        ("ledger_across", "ledger", False),
        ("registry_across", "registry", False),
    ]


def test_nothing_goes_round_the_policies(catalogue, service):
    views = catalogue(
        "SELECT relname FROM pg_class WHERE relnamespace = %(schema)s::regnamespace"
        " AND relkind IN ('v', 'm')"
    )
    assert views == []
    definers = catalogue(
        "SELECT proname, proconfig, proacl::text FROM pg_proc"
        " WHERE pronamespace = %(schema)s::regnamespace AND prosecdef"
    )
    ledgers = {name for name in DEFINERS if name.startswith("unrouted_")}
    assert {name for name, *_ in definers} == DEFINERS - (set() if service == "ledger" else ledgers)
    for name, settings, granted in definers:
        # Whoever may make temporary tables does not put theirs before ours.
        assert f"search_path={service}, pg_temp" in settings, name
        grantees = {one.partition("=")[0] for one in granted.strip("{}").split(",")}
        assert grantees == {service, f"{service}_across", f"{service}_owner"}, name


def test_keys_tell_nothing_of_other_namespaces(catalogue):
    # Inserting a value that another namespace has under such a key would fail, and tell.
    keys = catalogue(
        "SELECT indexrelid::regclass::text, ("
        "  SELECT array_agg(attname::text) FROM pg_attribute"
        "  WHERE attrelid = indrelid AND attnum = ANY (indkey)"
        ") FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid"
        " WHERE index.relnamespace = %(schema)s::regnamespace AND indisunique"
    )
    tables = {name for name, *_, of in catalogue(TABLES) if not of}
    telling = [
        name
        for name, columns in keys
        if not {"namespace", *COUNTED} & set(columns)
        and not any(name.partition(".")[2].startswith(table) for table in tables)
    ]
    assert telling == []
    assert len(keys) > 10
    references = catalogue(
        "SELECT conname FROM pg_constraint JOIN pg_attribute"
        " ON attrelid = conrelid AND attname = 'namespace'"
        " WHERE connamespace = %(schema)s::regnamespace AND contype = 'f'"
        " AND NOT attnum = ANY (conkey)"
    )
    assert references == []


# --- Rows -----------------------------------------------------------------------------------------

OURS, THEIRS = "ours", "theirs"


@pytest.fixture(scope="module")
def filled(database, catalogue, service):
    """Each table with a row of two namespaces; nothing but the policies is left to protect it."""
    tables = [name for name, partition, *_, of in catalogue(TABLES) if of and not partition]
    with psycopg.connect(database.dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(service)))
        for table in tables:
            _unbind(admin, table)
        for table in tables:
            name = sql.Identifier(table)
            admin.execute(
                sql.SQL("INSERT INTO {} (namespace) VALUES (%s), (%s)").format(name),
                (OURS, THEIRS),
            )
    return tables


def _unbind(admin, table):
    """Drop what a row has to be beside of a namespace: this is about who sees it."""
    constraints = admin.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype <> 'n'"
        " AND conparentid = 0 AND coninhcount = 0 ORDER BY contype = 'p'",
        (table,),
    ).fetchall()
    for (constraint,) in constraints:
        admin.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {} CASCADE").format(
                sql.Identifier(table), sql.Identifier(constraint)
            )
        )
    columns = admin.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND attnotnull AND attidentity = '' AND NOT attisdropped",
        (table,),
    ).fetchall()
    for (column,) in columns:
        admin.execute(
            sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL").format(
                sql.Identifier(table), sql.Identifier(column)
            )
        )


@pytest.fixture
def serving(database, service):
    """The service's session, with its schema."""
    with psycopg.connect(database.dsn(service), autocommit=True) as connection:
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(service)))
        yield connection


def within(connection, namespace):
    connection.execute("SELECT set_config('backbone.namespace', %s, true)", (namespace,))


def attempted(connection, statement, table, *arguments):
    """Return how many rows a statement touches, or "refused"; nothing of it stays."""
    text = sql.SQL(statement).format(sql.Identifier(table))
    try:
        with connection.transaction():
            return connection.execute(text, arguments).rowcount
    except psycopg.errors.InsufficientPrivilege:
        return "refused"


def test_a_service_touches_no_row_of_another_namespace(serving, filled):
    read = changed = 0
    for table in filled:
        with serving.transaction(force_rollback=True):
            within(serving, OURS)
            seen = serving.execute(
                sql.SQL("SELECT DISTINCT namespace FROM {}").format(sql.Identifier(table))
            ).fetchall()
            assert seen == [(OURS,)], table
            read += 1
            update = "UPDATE {} SET namespace = namespace WHERE namespace = %s"
            for statement in (update, "DELETE FROM {} WHERE namespace = %s"):
                assert attempted(serving, statement, table, THEIRS) in (0, "refused"), table
            for statement in (
                "INSERT INTO {} (namespace) VALUES (%s)",
                # To give a row away is to write one of theirs.
                "UPDATE {} SET namespace = %s",
            ):
                assert attempted(serving, statement, table, THEIRS) == "refused", table
            # The same is allowed with rows of its own, where it may write at all.
            changed += attempted(serving, update, table, OURS) == 1
    assert read == len(filled)
    assert changed > len(filled) // 2


def test_without_a_namespace_there_is_nothing(serving, filled):
    # Never set in this session, then set and forgotten, which leaves an empty text.
    for session in ("fresh", "used"):
        for table in filled:
            assert attempted(serving, "SELECT * FROM {}", table) == 0, (session, table)
            for namespace in (OURS, ""):
                inserted = attempted(
                    serving, "INSERT INTO {} (namespace) VALUES (%s)", table, namespace
                )
                assert inserted == "refused", (session, table)
        with serving.transaction():
            within(serving, OURS)
        assert serving.execute("SELECT current_setting('backbone.namespace')").fetchone() == ("",)


def test_a_month_is_reached_by_its_table_alone(serving, catalogue, filled):
    del filled
    months = [name for name, partition, *_ in catalogue(TABLES) if partition]
    assert months
    with serving.transaction():
        within(serving, OURS)
        for month in months:
            assert attempted(serving, "SELECT * FROM {}", month) == "refused"


def test_a_new_month_is_as_closed_as_the_others(serving, catalogue):
    made = serving.execute("SELECT months_ensure('events', 6)").fetchall()
    assert len(made) == 3
    assert {(name,) for name, _, on, forced, _ in catalogue(TABLES) if on and forced} >= set(made)
    assert attempted(serving, "SELECT * FROM {}", made[0][0]) == "refused"


def test_who_takes_on_the_role_for_all_sees_all_until_its_transaction_ends(serving, filled):
    with serving.transaction():
        serving.execute("SELECT set_config('role', current_schema() || '_across', true)")
        for table in filled:
            assert attempted(serving, "SELECT * FROM {}", table) == 2, table
    assert [attempted(serving, "SELECT * FROM {}", table) for table in filled] == [0] * len(filled)


def test_the_service_seals_nothing_while_it_sees_one_namespace(serving):
    with serving.transaction(force_rollback=True):
        within(serving, OURS)
        assert attempted(serving, "SELECT * FROM {}", "audit_checkpoints") == 0
        assert attempted(serving, "INSERT INTO {} DEFAULT VALUES", "audit_checkpoints") == "refused"


def test_the_relay_sees_the_outbox_of_all_and_nothing_else(database, service, filled):
    with psycopg.connect(database.dsn("relay"), autocommit=True) as relay:
        relay.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(service)))
        seen = {table: attempted(relay, "SELECT * FROM {}", table) for table in filled}
    assert {table for table, rows in seen.items() if rows == 2} == RELAYED
    assert {rows for table, rows in seen.items() if table not in RELAYED} == {"refused"}


def test_a_service_does_not_migrate(endpoints, service):
    name = f"tenancy_{uuid.uuid4().hex[:8]}"
    database = create_database(endpoints, name)
    app = APPS[service]
    try:
        with psycopg.connect(database.dsn(), autocommit=True) as admin:
            admin.execute(
                sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(*[sql.Identifier(service)] * 2)
            )
        with pytest.raises(app.migrations.MigrationError, match="may not own its tables"):
            app.migrations.apply(database.dsn(service), schema=app.SCHEMA, sources=app.MIGRATIONS)
    finally:
        drop_database(endpoints, name)
