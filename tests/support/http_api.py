"""An HTTP API on a real socket, friendly or hostile: each path answers with what a test says."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Send = Callable[[bytes], Awaitable[None]]
Behaviour = Callable[[Send], Awaitable[None]]

CERTIFICATE = Path(__file__).parent / "tls" / "crm.test.pem"


def answer(body: bytes, *, status: str = "200 OK", **headers: str) -> Behaviour:
    """Answer at once."""
    told = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in told.items())

    async def send_it(send: Send) -> None:
        await send(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)

    return send_it


def as_json(value: Any) -> Behaviour:
    """Answer with a JSON value."""
    return answer(json.dumps(value).encode())


def endlessly(head: bytes, part: bytes, *, pause: float = 0.0) -> Behaviour:
    """Begin an answer, and go on with it for as long as somebody listens."""

    async def send_it(send: Send) -> None:
        await send(head)
        while True:
            await send(part)
            await asyncio.sleep(pause)

    return send_it


def cut(raw: bytes) -> Behaviour:
    """Send just this, and hang up."""

    async def send_it(send: Send) -> None:
        await send(raw)
        raise ConnectionError

    return send_it


@dataclass
class Api:
    """What is answered by target (the rest answers 404), and what was asked."""

    port: int = 0
    answers: dict[str, Behaviour] = field(default_factory=dict)
    targets: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    server_names: list[str | None] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1

        async def send(raw: bytes) -> None:
            writer.write(raw)
            await writer.drain()

        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, target = lines[0].split(" ")[:2]
                self.methods.append(method)
                self.targets.append(target)
                pairs = (line.split(": ", 1) for line in lines[1:] if line)
                self.headers.append({name.lower(): value for name, value in pairs})
                length = int(self.headers[-1].get("content-length", "0"))
                self.bodies.append(await reader.readexactly(length))
                await self.answers.get(target, answer(b"{}", status="404 Not Found"))(send)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


@asynccontextmanager
async def api(*, tls: bool = False) -> AsyncIterator[Api]:
    """Serve an API on a port of its own."""
    served = Api()
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        context.sni_callback = lambda _socket, name, _context: served.server_names.append(name)
    tasks: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await served.serve(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=context)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
