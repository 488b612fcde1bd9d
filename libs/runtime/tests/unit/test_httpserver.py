"""Health over real HTTP."""

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette

from runtime import reloading
from runtime.authority import Authority, Request
from runtime.errors import ConfigurationError
from runtime.httpserver import Health, HttpServer, WebServer
from runtime.tls import TlsFiles

NOW = datetime.now(UTC)


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()


@pytest.fixture
async def server(unused_port):
    health, port = Health(), unused_port()
    subject = HttpServer(listen=f"127.0.0.1:{port}", health=health)
    await subject.start()
    yield health, port
    await subject.stop()


async def test_a_process_is_alive_before_it_is_ready(server):
    _, port = server
    assert (await asyncio.to_thread(get, port, "/livez"))[0] == 200
    assert (await asyncio.to_thread(get, port, "/readyz"))[0] == 503


async def test_a_failing_check_is_named(server):
    health, port = server

    async def broken():
        raise OSError("no route")

    health.set_serving(True)
    assert (await asyncio.to_thread(get, port, "/readyz"))[0] == 200
    health.add_check("ledger", broken)
    status, body = await asyncio.to_thread(get, port, "/readyz")
    assert status == 503
    assert json.loads(body)["problems"] == {"ledger": "no route"}


async def test_what_it_can_do_without_is_told_and_keeps_it_ready(server):
    health, port = server

    async def away():
        raise OSError("no cache")

    health.set_serving(True)
    health.add_caution("redis", away)
    status, body = await asyncio.to_thread(get, port, "/readyz")
    assert status == 200
    assert json.loads(body) == {"ready": True, "problems": {}, "warnings": {"redis": "no cache"}}


async def test_figures_are_served(server):
    _, port = server
    status, body = await asyncio.to_thread(get, port, "/metrics/")
    assert status == 200
    assert b"python_info" in body


async def test_a_taken_address_is_named(server):
    _, port = server
    with pytest.raises(ConfigurationError, match="BACKBONE_HTTP_LISTEN"):
        await HttpServer(listen=f"127.0.0.1:{port}", health=Health()).start()


def test_a_malformed_address_is_named():
    with pytest.raises(ConfigurationError, match="host:port"):
        HttpServer(listen="nowhere", health=Health())


async def shown(port: int) -> str:
    """Return the certificate that a new connection is shown."""
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=5)


async def test_a_certificate_that_is_replaced_is_shown_from_the_next_connection(
    unused_port, tmp_path, monkeypatch
):
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)
    ours = Authority.create(tmp_path, now=NOW)
    asked = Request(name="console", hosts=("127.0.0.1",))
    old = ours.issue(asked, now=NOW)
    first = old.certificate.read_text()
    tls = TlsFiles(old.certificate, old.private_key, ours.certificate)
    port = unused_port()
    server = WebServer(Starlette(), listen=f"127.0.0.1:{port}", tls=tls)
    await server.start()
    try:
        assert await shown(port) in first
        new = ours.issue(asked, now=NOW)  # into the same files
        assert (new.certificate, new.private_key) == (tls.certificate, tls.private_key)
        second = new.certificate.read_text()
        assert second != first
        async with asyncio.timeout(10):
            while await shown(port) not in second:
                pass
    finally:
        await server.stop()
