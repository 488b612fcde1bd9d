"""`certs`, on files: OpenSSL says what is in them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contracts.services import Service

FOLDER = Path(".backbone") / "certs"


def said(name: str) -> str:
    """Return what OpenSSL reads in a certificate, having verified it."""
    certificate = str(FOLDER / f"{name}.crt")
    subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", str(FOLDER / "ca.crt"), certificate],
        check=True,
        capture_output=True,
    )
    return subprocess.run(
        ["openssl", "x509", "-noout", "-text", "-in", certificate],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.fixture
def authority(backbone: Any, nowhere: Path) -> Path:
    assert backbone("certs", "init").exit_code == 0
    return nowhere / FOLDER


def test_every_service_gets_its_name(backbone: Any, authority: Path) -> None:
    result = backbone("certs", "issue", "-o", "json")
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["name"] for one in documents] == list(Service)
    for service in Service:
        text = said(service)
        assert f"URI:spiffe://backbone/{service}, DNS:{service}, DNS:localhost" in text
        assert "TLS Web Server Authentication, TLS Web Client Authentication" in text


def test_a_member_gets_its_roles_and_groups_and_serves_nowhere(
    backbone: Any, authority: Path
) -> None:
    words = ("--member", "dev/author/ana", "--member", "dev/viewer/ana", "--group", "desk")
    assert backbone("certs", "issue", *words).exit_code == 0
    text = said("dev.ana")
    assert (
        "URI:spiffe://backbone/ns/dev/author/ana, URI:spiffe://backbone/ns/dev/viewer/ana, "
        "URI:spiffe://backbone/ns/dev/group/desk\n" in text
    )
    assert "TLS Web Server Authentication" not in text


def test_what_is_valid_stays_unless_it_is_to_be_renewed(backbone: Any, authority: Path) -> None:
    key = authority / "ledger.key"
    backbone("certs", "issue", "ledger")
    first = key.read_bytes()
    backbone("certs", "issue", "ledger")
    assert key.read_bytes() == first
    backbone("certs", "issue", "ledger", "--renew")
    assert key.read_bytes() != first


def test_it_shows_what_ends_soon(backbone: Any, authority: Path) -> None:
    backbone("certs", "issue", "ledger", "--lifetime", "1h")
    backbone("certs", "issue", "router")
    result = backbone("certs", "show", "-o", "json")
    states = {one["name"]: one["state"] for one in map(json.loads, result.stdout.splitlines())}
    assert states == {"ca": "valid", "ledger": "ends soon", "router": "valid"}
    assert result.exit_code == 0


def test_it_fails_when_one_has_ended(
    backbone: Any, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone("certs", "issue", "ledger", "--lifetime", "1s")
    while (result := backbone("certs", "show")).exit_code == 0:
        continue
    assert result.exit_code == 1
    assert "ended: ledger" in result.stderr


def test_a_second_authority_is_not_made(backbone: Any, authority: Path) -> None:
    before = (authority / "ca.key").read_bytes()
    result = backbone("certs", "init")
    assert (result.exit_code, (authority / "ca.key").read_bytes()) == (1, before)
    assert result.stderr.startswith("backbone: there is an authority in")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--member", "dev/king/ana"), "the roles are"),
        (("--member", "dev/service/ana"), "the roles are"),
        (("--member", "ana"), "NAMESPACE/ROLE/NAME"),
        (("--member", "dev/author/ana", "--member", "prod/author/ana"), "same namespace"),
        (("--member", "dev/author/ana", "ledger"), "--member goes alone"),
        (("--group", "desk"), "say --member too"),
        (("--lifetime", "1y"), "--lifetime"),
        (("--lifetime", "91d"), "at most 90d"),
    ],
)
def test_what_cannot_be_issued_is_one_sentence(
    backbone: Any, authority: Path, words: tuple[str, ...], told: str
) -> None:
    result = backbone("certs", "issue", *words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert sorted(file.name for file in authority.iterdir()) == ["ca.crt", "ca.key"]


def test_without_an_authority_it_says_how_to_make_one(backbone: Any, nowhere: Path) -> None:
    for command in ("issue", "show"):
        result = backbone("certs", command)
        assert result.exit_code == 1
        assert "backbone certs init" in result.stderr
