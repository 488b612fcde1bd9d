"""Who shows a token: where it comes from, where it goes, and what is said when it is refused."""

from collections.abc import Iterator
from concurrent import futures
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from runtime import rpcerrors
from runtime.authority import Authority, Request

TOKEN = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"


class Ledger(ledger_pb2_grpc.LedgerServiceServicer):
    """Has no runs, and keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.refusal: rpcerrors.RpcError | None = None

    def ListRuns(self, request: Any, context: Any) -> Any:
        self.shown.append(dict(context.invocation_metadata()).get("authorization"))
        if self.refusal is not None:
            details = rpcerrors.status_details(self.refusal)
            context.set_trailing_metadata(((rpcerrors.DETAILS_KEY, details),))
            context.abort(self.refusal.code, self.refusal.message)
        return ledger_pb2.ListRunsResponse()


@pytest.fixture
def ledger(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A ledger that asks nobody for a certificate, whose authority is `ca/ca.crt`."""
    authority = Authority.create(nowhere / "ca", now=datetime.now(UTC))
    issued = authority.issue(Request("ledger", hosts=("127.0.0.1",)), now=datetime.now(UTC))
    server = grpc.server(futures.ThreadPoolExecutor(2))
    pair = (issued.private_key.read_bytes(), issued.certificate.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    servicer = Ledger()
    ledger_pb2_grpc.add_LedgerServiceServicer_to_server(servicer, server)
    server.start()
    monkeypatch.setenv("BACKBONE_LEDGER_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setenv("BACKBONE_TLS_CLIENT_CA", str(authority.certificate))
    yield servicer
    server.stop(None).wait()


@pytest.fixture
def token_file(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = nowhere / "token"
    path.write_text(f"{TOKEN}\n")
    monkeypatch.setenv("BACKBONE_TOKEN_FILE", str(path))
    return path


def test_the_token_of_the_file_is_shown(backbone: Any, ledger: Ledger, token_file: Path) -> None:
    assert backbone("runs").exit_code == 0
    token_file.write_text("another.one.now")
    assert backbone("runs").exit_code == 0
    assert ledger.shown == [f"Bearer {TOKEN}", "Bearer another.one.now"]


def test_the_token_of_the_environment_is_shown(
    backbone: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_TOKEN", TOKEN)
    assert backbone("runs").exit_code == 0
    assert ledger.shown == [f"Bearer {TOKEN}"]


def test_without_one_none_is_shown(backbone: Any, ledger: Ledger) -> None:
    assert backbone("runs").exit_code == 0
    assert ledger.shown == [None]


def test_no_option_takes_a_token(backbone: Any, nowhere: Path) -> None:
    for words in (("--help",), ("runs", "--help"), ("tasks", "--help")):
        assert "token" not in backbone(*words).stdout.lower()


def test_two_tokens_are_refused(
    backbone: Any, ledger: Ledger, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_TOKEN", TOKEN)
    result = backbone("runs")
    assert result.exit_code == 2
    assert "set one of them" in result.stderr
    assert TOKEN not in result.stderr


@pytest.mark.parametrize("content", ["", "  \n", "Bearer x.y.z", "x\ny", "x" * 20_000, "\udcff"])
def test_a_file_that_holds_no_token_is_told_of(
    backbone: Any, ledger: Ledger, token_file: Path, content: str
) -> None:
    token_file.write_text(content, errors="surrogateescape")
    result = backbone("runs")
    assert result.exit_code == 2
    assert f"{token_file} (BACKBONE_TOKEN_FILE) holds no token" in result.stderr
    assert ledger.shown == []


def test_a_file_that_is_not_there_is_told_of(
    backbone: Any, ledger: Ledger, token_file: Path
) -> None:
    token_file.unlink()
    result = backbone("runs")
    assert result.exit_code == 2
    assert "cannot be read: No such file" in result.stderr


def test_no_token_goes_in_the_clear(
    backbone: Any, ledger: Ledger, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKBONE_TLS_CLIENT_CA")
    result = backbone("runs")
    assert result.exit_code == 2
    assert "in the clear: set BACKBONE_TLS_CLIENT_CA" in result.stderr
    assert ledger.shown == []


def test_no_token_goes_to_a_server_that_nobody_vouches_for(
    backbone: Any,
    ledger: Ledger,
    token_file: Path,
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Authority.create(nowhere / "other", now=datetime.now(UTC))
    monkeypatch.setenv("BACKBONE_TLS_CLIENT_CA", str(other.certificate))
    assert backbone("runs").exit_code == 1
    assert ledger.shown == []


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("TOKEN_EXPIRED", "your token has expired: get a new one"),
        ("TOKEN_NOT_YET_VALID", "the clock of this machine"),
        ("TOKENS_NOT_TAKEN", "takes no tokens: show it a certificate"),
        ("TOKEN_AUDIENCE", "does not take your token: it is meant for somebody else"),
        ("UNAUTHENTICATED", "set BACKBONE_TOKEN_FILE and BACKBONE_TLS_CLIENT_CA"),
    ],
)
def test_a_refusal_says_what_to_do(
    backbone: Any, ledger: Ledger, token_file: Path, reason: str, said: str
) -> None:
    ledger.refusal = rpcerrors.UnauthenticatedError("it is meant for somebody else", reason=reason)
    result = backbone("runs")
    assert result.exit_code == 1
    assert said in result.stderr
    assert TOKEN not in result.stderr


def test_kafka_is_not_spoken_with_in_the_clear_instead(
    backbone: Any, ledger: Ledger, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    result = backbone("events", "tail", "--count", "1", "--timeout", "1")
    assert result.exit_code == 2
    assert "Kafka knows people by certificate" in result.stderr
