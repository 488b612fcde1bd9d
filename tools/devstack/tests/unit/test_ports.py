import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import ports
from devstack.ports import Ports
from devstack.state import StateFolder


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def test_a_port_is_kept_across_runs(state: StateFolder) -> None:
    first = Ports(state, print)
    port = first.port("postgres")
    first.release()

    assert Ports(state, print).port("postgres") == port


def test_a_port_taken_by_a_stranger_is_chosen_anew_and_told(state: StateFolder) -> None:
    first = Ports(state, print)
    port = first.port("postgres")
    first.release()
    told: list[str] = []
    with socket.create_server(("127.0.0.1", port)):
        other = Ports(state, told.append).port("postgres")

    assert other != port
    assert told == [f"port {port} of postgres is taken; using {other}"]
    assert Ports(state, print).port("postgres") != port


def test_a_listener_on_every_interface_takes_the_port_too() -> None:
    with socket.create_server(("", 0)) as stranger:
        assert not ports.free(stranger.getsockname()[1])


def test_two_stacks_never_get_the_same_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "_RANGE", range(31_000, 31_400))
    monkeypatch.setattr(ports, "_ATTEMPTS", 400)
    chosen = []
    stacks = []
    for number in range(20):
        folder = StateFolder(tmp_path / str(number))
        folder.create()
        stacks.append(Ports(folder, print))
        chosen += [stacks[-1].port(name) for name in ("postgres", "redis", "kafka")]

    assert len(set(chosen)) == len(chosen)
    for stack in stacks:
        stack.release()


def test_an_unused_port_goes_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: StateFolder
) -> None:
    monkeypatch.setattr(ports, "_RANGE", range(31_400, 31_600))
    chosen = {ports.unused() for _ in range(20)}
    assert len(chosen) == 20
    code = (
        "from devstack import ports; ports._RANGE = range(31_400, 31_600);"
        " print(*(ports.unused() for _ in range(20)))"
    )
    others = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert chosen.isdisjoint(map(int, others.stdout.split()))
    stack = Ports(state, print)
    assert stack.port("postgres") not in chosen
    stack.release()
