"""A proxy does to a connection what it is told to, and no longer than that."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
from proxies import Proxies

EDGE = "router-redis"


@pytest.fixture
def proxies(tmp_path, redis_url) -> Iterator[Proxies]:
    proxies = Proxies(tmp_path, (EDGE, "worker-ledger"))
    proxies.start()
    proxies.lead(EDGE, redis_url.removeprefix("redis://").partition("/")[0])
    yield proxies
    proxies.stop()


def ping(proxies: Proxies, *, seconds: float = 5.0) -> bytes:
    """Return what the server says over a new connection: nothing when it is closed."""
    host, _, port = proxies.addresses[EDGE].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64)


def test_an_edge_leads_where_it_is_told_to(proxies):
    assert ping(proxies) == b"+PONG\r\n"


def test_a_cut_edge_refuses_until_it_is_healed(proxies):
    proxies.cut(EDGE)
    with pytest.raises(ConnectionError):
        ping(proxies)

    proxies.heal(EDGE)
    assert ping(proxies) == b"+PONG\r\n"


def test_a_cut_ends_what_is_connected(proxies):
    host, _, port = proxies.addresses[EDGE].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(64) == b"+PONG\r\n"
        proxies.cut(EDGE)
        assert connection.recv(64) == b""


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_a_black_hole_answers_nothing_and_closes_nothing_until_it_is_healed(proxies, stream):
    proxies.poison(EDGE, "timeout", stream=stream, attributes={"timeout": 0})
    with pytest.raises(TimeoutError):
        ping(proxies, seconds=0.5)

    proxies.heal(EDGE)
    assert ping(proxies) == b"+PONG\r\n"


def test_a_slow_edge_answers_late(proxies):
    proxies.poison(EDGE, "latency", stream="downstream", attributes={"latency": 300, "jitter": 0})
    began = time.monotonic()
    assert ping(proxies) == b"+PONG\r\n"
    assert time.monotonic() - began >= 0.25


def test_a_reset_edge_ends_the_connection_without_an_answer(proxies):
    proxies.poison(EDGE, "reset_peer", stream="downstream", attributes={"timeout": 0})
    # Whether the end is seen as one or as a reset is the system's business.
    with contextlib.suppress(ConnectionResetError):
        assert ping(proxies) == b""


def test_what_is_wrong_with_a_request_is_told(proxies):
    with pytest.raises(RuntimeError, match="404"):
        proxies.cut("unknown")
