"""A certificate authority for development: it makes what cert-manager makes elsewhere.

One authority is one folder: `ca.crt` and `ca.key`, then `<name>.crt` and `<name>.key` for each
certificate that was issued. Every file is readable by its user only, and is replaced whole, so that
who reads it meanwhile sees the old one or the new one.
"""

import contextlib
import ipaddress
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contracts.services import Service
from runtime import identity
from runtime.errors import RuntimeLibraryError

CA = "ca"
LOCAL_HOSTS = ("localhost", "127.0.0.1")
CA_LIFETIME = timedelta(days=365)
LIFETIME = timedelta(hours=24)
RENEW_BEFORE = timedelta(hours=8)
"""What ends within this time is made anew: a third of a lifetime, as cert-manager does."""

_SKEW = timedelta(minutes=5)  # clocks of machines differ
_MAX_NAME = 64  # of a common name, by X.520
_ORGANISATION = "Backbone (development)"


class AuthorityError(RuntimeLibraryError):
    """The authority cannot do this with the files it has; the message says what to do."""


@dataclass(frozen=True)
class Request:
    """What a certificate is to say.

    `name` is its common name and its files' name; `uris` say who it is (SPIFFE-style). With
    `hosts` (names and IP addresses) it may serve there; without `calls` it may be no client.
    """

    name: str
    uris: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    calls: bool = True


def service_request(
    service: Service,
    *,
    trust_domain: str = identity.DEFAULT_TRUST_DOMAIN,
    hosts: Sequence[str] = (),
) -> Request:
    """Return what a service's certificate says: who it is, and where it answers beside here."""
    return Request(
        name=service.value,
        uris=(identity.service_uri(trust_domain, service),),
        hosts=(service.value, *LOCAL_HOSTS, *hosts),
    )


@dataclass(frozen=True)
class Issued:
    """A certificate in the folder, and what it says."""

    name: str
    certificate: Path
    private_key: Path
    uris: tuple[str, ...]
    hosts: tuple[str, ...]
    not_before: datetime
    not_after: datetime


