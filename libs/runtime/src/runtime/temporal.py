"""Temporal clients, made the same way everywhere: Pydantic payloads, encrypted by one codec."""

from pathlib import Path

from temporalio.client import Client, HeaderCodecBehavior, Interceptor
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
)
from temporalio.service import RPCError

from runtime import telemetry
from runtime.encryption import AtRest
from runtime.errors import ConfigurationError, RuntimeLibraryError
from runtime.payloadcodec import EncryptionCodec
from runtime.temporalrenewal import Renewal
from runtime.tls import TlsFiles


class TemporalUnavailableError(RuntimeLibraryError):
    """The Temporal server does not answer, or does not know the namespace."""


def data_converter(codec: EncryptionCodec | None = None) -> DataConverter:
    """Return the converter of every client, worker and replayer; `codec` encrypts payloads.

    Where it does, the message and the stack trace of a failure are a payload too.
    """
    return DataConverter(
        payload_converter_class=PydanticPayloadConverter,
        payload_codec=codec,
        failure_converter_class=(
            DefaultFailureConverterWithEncodedAttributes
            if codec is not None and codec.encrypts
            else DefaultFailureConverter
        ),
    )


def codec_of(client: Client) -> EncryptionCodec | None:
    """Return the codec of a client that `connect` made; None of another one."""
    codec = client.data_converter.payload_codec
    return codec if isinstance(codec, EncryptionCodec) else None


async def connect(
    address: str,
    *,
    namespace: str,
    identity: str,
    tls: TlsFiles | None = None,
    token_file: Path | None = None,
    at_rest: AtRest | None = None,
    lazy: bool = False,
) -> Client:
    """Return a client of `namespace` on the server at `address` (host:port).

    A lazy client connects with its first call; a worker needs one that is not lazy. With `tls` it
    connects anew when the files have changed. In `token_file` is what it shows beside the
    certificate where Temporal asks what each may do; a new one is shown by the next call. `at_rest`
    says how payloads are encrypted, None that they are not, nor opened. Where traces are recorded,
    they go on through it and its workers.

    Raises:
        TemporalUnavailableError: nothing answers there (never with `lazy`).
        ConfigurationError: the files of `tls` or the token cannot be used, or there is a token
            and no `tls`.
    """
    if token_file is not None and tls is None:
        raise ConfigurationError(
            "a token in the clear is everybody's: BACKBONE_TEMPORAL_TOKEN_FILE needs "
            "BACKBONE_TLS_CERTIFICATE and its companions"
        )
    codec = None
    if at_rest is not None:
        codec = EncryptionCodec(at_rest.keys, namespace=namespace, encryption=at_rest.mode)
    try:
        return await Client.connect(
            address,
            namespace=namespace,
            identity=identity,
            data_converter=data_converter(codec),
            header_codec_behavior=(
                HeaderCodecBehavior.NO_CODEC if codec is None else HeaderCodecBehavior.CODEC
            ),
            interceptors=_tracing(),
            lazy=lazy,
            tls=False,  # else the plugin's
            plugins=[] if tls is None else [Renewal(tls, token=token_file)],
        )
    except (RuntimeError, RPCError) as exc:
        raise TemporalUnavailableError(f"Temporal at {address} cannot be reached: {exc}") from exc


def _tracing() -> list[Interceptor]:
    """Return what makes spans of workflows and Temporal activities, and hands the trace on."""
    if not telemetry.records():
        return []
    from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415 - dear to import

    return [TracingInterceptor()]
