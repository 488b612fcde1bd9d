from urllib.parse import unquote, urlsplit

import pytest

from devstack.infrastructure import PostgresEndpoint


@pytest.fixture
def endpoint() -> PostgresEndpoint:
    return PostgresEndpoint(
        host="127.0.0.1",
        port=5432,
        user="postgres",
        password="a/b@c",
        database="backbone",
        passwords={"ledger": "l", "relay": "r"},
    )


def test_a_dsn_is_for_the_superuser_unless_a_role_is_named(endpoint: PostgresEndpoint) -> None:
    superuser = urlsplit(endpoint.dsn())

    assert superuser.password is not None
    assert (superuser.username, unquote(superuser.password)) == ("postgres", "a/b@c")
    assert endpoint.dsn("ledger") == "postgresql://ledger:l@127.0.0.1:5432/backbone"


def test_another_database_has_the_same_roles(endpoint: PostgresEndpoint) -> None:
    assert endpoint.within("fresh").dsn("relay") == "postgresql://relay:r@127.0.0.1:5432/fresh"
    assert endpoint.dsn("relay", database="fresh") == endpoint.within("fresh").dsn("relay")


def test_passwords_stay_out_of_logs(endpoint: PostgresEndpoint) -> None:
    assert "a/b@c" not in repr(endpoint)
    assert "passwords" not in repr(endpoint)