class Authority:
    """Issues certificates into its folder."""

    def __init__(
        self, folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        """Use `create` or `load`."""
        self._folder = folder
        self._key = key
        self._certificate = certificate

    @classmethod
    def create(
        cls, folder: Path, *, now: datetime, lifetime: timedelta = CA_LIFETIME
    ) -> "Authority":
        """Make an authority in `folder`, which is made too.

        Raises:
            AuthorityError: there is one already, or the folder cannot be written.
        """
        if _path(folder, CA, "key").exists() or _path(folder, CA, "crt").exists():
            raise AuthorityError(
                f"there is an authority in {folder} already; certificates that it issued are "
                "trusted only as long as it stays: remove the folder to begin anew"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
                x509.NameAttribute(NameOID.COMMON_NAME, "Backbone development authority"),
            ]
        )
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )
        with _told(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(_path(folder, CA, "key"), _key_pem(key))
            _write(_path(folder, CA, "crt"), _pem(certificate))
        return cls(folder, key, certificate)

    @classmethod
    def load(cls, folder: Path) -> "Authority":
        """Return the authority in `folder`.

        Raises:
            AuthorityError: there is none, or its files are damaged.
        """
        if not _path(folder, CA, "key").is_file():
            raise AuthorityError(
                f"there is no authority in {folder}: `backbone certs init` makes one"
            )
        with _told(folder):
            key = serialization.load_pem_private_key(
                _path(folder, CA, "key").read_bytes(), password=None
            )
            certificate = x509.load_pem_x509_certificate(_path(folder, CA, "crt").read_bytes())
        if not isinstance(key, ec.EllipticCurvePrivateKey) or (
            key.public_key() != certificate.public_key()
        ):
            raise AuthorityError(f"{CA}.key and {CA}.crt in {folder} do not belong together")
        return cls(folder, key, certificate)

    @property
    def certificate(self) -> Path:
        """The file of its own certificate, which everybody trusts who trusts it."""
        return _path(self._folder, CA, "crt")

    @property
    def own(self) -> Issued:
        """Its own certificate."""
        return _issued(self._folder, CA, self._certificate)

    @property
    def not_after(self) -> datetime:
        """When it ends, and with it everything that it issued."""
        return self._certificate.not_valid_after_utc

    def issue(self, request: Request, *, now: datetime, lifetime: timedelta = LIFETIME) -> Issued:
        """Make a certificate with a new key, in the place of the one of that name if there is one.

        It ends with the authority at the latest.

        Raises:
            AuthorityError: the name cannot be a file or a common name, nothing is left of the
                authority's life, or the folder cannot be written.
        """
        _check_name(request.name)
        if now >= self.not_after:
            raise AuthorityError(
                f"the authority in {self._folder} ended at {self.not_after:%Y-%m-%d %H:%M} UTC: "
                "remove the folder, make a new one with `backbone certs init`, and issue again"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        period = _Period(now - _SKEW, min(now + lifetime, self.not_after))
        certificate = self._signed(request, key.public_key(), period=period)
        # Between the two a reader sees a pair that does not fit; it keeps what it had, see `tls`.
        with _told(self._folder):
            _write(_path(self._folder, request.name, "crt"), _pem(certificate))
            _write(_path(self._folder, request.name, "key"), _key_pem(key))
        return _issued(self._folder, request.name, certificate)

    def renew(self, request: Request, *, now: datetime, lifetime: timedelta = LIFETIME) -> Issued:
        """Return the certificate of that name; a new one unless the old one still serves.

        It does not if it ends soon, says something else or is another authority's.

        Raises:
            AuthorityError: as `issue`.
        """
        _check_name(request.name)
        before = _find(self._folder, request.name)
        if before is not None and self._serves_still(before, request, now=now):
            return _issued(self._folder, request.name, before)
        return self.issue(request, now=now, lifetime=lifetime)

    def _serves_still(self, held: x509.Certificate, request: Request, *, now: datetime) -> bool:
        # The extensions name the authority's key too.
        said = [one.value for one in held.extensions]
        return held.not_valid_after_utc - now > RENEW_BEFORE and said == [
            value for value, _ in self._extensions(request)
        ]

    def _signed(
        self, request: Request, public_key: ec.EllipticCurvePublicKey, *, period: "_Period"
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, request.name)]))
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(period.begin)
            .not_valid_after(period.end)
        )
        for value, critical in self._extensions(request):
            builder = builder.add_extension(value, critical=critical)
        return builder.sign(self._key, hashes.SHA256())

    def _extensions(self, request: Request) -> list[tuple[x509.ExtensionType, bool]]:
        """Return what a certificate says, each with whether it is critical."""
        uses = [ExtendedKeyUsageOID.SERVER_AUTH] if request.hosts else []
        uses += [ExtendedKeyUsageOID.CLIENT_AUTH] if request.calls else []
        alternatives: list[x509.GeneralName] = [
            *(x509.UniformResourceIdentifier(uri) for uri in request.uris),
            *(_host(host) for host in request.hosts),
        ]
        found: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(authority=False), True),
            (x509.ExtendedKeyUsage(uses), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
        ]
        if alternatives:
            found.append((x509.SubjectAlternativeName(alternatives), False))
        return found


@dataclass(frozen=True)
class _Period:
    begin: datetime
    end: datetime


def issued(folder: Path) -> Sequence[Issued]:
    """Return every certificate in `folder` but the authority's own, by name.

    Raises:
        AuthorityError: one of them is damaged.
    """
    names = sorted(path.stem for path in folder.glob("*.crt") if path.stem != CA)
    found = [(name, _find(folder, name)) for name in names]
    return [_issued(folder, name, one) for name, one in found if one is not None]


def _check_name(name: str) -> None:
    usable = name.replace("-", "").replace(".", "").replace("@", "").replace("_", "")
    if name == CA or not (usable.isascii() and usable.isalnum()) or len(name) > _MAX_NAME:
        raise AuthorityError(
            f"{name!r} cannot be a certificate's name: letters, digits and -._@ in "
            f"{_MAX_NAME} characters at most, and not {CA!r}"
        )


def _find(folder: Path, name: str) -> x509.Certificate | None:
    if not (_path(folder, name, "crt").is_file() and _path(folder, name, "key").is_file()):
        return None
    with _told(folder):
        return x509.load_pem_x509_certificate(_path(folder, name, "crt").read_bytes())


def _issued(folder: Path, name: str, certificate: x509.Certificate) -> Issued:
    uris: list[str] = []
    hosts: list[str] = []
    with contextlib.suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        hosts = [
            *names.get_values_for_type(x509.DNSName),
            *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        ]
    return Issued(
        name=name,
        certificate=_path(folder, name, "crt"),
        private_key=_path(folder, name, "key"),
        uris=tuple(uris),
        hosts=tuple(hosts),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _path(folder: Path, name: str, suffix: str) -> Path:
    return folder / f"{name}.{suffix}"


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    # `mkstemp` makes files that only their user can read.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise AuthorityError(f"{folder} cannot be used: {exc.strerror}") from exc
    except (ValueError, TypeError) as exc:
        raise AuthorityError(f"a certificate or key in {folder} is damaged: {exc}") from exc
