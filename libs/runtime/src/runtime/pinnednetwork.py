"""Connections to addresses that were looked at: a name is resolved once, and that is used.

Whoever owns a name's DNS could otherwise answer with a public address for the check and with one
of our own network for the connection.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import httpcore

from runtime import addresses
from runtime.errors import AddressRefusedError

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def by_system(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host as the system resolves it, each once."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PinnedNetwork(httpcore.AsyncNetworkBackend):
    """The network as HTTP connections see it: names go to allowed addresses or nowhere.

    TLS is begun above of this, with the name: the certificate has to be the host's.
    """

    def __init__(
        self,
        networks: Collection[IPv4Network | IPv6Network] | None,
        *,
        resolve: Resolve = by_system,
    ) -> None:
        self._networks = networks
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that answers.

        Raises:
            AddressRefusedError: the host has an address that may not be reached.
            httpcore.ConnectError, httpcore.ConnectTimeout: it has none, or none answers.
        """
        try:
            found = await self._resolve(host, port)
        except OSError as exc:
            raise httpcore.ConnectError(f"the name {host} is not resolved: {exc}") from exc
        for address in found:
            # All have to be: which of them answers is chance.
            if not addresses.allowed(address, self._networks):
                raise AddressRefusedError(f"{host} is at {address}, {self._limits()}")
        failure: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for address in found:
            try:
                return await self._network.connect_tcp(
                    address,
                    port,
                    timeout=None if timeout is None else timeout / len(found),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failure = exc
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def _limits(self) -> str:
        if self._networks is None:
            return "which is no public address; only the operator's catalogue could allow it"
        return "outside of the networks that the operator's catalogue allows"
