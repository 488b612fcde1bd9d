"""Temporal clients, made the same way everywhere: Pydantic payloads, a slot for a payload codec."""

import temporalio.converter
from temporalio.client import Client
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.service import RPCError

from runtime.errors import RuntimeLibraryError


class TemporalUnavailableError(RuntimeLibraryError):
    """The Temporal server does not answer, or does not know the namespace."""


def data_converter(
    codec: temporalio.converter.PayloadCodec | None = None,
) -> temporalio.converter.DataConverter:
    """Return the converter of every client, worker and replayer; `codec` encrypts payloads."""
    return temporalio.converter.DataConverter(
        payload_converter_class=PydanticPayloadConverter, payload_codec=codec
    )


async def connect(
    address: str,
    *,
    namespace: str,
    identity: str,
    codec: temporalio.converter.PayloadCodec | None = None,
    lazy: bool = False,
) -> Client:
    """Return a client of `namespace` on the server at `address` (host:port).

    A lazy client connects with its first call; a worker needs one that is not lazy.

    Raises:
        TemporalUnavailableError: nothing answers there (never with `lazy`).
    """
    try:
        return await Client.connect(
            address,
            namespace=namespace,
            identity=identity,
            data_converter=data_converter(codec),
            lazy=lazy,
        )
    except (RuntimeError, RPCError) as exc:
        raise TemporalUnavailableError(f"Temporal at {address} cannot be reached: {exc}") from exc
