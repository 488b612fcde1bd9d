"""The payload codec of Temporal: what workflows are given, give and fail with, encrypted.

Everything that Temporal stores of a payload is one other payload: AES-256-GCM over the payload as a
protobuf message, bound to the Temporal namespace. The id of the workflow is not bound: what a
Schedule starts is encrypted before that workflow has its id.
"""

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from opentelemetry.metrics import Counter
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from contracts.telemetry import Attribute, Metric
from runtime import logs, telemetry
from runtime.datakeys import DataKeyFile, DataKeyUnknownError, NotAuthenticError, NotOpenedError
from runtime.settings import Encryption

ENCODING = b"binary/encrypted"
KEY_ID = "encryption-key-id"
PURPOSE = "temporal"

_SERVERS_OWN = Payload(metadata={"encoding": b"json/plain"}, data=b'"ACTIVITY_ID_NOT_STARTED"')
"""What the server itself writes, which has no keys: the details of an activity that was cancelled
before anybody had begun it."""

_log = logs.get_logger(__name__)


class PlaintextRefusedError(NotOpenedError):
    """A payload is in the clear where only encrypted ones are taken."""


class EncryptionCodec(PayloadCodec):
    """Encrypts with the active key of a ring, and opens what any of its keys has encrypted.

    With `accept` what is in the clear is still taken, with `off` nothing is encrypted any more (or
    yet), and what is encrypted is opened all the same.
    """

    def __init__(self, keys: DataKeyFile | None, *, namespace: str, encryption: Encryption) -> None:
        """`keys` may lack only with `off`."""
        self._keys = keys
        self._namespace = namespace
        self._encryption = encryption
        self._refusals: Counter = telemetry.meter(__name__).create_counter(
            Metric.PAYLOADS_REFUSED, description="Payloads that were refused, by reason."
        )

    @property
    def encrypts(self) -> bool:
        """Whether what is sent is encrypted."""
        return self._encryption != "off"

    @property
    def key_id(self) -> str | None:
        """The key that encrypts now, None when nothing is encrypted."""
        if self._keys is None or not self.encrypts:
            return None
        return self._keys.newest().active

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload, whatever it is."""
        if self._keys is None or not self.encrypts:
            return list(payloads)
        keys = self._keys.newest()
        encoded = []
        for payload in payloads:
            sealed = keys.seal(
                payload.SerializeToString(), purpose=PURPOSE, bound_to=(self._namespace,)
            )
            metadata = {"encoding": ENCODING, KEY_ID: sealed.key_id.encode()}
            encoded.append(Payload(metadata=metadata, data=sealed.data))
        return encoded

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open what is encrypted.

        Raises:
            NotOpenedError: the key is not here, the payload is not authentic, or it is in the clear
                and must not be. In a worker the workflow task, or the attempt of the activity,
                fails with it and is tried again: what can be mended by a key goes on once it is.
        """
        try:
            return [self.open(payload) for payload in payloads]
        except NotOpenedError as exc:
            reason = _REASONS[type(exc)]
            self._refusals.add(1, {Attribute.NAMESPACE: self._namespace, Attribute.REASON: reason})
            _log.error("payload_refused", namespace=self._namespace, reason=reason, error=str(exc))
            raise

    def open(self, payload: Payload) -> Payload:
        """Open one payload. Raises as `decode`; it is neither counted nor logged."""
        key_id = key_of(payload)
        if key_id is None:
            if self._encryption == "required" and payload != _SERVERS_OWN:
                raise PlaintextRefusedError(
                    "a payload from Temporal is in the clear, and BACKBONE_ENCRYPTION=required "
                    "takes none that is: whoever wrote it has no data keys; while a stack begins "
                    "to encrypt, set BACKBONE_ENCRYPTION=accept"
                )
            return payload
        if self._keys is None:
            raise DataKeyUnknownError(
                f"a payload from Temporal is encrypted with the data key {key_id[:64]!r}, and "
                "there are no data keys here (BACKBONE_DATA_KEYS)"
            )
        content = self._keys.newest().open(
            key_id, payload.data, purpose=PURPOSE, bound_to=(self._namespace,)
        )
        opened = Payload()
        try:
            opened.ParseFromString(content)
        except DecodeError as exc:
            raise NotAuthenticError("what a payload from Temporal holds is no payload") from exc
        return opened


def key_of(payload: Payload) -> str | None:
    """Return the id of the key that a payload is encrypted with, None when it is in the clear."""
    if payload.metadata.get("encoding") != ENCODING:
        return None
    return payload.metadata.get(KEY_ID, b"").decode("ascii", "replace")


_REASONS: dict[type[NotOpenedError], str] = {
    PlaintextRefusedError: "plaintext",
    DataKeyUnknownError: "unknown_key",
    NotAuthenticError: "not_authentic",
}
