"""`doctor` against services that answer, are away or refuse: each look is on its own."""

import json
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from grpc_health.v1 import health_pb2

from backbone.ledger.v1 import schedules_pb2
from backbone.registry.v1 import registry_pb2
from backbone.router.v1 import router_pb2
from cli import doctor_looks
from cli.doctor_findings import Finding, Kind
from cli.doctor_looks import Looked, failures
from cli.errors import CliError, NotReachableError, UnavailableError, UsageError
from devstack import ports
from runtime import authority, rpcerrors
from runtime.authority import Authority


def told(result: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def named(document: dict[str, Any], finding: str) -> list[dict[str, Any]]:
    return [one for one in document["findings"] if one["finding"] == finding]


def look(document: dict[str, Any], title: str) -> dict[str, Any]:
    (one,) = (one for one in document["looks"] if one["look"] == title)
    return one


def test_a_service_that_is_away_hides_nothing_of_the_others(
    backbone: Any, stack: Path, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = f"127.0.0.1:{ports.unused()}"
    monkeypatch.setenv("BACKBONE_LEDGER_ADDRESS", away)
    services.registry.drifts = [
        registry_pb2.Drift(
            definition_id="a.b", kind=registry_pb2.DRIFT_KIND_MISSING, detail="there is none"
        )
    ]
    services.router.letters = [router_pb2.DeadLetter(reason="oversize")]
    result = backbone("doctor", "-o", "json")
    document = told(result)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert named(document, "unreachable") == [
        {
            "severity": "error",
            "finding": "unreachable",
            "where": "ledger",
            "what": f"the ledger is not reachable at {away}",
            "do": "start it with `make up`, or set BACKBONE_LEDGER_ADDRESS to where it is",
            "count": 1,
        }
    ]
    assert [one["where"] for one in named(document, "schedule-missing")] == ["a.b"]
    assert [one["where"] for one in named(document, "dead-letters-open")] == ["oversize"]
    assert look(document, "health of the ledger")["severity"] is None
    assert look(document, "pending starts")["error"].startswith("the ledger is not reachable")
    assert look(document, "health of the router")["severity"] == "ok"
    assert look(document, "dead letters")["severity"] == "warning"
    # The fakes have no outboxes, and there is no Kafka.
    assert [one["where"] for one in named(document, "look-failed")] == ["registry"]
    assert [one["severity"] for one in named(document, "kafka-not-configured")] == ["warning"]
    severities = [one["severity"] for one in document["findings"]]
    assert severities == sorted(severities)
    assert (severities.count("error"), severities.count("warning")) == (
        document["errors"],
        document["warnings"],
    )


def test_a_service_that_does_not_serve_is_told(backbone: Any, stack: Path, services: Any) -> None:
    services.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    document = told(backbone("doctor", "-o", "json"))
    degraded = [one["where"] for one in named(document, "degraded")]
    assert degraded == ["registry", "ledger", "router"]


def test_what_is_overdue_is_told_with_the_command_that_shows_it(
    backbone: Any, stack: Path, services: Any
) -> None:
    one = schedules_pb2.OverdueSchedule(definition_id="a.b")
    one.since.FromDatetime(datetime.now(UTC) - timedelta(hours=2, minutes=1))
    services.schedules.overdue = [one]
    shown = backbone("doctor").stdout
    line = next(line for line in shown.splitlines() if "schedule-overdue" in line)
    assert "it was due 2h ago, and nobody has woken it" in line
    assert "`backbone schedules show a.b`" in line


def test_the_table_ends_with_what_is_well_and_what_was_not_looked_at(
    backbone: Any, stack: Path
) -> None:
    result = backbone("doctor")
    assert result.stdout.splitlines()[0].split() == (
        ["SEVERITY", "FINDING", "WHERE", "WHAT", "IS", "WRONG", "WHAT", "TO", "DO"]
    )
    well, unseen, failed = result.stderr.splitlines()
    assert well.startswith("looked at, and well: health of the registry, ")
    assert unseen == (
        "not looked at: topics, consumer group of the router, outbox of the ledger, "
        "outbox of the registry"
    )
    assert re.fullmatch(r"backbone: 3 errors and \d+ warnings in namespace dev", failed)


def test_yaml_and_json_say_the_same(backbone: Any, stack: Path) -> None:
    as_json, as_yaml = (
        loads(backbone("doctor", "-o", form).stdout)
        for loads, form in ((json.loads, "json"), (yaml.safe_load, "yaml"))
    )
    for document in (as_json, as_yaml):
        del document["looked_at"], document["looks"]
        # How long something is so goes on.
        for one in document["findings"]:
            one["what"] = re.sub(r"\d+[dhms]\b", "…", one["what"])
    assert as_json == as_yaml


def test_without_settings_nothing_is_looked_at_and_it_says_what_to_set(
    backbone: Any, nowhere: Path
) -> None:
    result = backbone("doctor", "-o", "json")
    document = told(result)
    assert result.exit_code == 1
    assert [one["where"] for one in named(document, "not-configured")] == [
        "registry",
        "ledger",
        "router",
    ]
    assert all("BACKBONE_" in one["do"] for one in document["findings"])


@pytest.mark.parametrize("option", ["--patience", "--timeout"])
def test_a_duration_that_is_none_is_a_sentence(backbone: Any, nowhere: Path, option: str) -> None:
    result = backbone("doctor", option, "soon")
    assert result.exit_code == 2
    assert option in result.stderr


def test_a_service_that_takes_calls_and_never_answers_is_given_up(
    backbone: Any, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("BACKBONE_REGISTRY_ADDRESS", f"127.0.0.1:{silent.getsockname()[1]}")
        document = told(backbone("doctor", "--timeout", "1s", "-o", "json"))
    assert look(document, "schedules as applied")["error"] == (
        "schedules as applied: there was no answer within 1s"
    )
    assert "registry" in {one["where"] for one in named(document, "look-failed")}
    assert look(document, "open runs")["error"] is None


def denied(reason: str) -> CliError:
    return CliError("you may not ask", reason=reason)


@pytest.mark.parametrize(
    ("error", "finding", "severity"),
    [
        (denied("ROLE_DENIED"), "not-allowed", "warning"),
        (denied("NAMESPACE_DENIED"), "namespace-denied", "error"),
        (UnavailableError("the ledger cannot answer now"), "degraded", "error"),
        (NotReachableError("it did not answer in time"), "unreachable", "error"),
        (UsageError("the token is no token"), "not-configured", "error"),
        (CliError("the ledger failed: INTERNAL"), "look-failed", "error"),
    ],
)
def test_why_a_look_failed_is_told_once_however_many_failed(
    error: CliError, finding: str, severity: str
) -> None:
    (one,) = failures(
        [Looked(title, "ledger", timedelta(0), error=error) for title in ("runs", "tasks")]
    )
    assert (one.kind, one.severity, one.where) == (finding, severity, "ledger")
    assert one.do


def test_failures_of_one_service_that_differ_are_told_each() -> None:
    said = ("the ledger failed: a", "the ledger failed: b", "the ledger failed: a")
    looked = [Looked("runs", "ledger", timedelta(0), error=CliError(one)) for one in said]
    assert [one.what for one in failures(looked)] == [
        "the ledger failed: a",
        "the ledger failed: b",
    ]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (None, (["--strict"], 0)),
        (Kind.CONSUMER_LAG, ([], 0)),
        (Kind.CONSUMER_LAG, (["--strict"], 1)),
        (Kind.OUTBOX_PARKED, ([], 1)),
    ],
)
def test_warnings_fail_only_what_is_strict(
    backbone: Any, stack: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind | None, given: Any
) -> None:
    words, code = given
    found = [] if kind is None else [Finding(kind, "here", "it is so", "mend it")]

    async def everything(*_given: Any, **_options: Any) -> list[Looked]:
        return [Looked("it", "here", timedelta(0), findings=found)]

    monkeypatch.setattr(doctor_looks, "everything", everything)
    result = backbone("doctor", *words)
    assert result.exit_code == code
    assert ("nothing is wrong in namespace dev" in result.stderr) == (kind is None)


def test_a_look_that_was_refused_is_a_warning_of_its_own(
    backbone: Any, stack: Path, services: Any
) -> None:
    services.router.refusal = rpcerrors.PermissionDeniedError(
        "local/ann may not call this", reason="ROLE_DENIED"
    )
    document = told(backbone("doctor", "-o", "json"))
    assert [one["what"] for one in named(document, "not-allowed")] == [
        "local/ann may not call this"
    ]
    assert look(document, "dead letters")["severity"] is None


def issued(folder: Path, *, lifetime: timedelta, age: timedelta) -> Any:
    made = Authority.create(folder, now=datetime.now(UTC) - age)
    assert made.certificate.is_file()
    request = authority.Request(name="dev.ana")
    return Authority.load(folder).issue(request, now=datetime.now(UTC) - age, lifetime=lifetime)


def certified(folder: Path, issue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBONE_TLS_CERTIFICATE", str(issue.certificate))
    monkeypatch.setenv("BACKBONE_TLS_PRIVATE_KEY", str(issue.private_key))
    monkeypatch.setenv("BACKBONE_TLS_CLIENT_CA", str(folder / "ca.crt"))


@pytest.mark.parametrize(
    ("age", "finding"),
    [
        (timedelta(hours=1), None),
        (timedelta(hours=18), "certificate-ends-soon"),
        (timedelta(hours=25), "certificate-ended"),
    ],
)
def test_a_certificate_is_told_before_it_ends_and_after(
    backbone: Any,
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    age: timedelta,
    finding: str | None,
) -> None:
    issue = issued(nowhere / "certs", lifetime=timedelta(hours=24), age=age)
    certified(nowhere / "certs", issue, monkeypatch)
    document = told(backbone("doctor", "-o", "json"))
    found = [one for one in document["findings"] if one["finding"].startswith("certificate-")]
    assert [(one["finding"], one["where"]) for one in found] == (
        [] if finding is None else [(finding, str(issue.certificate))]
    )


@pytest.mark.parametrize("spoiled", ["certificate", "private_key"])
def test_a_file_that_holds_no_certificate_or_another_key_is_told(
    backbone: Any, nowhere: Path, monkeypatch: pytest.MonkeyPatch, spoiled: str
) -> None:
    issue = issued(nowhere / "certs", lifetime=timedelta(hours=24), age=timedelta(0))
    certified(nowhere / "certs", issue, monkeypatch)
    path: Path = getattr(issue, spoiled)
    path.chmod(0o600)
    path.write_text("nothing\n")
    document = told(backbone("doctor", "-o", "json"))
    assert [one["where"] for one in named(document, "certificate-unreadable")] == [str(path)]


def test_a_token_that_is_not_there_is_told(
    backbone: Any, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_TOKEN_FILE", str(nowhere / "token"))
    (one,) = named(told(backbone("doctor", "-o", "json")), "token-unreadable")
    assert one["where"] == str(nowhere / "token")
    assert "cannot be read" in one["what"]
