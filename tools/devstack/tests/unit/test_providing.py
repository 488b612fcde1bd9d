from pathlib import Path

import pytest

from devstack.errors import DevstackError
from devstack.infrastructure import provide
from devstack.infrastructure.local import LocalInfrastructure


def test_the_provider_may_be_said_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKBONE_PROVIDER", "local")

    assert isinstance(provide(tmp_path), LocalInfrastructure)


def test_an_unknown_provider_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBONE_PROVIDER", "podman")

    with pytest.raises(DevstackError, match="no provider 'podman'; there are local and containers"):
        provide(tmp_path)


def test_without_a_docker_engine_the_servers_are_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKBONE_PROVIDER", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")

    assert isinstance(provide(tmp_path), LocalInfrastructure)


def test_a_secure_stack_is_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKBONE_PROVIDER", raising=False)
    assert isinstance(provide(tmp_path, secure=True), LocalInfrastructure)
    with pytest.raises(DevstackError, match="a secure stack is of local processes"):
        provide(tmp_path, secure=True, provider="containers")
