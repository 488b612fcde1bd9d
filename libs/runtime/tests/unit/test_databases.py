"""What a database's URL says once there are certificates."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime import databases
from runtime.errors import ConfigurationError
from runtime.tls import TlsFiles

FILES = TlsFiles(Path("/certs/a b.crt"), Path("/certs/a.key"), Path("/certs/ca.crt"))
OURS = {
    "sslmode": ["verify-full"],
    "sslrootcert": ["/certs/ca.crt"],
    "sslcert": ["/certs/a b.crt"],
    "sslkey": ["/certs/a.key"],
}


def test_without_certificates_it_is_as_it_was():
    dsn = "postgresql://ledger@db/backbone?sslmode=disable"
    assert databases.secured(dsn, None) == dsn


def test_the_server_is_verified_and_shown_our_certificate():
    found = urlsplit(databases.secured("postgresql://ledger@db:5432/backbone", FILES))
    assert (found.netloc, found.path) == ("ledger@db:5432", "/backbone")
    assert parse_qs(found.query) == OURS
    # libpq takes a plus for a plus.
    assert "+" not in found.query


def test_what_it_says_itself_stays():
    found = databases.secured("postgresql://db/b?sslrootcert=/other.crt&application_name=x", FILES)
    assert parse_qs(urlsplit(found).query) == {
        **OURS,
        "sslrootcert": ["/other.crt"],
        "application_name": ["x"],
    }


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_less_is_refused(mode):
    with pytest.raises(ConfigurationError, match=f"sslmode={mode}"):
        databases.secured(f"postgresql://db/b?sslmode={mode}", FILES)


@pytest.mark.parametrize(
    "dsn", ["postgresql://ledger:canary@db/b", "postgresql://ledger@db/b?password=canary"]
)
def test_a_password_in_it_is_refused_and_not_told(dsn):
    with pytest.raises(ConfigurationError, match="BACKBONE_POSTGRES_PASSWORD_FILE") as caught:
        databases.secured(dsn, FILES)
    assert "canary" not in str(caught.value)
    assert databases.secured(dsn, None) == dsn, "on a machine of one's own it may be there"


def test_who_is_told_once_is_told_the_password_of_now():
    assert databases.with_password("postgresql://u@db/b", None) == "postgresql://u@db/b"
    found = databases.with_password("postgresql://u:old@db:5432/b?sslmode=disable", lambda: "p@s/s")
    assert found == "postgresql://u:p%40s%2Fs@db:5432/b?sslmode=disable"


def test_a_password_that_was_not_encoded_is_not_taken_for_a_port_and_told():
    for tls in (None, FILES):
        with pytest.raises(ConfigurationError, match="malformed") as caught:
            databases.secured("postgresql://ledger:canary/x@db/b", tls)
        assert "canary" not in repr(caught.value) + repr(caught.value.__cause__)
