"""gRPC with the newest certificate: servers ask for it at each connection, clients for each call.

A channel is made anew for the next call when the files have changed. Calls that run on the old one
end there, streams that last for days too.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import grpc

from runtime.tls import Certificates, Material, TlsFiles

_MakeChannel = Callable[[grpc.ChannelCredentials], grpc.aio.Channel]


def server_credentials(
    files: TlsFiles, *, client_certificates: bool = True
) -> grpc.ServerCredentials:
    """Return credentials that require a client certificate, or else ask for none.

    Raises:
        ConfigurationError: the files cannot be used.
    """
    certificates = Certificates(files)
    served = certificates.newest()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        newest = certificates.newest()
        if newest is served:
            return None
        served = newest
        return _configuration(newest)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(served),
        # None is for "unchanged", which the stubs do not know.
        changed,  # type: ignore[arg-type]
        require_client_authentication=client_certificates,
    )


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.private_key, material.certificate)], root_certificates=material.client_ca
    )


def _credentials(material: Material) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=material.client_ca,
        private_key=material.private_key,
        certificate_chain=material.certificate,
    )


class RenewedChannel(grpc.aio.Channel):
    """What `make` makes of credentials with the newest certificate."""

    def __init__(self, files: TlsFiles, make: _MakeChannel) -> None:
        """Make the first. Raises ConfigurationError when the files cannot be used."""
        self._certificates = Certificates(files)
        self._make = make
        self._made_of = self._certificates.newest()
        self._current = _Counted(make(_credentials(self._made_of)))
        self._retired: set[_Counted] = set()

    def current(self) -> "_Counted":
        """Return the channel for the next call."""
        newest = self._certificates.newest()
        if newest is not self._made_of:
            before, self._made_of = self._current, newest
            self._current = _Counted(self._make(_credentials(newest)))
            self._retired.add(before)
            before.retire(lambda: self._retired.discard(before))
        return self._current

    async def close(self, grace: float | None = None) -> None:
        """Close it, and those before it that calls are still running on."""
        for one in (self._current, *self._retired):
            await one.channel.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - gRPC's
        """Return the state of the channel for the next call."""
        return self.current().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait as gRPC's own channel does."""
        await self.current().channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Return once the channel for the next call is connected."""
        await self.current().channel.channel_ready()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return what calls such a method."""
        return _Renewed(self, lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return what calls such a method."""
        return _Renewed(self, lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return what calls such a method."""
        return _Renewed(self, lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return what calls such a method."""
        return _Renewed(self, lambda channel: channel.stream_stream(*args, **kwargs))


class _Renewed:
    """A method's callable, of the channel for the next call."""

    def __init__(self, owner: RenewedChannel, make: Callable[[grpc.aio.Channel], Any]) -> None:
        self._owner = owner
        self._make = make
        self._made_of: _Counted | None = None
        self._callable: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        current = self._owner.current()
        if current is not self._made_of:
            self._made_of, self._callable = current, self._make(current.channel)
        call = self._callable(*args, **kwargs)
        current.counts(call)
        return call


class _Counted:
    """A channel, with how many calls run on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._running = 0
        self._closed: Callable[[], None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def counts(self, call: Any) -> None:
        self._running += 1
        call.add_done_callback(self._ended)

    def retire(self, closed: Callable[[], None]) -> None:
        """Close the channel once no call runs on it, then call `closed`."""
        self._closed = closed
        self._close_if_idle()

    def _ended(self, _call: Any) -> None:
        self._running -= 1
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closed is not None and not self._running and self._closing is None:
            self._closing = asyncio.ensure_future(self.channel.close())
            self._closing.add_done_callback(lambda _: self._closed and self._closed())
