"""Certificates for gRPC: read when a server or channel is made; None means plaintext."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from runtime.settings import TlsSettings


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

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials that require a client certificate. Raises OSError."""
        return grpc.ssl_server_credentials(
            [(self.private_key.read_bytes(), self.certificate.read_bytes())],
            root_certificates=self.client_ca.read_bytes(),
            require_client_auth=True,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return credentials that present our certificate. Raises OSError."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.client_ca.read_bytes(),
            private_key=self.private_key.read_bytes(),
            certificate_chain=self.certificate.read_bytes(),
        )
