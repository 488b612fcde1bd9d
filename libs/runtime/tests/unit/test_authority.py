"""What the development authority issues, looked at by others: OpenSSL's verifier and TLS itself."""

import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.roles import Role
from contracts.services import Service
from runtime import authority, identity
from runtime.authority import Authority, AuthorityError, Request

NOW = datetime.now(UTC).replace(microsecond=0)
LEDGER = Request(
    name="ledger",
    uris=(identity.service_uri("backbone", Service.LEDGER),),
    hosts=("ledger", "127.0.0.1"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certs"


@pytest.fixture
def ours(folder: Path) -> Authority:
    return Authority.create(folder, now=NOW)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, *, host: str) -> ssl.SSLObject:
    """Shake hands in memory and return the server's end; raises what either end refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    left = list(ends)
    for _ in range(10):
        for end in list(left):
            try:
                end.do_handshake()
                left.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not left
    # TLS 1.3 tells a client that it is refused with the first bytes it reads only.
    with pytest.raises(ssl.SSLWantReadError):
        ends[0].read(1)
    return ends[1]


def context(issued: authority.Issued, ours: Authority, *, server: bool) -> ssl.SSLContext:
    made = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH, cafile=ours.certificate
    )
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(issued.certificate, issued.private_key)
    return made


def test_openssl_verifies_what_it_issued(folder: Path, ours: Authority) -> None:
    issued = ours.issue(LEDGER, now=NOW)
    for purpose in ("sslserver", "sslclient"):
        subprocess.run(
            [
                *("openssl", "verify", "-x509_strict", "-purpose", purpose),
                *("-CAfile", str(folder / "ca.crt"), str(issued.certificate)),
            ],
            check=True,
            capture_output=True,
        )


def test_both_ends_know_each_other_by_it(ours: Authority) -> None:
    server = ours.issue(LEDGER, now=NOW)
    router = Request(name="router", uris=(identity.service_uri("backbone", Service.ROUTER),))
    client = ours.issue(router, now=NOW)
    end = handshake(
        context(server, ours, server=True), context(client, ours, server=False), host="127.0.0.1"
    )
    names = (end.getpeercert() or {})["subjectAltName"]
    assert names == (("URI", "spiffe://backbone/router"),)


def test_a_name_that_it_does_not_have_is_not_served(ours: Authority) -> None:
    server = ours.issue(LEDGER, now=NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|not valid for"):
        handshake(
            context(server, ours, server=True),
            context(server, ours, server=False),
            host="registry",
        )


def test_a_certificate_without_hosts_serves_nobody(ours: Authority) -> None:
    member = ours.issue(
        Request(
            name="dev.ana",
            uris=(identity.member_uri("backbone", namespace="dev", role=Role.AUTHOR, name="ana"),),
        ),
        now=NOW,
    )
    with pytest.raises(ssl.SSLError, match=r"purpose|unsuitable"):
        handshake(
            context(member, ours, server=True), context(member, ours, server=False), host="ana"
        )


def test_a_server_that_does_not_call_is_no_client(ours: Authority) -> None:
    server = ours.issue(LEDGER, now=NOW)
    broker = ours.issue(Request(name="kafka", hosts=("kafka",), calls=False), now=NOW)
    with pytest.raises(ssl.SSLError, match=r"purpose|unsuitable"):
        handshake(
            context(server, ours, server=True), context(broker, ours, server=False), host="ledger"
        )


def test_one_that_has_ended_is_refused(ours: Authority) -> None:
    server = ours.issue(LEDGER, now=NOW)
    ended = ours.issue(
        Request(name="router"), now=NOW - timedelta(hours=2), lifetime=timedelta(hours=1)
    )
    with pytest.raises(ssl.SSLError, match="expired"):
        handshake(
            context(server, ours, server=True), context(ended, ours, server=False), host="ledger"
        )


def test_another_authority_of_the_same_name_is_refused(ours: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", now=NOW)
    server = ours.issue(LEDGER, now=NOW)
    forged = other.issue(Request(name="router"), now=NOW)
    with pytest.raises(ssl.SSLError, match=r"verify failed|signature"):
        handshake(
            context(server, ours, server=True), context(forged, ours, server=False), host="ledger"
        )


def test_only_its_user_reads_the_files(folder: Path, ours: Authority) -> None:
    ours.issue(LEDGER, now=NOW)
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["ca.crt", "ca.key", "ledger.crt", "ledger.key"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_there_is_one_authority_in_a_folder(folder: Path, ours: Authority) -> None:
    with pytest.raises(AuthorityError, match="already"):
        Authority.create(folder, now=NOW)
    assert Authority.load(folder).not_after == ours.not_after


def test_without_one_it_says_how_to_make_one(folder: Path) -> None:
    with pytest.raises(AuthorityError, match="backbone certs init"):
        Authority.load(folder)


def test_what_serves_still_is_kept(ours: Authority) -> None:
    first = ours.renew(LEDGER, now=NOW)
    kept = ours.renew(LEDGER, now=NOW + timedelta(hours=1))
    assert kept == first


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(Request(name="ledger", uris=LEDGER.uris, hosts=("other",)), id="other-hosts"),
        pytest.param(Request(name="ledger", uris=("spiffe://other/ledger",)), id="other-identity"),
    ],
)
def test_what_says_something_else_is_made_anew(ours: Authority, asked: Request) -> None:
    first = ours.renew(LEDGER, now=NOW)
    renewed = ours.renew(asked, now=NOW)
    assert (renewed.uris, renewed.hosts) == (asked.uris, asked.hosts) != (first.uris, first.hosts)


def test_what_ends_soon_is_made_anew(ours: Authority) -> None:
    first = ours.renew(LEDGER, now=NOW)
    later = first.not_after - authority.RENEW_BEFORE
    assert ours.renew(LEDGER, now=later).not_after > first.not_after


def test_what_another_authority_issued_is_made_anew(tmp_path: Path, folder: Path) -> None:
    first = Authority.create(folder, now=NOW).renew(LEDGER, now=NOW)
    before = first.certificate.read_bytes()
    for file in folder.glob("ca.*"):
        file.rename(tmp_path / file.name)
    Authority.create(folder, now=NOW).renew(LEDGER, now=NOW)
    assert first.certificate.read_bytes() != before


def test_nothing_outlives_the_authority(ours: Authority) -> None:
    issued = ours.issue(LEDGER, now=ours.not_after - timedelta(hours=1))
    assert issued.not_after == ours.not_after
    with pytest.raises(AuthorityError, match="ended"):
        ours.issue(LEDGER, now=ours.not_after)


@pytest.mark.parametrize("name", ["ca", "../ledger", "", "a" * 65, "ledger/x", "lédger"])
def test_a_name_that_is_no_file_is_refused(ours: Authority, name: str) -> None:
    with pytest.raises(AuthorityError, match="cannot be a certificate's name"):
        ours.issue(Request(name=name), now=NOW)


def test_a_damaged_file_is_told_in_a_sentence(folder: Path, ours: Authority) -> None:
    ours.certificate.write_text("no certificate")
    with pytest.raises(AuthorityError, match="damaged"):
        Authority.load(folder)
