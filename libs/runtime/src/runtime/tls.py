"""Certificates: whose they are, and those of them that are newest.

Whatever issues them replaces the files while we run; new connections use the new ones. Files that
do not fit together, which is how a replacement looks half way, are looked at again and meanwhile
change nothing.
"""

import functools
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import ConfigurationError
from runtime.reloading import Reloaded
from runtime.settings import ServiceSettings, TlsSettings


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: our certificate chain and key, and the authorities we trust."""

    certificate: Path
    private_key: Path
    client_ca: Path

    @classmethod
    def of(cls, settings: TlsSettings) -> "TlsFiles | None":
        """Return the files that `settings` name, or None when TLS is off."""
        if (
            settings.tls_certificate is None
            or settings.tls_private_key is None
            or settings.tls_client_ca is None
        ):
            return None
        return cls(settings.tls_certificate, settings.tls_private_key, settings.tls_client_ca)

    @classmethod
    def required(cls, settings: ServiceSettings) -> "TlsFiles | None":
        """Return the files of a service, or None on a machine of one's own.

        Raises:
            ConfigurationError: there are none, and the environment is not local.
        """
        files = cls.of(settings)
        if files is None and settings.environment != "local":
            raise ConfigurationError(
                "without TLS nobody can be told apart, and everybody listens: set "
                "BACKBONE_TLS_CERTIFICATE, BACKBONE_TLS_PRIVATE_KEY and BACKBONE_TLS_CLIENT_CA, "
                "or BACKBONE_ENVIRONMENT=local on a machine of your own"
            )
        return files


@dataclass(frozen=True)
class Material:
    """What was in the files at one time."""

    certificate: bytes
    private_key: bytes = field(repr=False)
    client_ca: bytes


class Certificates:
    """Files that are read again when they have changed; for any thread."""

    def __init__(self, files: TlsFiles) -> None:
        """Read them. Raises ConfigurationError when they cannot be used."""
        self._files = Reloaded(
            "certificates",
            (files.certificate, files.private_key, files.client_ca),
            functools.partial(_read, files),
        )

    def newest(self) -> Material:
        """Return what is in the files, as of at most a second ago; the same object if unchanged."""
        return self._files.newest()


def _read(files: TlsFiles) -> Material:
    read = Material(
        certificate=files.certificate.read_bytes(),
        private_key=files.private_key.read_bytes(),
        client_ca=files.client_ca.read_bytes(),
    )
    try:
        context = ssl.create_default_context(cafile=files.client_ca)
        context.load_cert_chain(files.certificate, files.private_key, password=_no_password)
    except ssl.SSLError as exc:
        raise ConfigurationError(
            f"{files.certificate} (BACKBONE_TLS_CERTIFICATE), {files.private_key} "
            f"(…_PRIVATE_KEY) and {files.client_ca} (…_CLIENT_CA) are no PEM files that belong "
            f"together: {exc.reason or exc}"
        ) from exc
    except ValueError as exc:
        raise ConfigurationError(f"{files.private_key}: {exc}") from exc
    return read


def _no_password() -> str:
    # Without this a key that is encrypted would have OpenSSL ask at the terminal.
    raise ValueError("the key is encrypted, and there is nobody to ask for its password")
