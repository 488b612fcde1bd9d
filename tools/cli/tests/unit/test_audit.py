"""Verifying the events of services, and the anchors that are kept elsewhere."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from backbone.audit.v1 import audit_pb2 as pb
from backbone.audit.v1 import audit_pb2_grpc
from runtime import rpcerrors
from signing.checkpoints import CHECKPOINTS, signed_content
from signing.keys import SigningKey

HASH = bytes(range(32))
ANCHOR = f"ledger:17:{HASH.hex()}"


class FakeAudit(audit_pb2_grpc.AuditServiceServicer):
    """Has 17 checkpoints, and is verified in three calls."""

    def __init__(self) -> None:
        self.findings: dict[int, list[pb.Finding]] = {}
        self.asked: list[pb.VerifyEventsRequest] = []
        self.on_call: Callable[[int], None] = lambda _: None
        self.newest = 17
        self.signature, self.signing_key_id = b"", ""

    def VerifyEvents(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        number = int(request.page_token or 0)
        self.on_call(number)
        response = pb.VerifyEventsResponse(
            findings=self.findings.get(number, []),
            checkpoints=6,
            events=100,
            unsealed_events=1 if number == 2 else 0,
            streams=5,
            last_checkpoint=6 * (number + 1),
            next_page_token="" if number == 2 else str(number + 1),
        )
        if number == 1:
            response.dropped_months.add(month="2025-01-01", events=3)
        return response

    def GetCheckpoint(self, request: Any, context: Any) -> Any:
        number = request.number or self.newest
        if not 0 < number <= self.newest:
            error = rpcerrors.NotFoundError(f"there is no checkpoint {number}")
            context.abort(error.code, error.message)
        response = pb.GetCheckpointResponse(number=number, hash=HASH, events=3)
        response.signature, response.signing_key_id = self.signature, self.signing_key_id
        response.sealed_at.FromJsonString("2026-11-01T12:00:00Z")
        return response


@pytest.fixture
def audits(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, FakeAudit]]:
    """A ledger and a registry with events each."""
    servers = []
    found = {}
    for service in ("ledger", "registry"):
        found[service] = FakeAudit()
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
        audit_pb2_grpc.add_AuditServiceServicer_to_server(found[service], server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        monkeypatch.setenv(f"BACKBONE_{service.upper()}_ADDRESS", f"127.0.0.1:{port}")
    yield found
    for server in servers:
        server.stop(None).wait()


def altered(position: int = 7) -> pb.Finding:
    return pb.Finding(
        kind=pb.FINDING_KIND_EVENT_ALTERED, detail="it is not as it was sealed", checkpoint=2,
        position=position, namespace="dev", stream="run:a", stream_version=5,
    )  # fmt: skip


def test_all_calls_of_all_services_are_added_up(backbone: Any, audits: Any) -> None:
    result = backbone("audit", "verify")
    assert result.exit_code == 0
    assert "everything is as it was written" in result.stderr
    for service in ("ledger", "registry"):
        assert (
            f"{service}: 300 events (1 not sealed yet), 18 checkpoints up to 18, 15 streams, "
            "dropped by retention: 2025-01" in result.stderr
        )
        assert [one.page_token for one in audits[service].asked] == ["", "1", "2"]


def test_findings_are_listed_and_fail(backbone: Any, audits: Any) -> None:
    audits["registry"].findings[1] = [altered()]
    result = backbone("audit", "verify", "-o", "json")
    assert result.exit_code == 1
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {
            "service": "registry", "finding": "event_altered", "checkpoint": 2, "position": 7,
            "detail": "it is not as it was sealed", "namespace": "dev", "stream": "run:a",
            "stream_version": 5,
        }
    ]  # fmt: skip
    assert "not everything is as it was written: 1 finding" in result.stderr


def test_so_many_findings_are_enough(backbone: Any, audits: Any) -> None:
    audits["ledger"].findings[0] = [altered(position) for position in range(1, 8)]
    result = backbone("audit", "verify", "--service", "ledger", "--limit", "3", "-o", "json")
    assert len(result.stdout.splitlines()) == 3
    assert len(audits["ledger"].asked) == 1
    assert "not complete: --service ledger --after 6 goes on" in result.stderr
    assert audits["registry"].asked == []


def test_it_goes_on_after_a_checkpoint(backbone: Any, audits: Any) -> None:
    assert backbone("audit", "verify", "--service", "ledger", "--after", "6").exit_code == 0
    assert audits["ledger"].asked[0].after_checkpoint == 6
    assert backbone("audit", "verify", "--after", "6").exit_code == 2


def test_an_interrupted_verification_says_how_to_go_on(backbone: Any, audits: Any) -> None:
    main = threading.main_thread().ident
    assert main is not None
    audits["ledger"].on_call = lambda number: (
        signal.pthread_kill(main, signal.SIGINT) if number == 1 else None
    )
    result = backbone("audit", "verify", "--service", "ledger")
    assert result.exit_code == 130
    assert "--after 6 goes on" in result.stderr


def test_the_newest_checkpoint_is_an_anchor(backbone: Any, audits: Any) -> None:
    result = backbone("audit", "checkpoint", "--service", "ledger", "-o", "json")
    told = json.loads(result.stdout)
    assert (told["number"], told["anchor"]) == (17, ANCHOR)
    assert backbone("audit", "verify", "--anchor", told["anchor"]).exit_code == 0


@pytest.mark.parametrize(
    ("anchor", "detail"),
    [
        (f"ledger:17:{'0' * 64}", "what it covers was rewritten"),
        (f"ledger:18:{HASH.hex()}", "is gone"),
    ],
)
def test_an_anchor_finds_what_was_rewritten(
    backbone: Any, audits: Any, anchor: str, detail: str
) -> None:
    result = backbone("audit", "verify", "--anchor", anchor, "-o", "json")
    assert result.exit_code == 1
    (told,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert detail in told["detail"]


@pytest.mark.parametrize(
    "words", [("--anchor", "17"), ("--anchor", ANCHOR, "--service", "registry")]
)
def test_an_anchor_of_nothing_is_refused(
    backbone: Any, audits: Any, words: tuple[str, ...]
) -> None:
    result = backbone("audit", "verify", *words)
    assert result.exit_code == 2
    assert "--anchor is" in result.stderr
    assert audits["ledger"].asked == []


def test_without_a_checkpoint_it_says_so(backbone: Any, audits: Any) -> None:
    audits["ledger"].newest = 0
    result = backbone("audit", "checkpoint", "--service", "ledger")
    assert result.exit_code == 1
    assert "no checkpoint" in result.stderr


@pytest.fixture
def trusted(tmp_path: Path) -> Any:
    """A key of checkpoints, and the file of the keys that are trusted, with what a test says."""
    key = SigningKey.generate(signer=CHECKPOINTS, key_id="2026-11")

    def trusted(**more: str) -> tuple[SigningKey, str]:
        listed = [{"id": key.key_id, "publicKey": key.public_key, **more}]
        path = tmp_path / "trusted.json"
        path.write_text(json.dumps({"keys": {CHECKPOINTS: listed}}))
        return key, str(path)

    return trusted


def test_the_newest_checkpoint_has_to_be_signed_by_a_trusted_key(
    backbone: Any, audits: Any, trusted: Any
) -> None:
    key, file = trusted()
    for service, audit in audits.items():
        audit.signature = key.sign(signed_content(service, HASH))
        audit.signing_key_id = key.key_id
    assert backbone("audit", "verify", "--trusted-keys", file).exit_code == 0
    # That of one service is none of another, whoever moves it.
    audits["ledger"].signature = audits["registry"].signature
    result = backbone("audit", "verify", "--trusted-keys", file, "-o", "json")
    assert result.exit_code == 1
    [finding] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (finding["service"], finding["checkpoint"]) == ("ledger", 17)
    assert finding["detail"] == "the signature of the newest checkpoint is not of it"


@pytest.mark.parametrize(
    ("key_id", "bounds", "told"),
    [
        ("", {}, "is not signed"),
        ("other", {}, "is signed with 'other', no trusted key"),
        ("2026-11", {"notAfter": "2026-10-31T00:00:00Z"}, "is not in force"),
        ("2026-11", {"revokedAt": "2026-11-02T00:00:00Z"}, "is not in force"),
    ],
)
def test_a_checkpoint_without_a_signature_that_counts_is_a_finding(
    backbone: Any, audits: Any, trusted: Any, *, key_id: str, bounds: Any, told: str
) -> None:
    key, file = trusted(**bounds)
    if key_id:
        audits["ledger"].signature = key.sign(signed_content("ledger", HASH))
        audits["ledger"].signing_key_id = key_id
    result = backbone("audit", "verify", "--service", "ledger", "--trusted-keys", file)
    assert result.exit_code == 1
    assert told in result.stdout


def test_keys_that_cannot_be_read_are_told(backbone: Any, audits: Any, tmp_path: Path) -> None:
    result = backbone("audit", "verify", "--trusted-keys", str(tmp_path / "none.json"))
    assert result.exit_code == 2
    assert "--trusted-keys: " in result.stderr
