"""What `doctor` sees on this machine: the certificates and the token that settings name."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography import x509

from cli import tokens
from cli.doctor_checks import SeenCertificate
from cli.doctor_checks import certificates as check
from cli.doctor_findings import Finding, Kind
from cli.errors import UsageError
from cli.settings import Settings
from runtime.errors import ConfigurationError
from runtime.tls import Certificates, TlsFiles


def certificates(settings: Settings, *, now: datetime) -> list[Finding]:
    """Look at the PEM files of the settings: whether they can be used, and when they end."""
    found: list[Finding] = []
    seen: list[SeenCertificate] = []
    for setting, path in (
        ("BACKBONE_TLS_CERTIFICATE", settings.tls_certificate),
        ("BACKBONE_TLS_CLIENT_CA", settings.tls_client_ca),
    ):
        if path is None:
            continue
        try:
            seen.append(_read(setting, path))
        except (OSError, ValueError) as exc:
            found.append(_unreadable(path, f"{path} ({setting}) holds no certificate: {_why(exc)}"))
    files = TlsFiles.of(settings)
    if files is not None and not found:
        try:
            Certificates(files)
        except ConfigurationError as exc:
            found.append(_unreadable(files.private_key, str(exc)))
    return [*found, *check(seen, now=now)]


def token(settings: Settings) -> list[Finding]:
    """Look at whether there is a token where the settings say that there is one."""
    read = tokens.source(settings)
    if read is None:
        return []
    try:
        read()
    except UsageError as exc:
        return [
            Finding(
                Kind.TOKEN_UNREADABLE,
                str(settings.token_file or "BACKBONE_TOKEN"),
                str(exc),
                "log in to your issuer again (docs/authorisation.md)",
            )
        ]
    return []


def _read(setting: str, path: Path) -> SeenCertificate:
    """Return the certificate of a chain, or of several authorities the one that ends last."""
    read = x509.load_pem_x509_certificates(path.read_bytes())
    one = read[0] if setting.endswith("CERTIFICATE") else _last(read)
    return SeenCertificate(setting, str(path), one.not_valid_before_utc, one.not_valid_after_utc)


def _last(read: Iterable[x509.Certificate]) -> x509.Certificate:
    return max(read, key=lambda one: one.not_valid_after_utc)


def _unreadable(path: Path, what: str) -> Finding:
    return Finding(
        Kind.CERTIFICATE_UNREADABLE,
        str(path),
        what,
        "set it to a PEM file that you may read (docs/transport.md)",
    )


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
