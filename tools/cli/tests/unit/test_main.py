import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from devstack import ports


def test_address_that_is_not_known_says_what_to_set(backbone: Any, nowhere: Path) -> None:
    result = backbone("runs")
    assert result.exit_code == 2
    assert "BACKBONE_LEDGER_ADDRESS" in result.stderr
    assert "make up" in result.stderr


@pytest.mark.parametrize(
    ("words", "service"),
    [
        (("runs",), "ledger"),
        (("get", "-o", "json"), "registry"),
        (("trigger", "a.b"), "router"),
    ],
)
def test_unreachable_service_is_one_sentence(
    backbone: Any,
    nowhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    service: str,
) -> None:
    address = f"127.0.0.1:{ports.unused()}"
    monkeypatch.setenv(f"BACKBONE_{service.upper()}_ADDRESS", address)
    result = backbone(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"backbone: the {service} is not reachable at {address}: start it with `make up`, or set "
        f"BACKBONE_{service.upper()}_ADDRESS to where it is\n"
    )


def test_apply_to_an_unreachable_registry_is_one_sentence(
    backbone: Any, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_REGISTRY_ADDRESS", f"127.0.0.1:{ports.unused()}")
    for name in ("a.json", "b.json"):
        (nowhere / name).write_text("{}")
    result = backbone("apply", "-f", ".")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("not reachable") == 1


def test_service_without_its_database_is_told_apart_from_no_service(
    backbone: Any, stack: Path, services: Any
) -> None:
    services.ledger.away = services.registry.away = True
    for command, service in (("runs", "ledger"), ("get", "registry")):
        result = backbone(command)
        assert result.exit_code == 1
        assert f"the {service} cannot answer now: PostgreSQL cannot be reached" in result.stderr


def test_wrong_service_at_an_address_is_named(
    backbone: Any, nowhere: Path, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_REGISTRY_ADDRESS", services.empty_address)
    result = backbone("get")
    assert result.exit_code == 1
    assert "is not a registry of this version: check BACKBONE_REGISTRY_ADDRESS" in result.stderr


def test_yaml_is_refused_where_there_is_none(backbone: Any, stack: Path) -> None:
    result = backbone("ticks", "a.b", "-o", "yaml")
    assert result.exit_code == 2
    assert "yaml" in result.stderr


def test_addresses_are_found_from_a_folder_below(
    backbone: Any, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = stack / "some" / "where"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert backbone("runs").exit_code == 0


def test_environment_goes_before_the_file(
    backbone: Any, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_LEDGER_ADDRESS", f"127.0.0.1:{ports.unused()}")
    assert backbone("runs").exit_code == 1


def test_env_file_that_is_absent_is_an_error(backbone: Any, stack: Path) -> None:
    result = backbone("--env-file", "no.such", "runs")
    assert result.exit_code == 2
    assert "no.such" in result.stderr


def test_malformed_setting_is_named(
    backbone: Any, stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_NAMESPACE", "Not A Name")
    result = backbone("runs")
    assert result.exit_code == 2
    assert "BACKBONE_NAMESPACE" in result.stderr


@pytest.mark.parametrize("words", [("no-such-command",), ("runs", "--no-such-option")])
def test_what_was_mistyped_is_exit_code_2(
    backbone: Any, nowhere: Path, words: tuple[str, ...]
) -> None:
    assert backbone(*words).exit_code == 2


def test_interrupt_is_exit_code_130_without_a_traceback(nowhere: Path) -> None:
    with socket.socket() as silent:
        # Connects and never answers: the command waits for it.
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "runs"],
            env=os.environ | {"BACKBONE_LEDGER_ADDRESS": address},
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(30)
        accepted, _ = silent.accept()
        with accepted:
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in error
