"""Speaks mutual TLS for a server that cannot, which listens on a socket of the file system only.

    python -m devstack.tls_front PORT SOCKET CERTIFICATE KEY CA

The Redis that is installed from a package is built without TLS.
"""

import asyncio
import contextlib
import ssl
import sys

_CHUNK = 64 * 1024


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def _serve(port: int, socket: str, context: ssl.SSLContext) -> None:
    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind = await asyncio.open_unix_connection(socket)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, behind[1]), _pump(behind[0], writer))

    server = await asyncio.start_server(joined, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


def main(arguments: list[str]) -> None:
    """Serve until the process is ended."""
    port, socket, certificate, key, authority = arguments
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    asyncio.run(_serve(int(port), socket, context))


if __name__ == "__main__":
    main(sys.argv[1:])
