"""URLs of databases, with how they are spoken with: over TLS to the server that has that name."""

from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from runtime.errors import ConfigurationError
from runtime.tls import TlsFiles

_VERIFIED = "verify-full"


def secured(dsn: str, tls: TlsFiles | None) -> str:
    """Return `dsn` with the certificates of `tls`; as it is without.

    What it says itself stays: other certificates. asyncpg and libpq read the files for each
    connection.

    Raises:
        ConfigurationError: it is malformed, asks for less than a server whose name is verified, or
            holds a password, which belongs into a file.
    """
    well_formed(dsn)
    if tls is None:
        return dsn
    if holds_password(dsn):
        raise ConfigurationError(
            "the URL of the database holds a password: where there are certificates it is in a "
            "file of its own, which BACKBONE_POSTGRES_PASSWORD_FILE names (`password_file` of an "
            "outbox)"
        )
    parts = urlsplit(dsn)
    said = dict(parse_qsl(parts.query))
    if said.get("sslmode", _VERIFIED) != _VERIFIED:
        raise ConfigurationError(
            f"the URL of the database says sslmode={said['sslmode']}: with TLS it is "
            f"{_VERIFIED}, or nothing"
        )
    ours = {
        "sslmode": _VERIFIED,
        "sslrootcert": str(tls.client_ca),
        "sslcert": str(tls.certificate),
        "sslkey": str(tls.private_key),
    }
    return urlunsplit(parts._replace(query=urlencode(ours | said, quote_via=quote, safe="/")))


def well_formed(dsn: str) -> str:
    """Return `dsn`, which clients can take apart.

    Raises:
        ConfigurationError: they could not. They would quote what they take for a port, which is the
            password's beginning where a slash in it was not written as %2F.
    """
    try:
        _ = urlsplit(dsn).port
    except ValueError:
        raise ConfigurationError(
            "the URL of a database is malformed: no number follows the host; a password is "
            "percent-encoded there, or better in a file"
        ) from None
    return dsn


def holds_password(dsn: str) -> bool:
    """Return whether a database's URL says a password."""
    parts = urlsplit(dsn)
    return bool(parts.password) or "password" in dict(parse_qsl(parts.query))


def with_password(dsn: str, password: Callable[[], str] | None) -> str:
    """Return `dsn` with the password of now, for a client that is told it once."""
    if password is None:
        return dsn
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    said = quote(password(), safe="")
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{said}@{host}"))
