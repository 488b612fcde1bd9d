import subprocess
import sys
from pathlib import Path

import pytest

from devstack import preflight
from devstack.tools import cache


def test_a_python_too_old_is_named() -> None:
    assert preflight.python_problems((3, 11)) == []
    assert "Python 3.11 or newer is needed" in preflight.python_problems((3, 10))[0]


def test_debians_python_without_venv_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    [sentence] = preflight.module_problems()
    assert "lacks venv and ensurepip" in sentence
    assert f"python3.{sys.version_info.minor}-venv" in sentence


def test_a_system_without_programs_is_sent_to_compose() -> None:
    assert preflight.system_problems("Linux", "x86_64") == []
    assert "docker compose up" in preflight.system_problems("Windows", "AMD64")[0]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    below = tmp_path / "not" / "yet" / "there"
    assert preflight.folder_problems("the clone", below, 0.001, hint="") == []
    [sentence] = preflight.folder_problems("the clone", below, 10**9, hint="")
    assert sentence.startswith(f"{tmp_path}, for the clone, has ")


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": "/home/someone"},
        {"HOME": "/home/someone", "XDG_CACHE_HOME": "/cache"},
        {"HOME": "/home/someone", "BACKBONE_CACHE": "/backbone"},
        {"HOME": ""},
        {},
    ],
)
def test_it_looks_where_the_programs_will_be_installed(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "BACKBONE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert preflight.cache_folder(environment) == cache.directory()


def test_it_runs_as_a_script_with_the_standard_library_only() -> None:
    result = subprocess.run(
        [sys.executable, "-I", "-S", Path(preflight.__file__)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == (1 if result.stderr else 0)
    assert all(line.startswith("preflight: ") for line in result.stderr.splitlines())
