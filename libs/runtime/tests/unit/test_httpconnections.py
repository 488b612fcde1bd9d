"""Clients that are slow on purpose, and more of them than are taken, over real connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from runtime.httpconnections import Limits
from runtime.httpserver import Health, HttpServer

SOON = timedelta(milliseconds=200)
NEVER = timedelta(hours=1)
ALIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 32 * 1024 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]


async def _large(_request: Request) -> Response:
    return PlainTextResponse("a" * LARGE)


@pytest.fixture
async def serve(
    unused_port: Callable[[], int],
) -> AsyncIterator[Callable[..., Awaitable[Connect]]]:
    """Serves within limits, and returns what opens connections."""
    async with AsyncExitStack() as stack:

        async def serve(**limits: object) -> Connect:
            port = unused_port()
            server = HttpServer(
                listen=f"127.0.0.1:{port}",
                health=Health(),
                routes=[Route("/large", _large)],
                limits=Limits(**{"head_time": NEVER, "unread_time": NEVER, **limits}),  # type: ignore[arg-type]
            )
            await server.start()
            stack.push_async_callback(server.stop)

            async def connect() -> Streams:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                stack.callback(writer.close)
                return reader, writer

            return connect

        yield serve


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Return what came before the server closed the connection."""
    came = bytearray()
    async with asyncio.timeout(10):
        # A reset, for what was still sent then, takes nothing back of what has come.
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(64 * 1024):
                came += chunk
    return bytes(came)


async def answered(streams: Streams) -> bytes:
    reader, writer = streams
    writer.write(ALIVE)
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(b'{"alive":true}'))
    return head


@pytest.mark.parametrize("said", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow"])
async def test_who_sends_no_whole_head_in_time_is_let_go(
    serve: Callable[..., Awaitable[Connect]], said: bytes
) -> None:
    connect = await serve(head_time=SOON)
    reader, writer = await connect()
    writer.write(said)
    assert await ended(reader) == b""


async def test_a_head_that_comes_byte_by_byte_gains_no_time(
    serve: Callable[..., Awaitable[Connect]],
) -> None:
    connect = await serve(head_time=SOON)
    reader, writer = await connect()

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(b"a")
            await asyncio.sleep(0.01)

    writer.write(b"GET /livez HTTP/1.1\r\nX: ")
    dripping = asyncio.create_task(drip())
    assert await ended(reader) == b""
    dripping.cancel()


async def test_a_body_that_nobody_waits_for_gains_no_time(
    serve: Callable[..., Awaitable[Connect]],
) -> None:
    connect = await serve(head_time=SOON)
    reader, writer = await connect()

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(b"a")
            await asyncio.sleep(0.01)

    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    dripping = asyncio.create_task(drip())
    assert (await ended(reader)).startswith(b"HTTP/1.1 200")
    dripping.cancel()


async def test_who_does_not_read_the_answer_is_let_go(
    serve: Callable[..., Awaitable[Connect]],
) -> None:
    connect = await serve(unread_time=SOON)
    reader, writer = await connect()
    writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    transport = writer.transport
    async with asyncio.timeout(10):
        await reader.readuntil(b"\r\n\r\n")
        # No more is read than what the reader holds already: the rest fills all buffers between.
        transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(2 * SOON.total_seconds())
        transport.resume_reading()  # type: ignore[attr-defined]
    assert len(await ended(reader)) < LARGE


async def test_a_connection_that_is_used_is_kept(
    serve: Callable[..., Awaitable[Connect]],
) -> None:
    connect = await serve()
    streams = await connect()
    assert (await answered(streams)).startswith(b"HTTP/1.1 200")
    assert (await answered(streams)).startswith(b"HTTP/1.1 200")


async def test_beyond_the_limit_the_connection_that_waited_longest_is_closed(
    serve: Callable[..., Awaitable[Connect]],
) -> None:
    connect = await serve(connections=3)
    first = await connect()
    assert await answered(first)
    others = [await connect() for _ in range(2)]
    for other in others:
        assert await answered(other)
    # A probe is answered however many hold connections.
    assert await answered(await connect())
    assert await ended(first[0]) == b""
    assert await answered(others[1])


async def test_a_head_beyond_its_size_is_refused(
    serve: Callable[..., Awaitable[Connect]],
) -> None:
    connect = await serve(head_bytes=4096)
    reader, writer = await connect()
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000)
    assert b"400 Bad Request" in await ended(reader)


async def test_nobody_is_told_what_serves(serve: Callable[..., Awaitable[Connect]]) -> None:
    connect = await serve()
    assert b"uvicorn" not in await answered(await connect())
