"""A signature as a header carries it: who signed with which key, for whom, when, and 64 bytes.

`v1;key=billing-service/2026-11;aud=dev.orders;iat=1796000000000;sig=<base64>`. The version is the
algorithm, Ed25519; nothing in a record can choose another one. There is one spelling of each.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from contracts.names import Header
from contracts.rejections import EventRejectedError, Reason
from signing.message import Headers

SIGNATURE_BYTES = 64
MAX_HEADER_BYTES = 640
"""The longest that a signature can be: a signer and a key of 64 characters each, a topic of 249."""

_FORM = re.compile(
    rb"v1;key=([a-z][a-z0-9_-]{0,62})/([A-Za-z0-9][A-Za-z0-9._-]{0,63})"
    rb";aud=([A-Za-z0-9._-]{1,249});iat=(0|[1-9][0-9]{0,14});sig=([A-Za-z0-9+/]{86}==)"
)


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed (`signer`, `key_id`), for which topic, and when: milliseconds since 1970.

    What it says holds only after `signing.verification` has said so.
    """

    signer: str
    key_id: str
    audience: str
    issued_at_ms: int
    value: bytes

    @property
    def key(self) -> str:
        """The key's name as people read it: that of the signer and its own."""
        return f"{self.signer}/{self.key_id}"

    def header(self) -> tuple[str, bytes]:
        """Return the Kafka header that carries it."""
        return Header.SIGNATURE.value, render(self)


def render(signature: Signature) -> bytes:
    """Return a signature as a header carries it."""
    encoded = base64.b64encode(signature.value).decode()
    return (
        f"v1;key={signature.key};aud={signature.audience};iat={signature.issued_at_ms};sig={encoded}"
    ).encode()


def parse(content: bytes) -> Signature:
    """Read a signature.

    Raises:
        EventRejectedError: it is none, or not in the one spelling that it has.
    """
    match = _FORM.fullmatch(content) if len(content) <= MAX_HEADER_BYTES else None
    if match is None:
        raise EventRejectedError(
            Reason.MALFORMED_SIGNATURE,
            f"the header {Header.SIGNATURE.value} is not of the form "
            "v1;key=<signer>/<key id>;aud=<topic>;iat=<milliseconds>;sig=<base64>",
        )
    signer, key_id, audience, issued_at, encoded = match.groups()
    try:
        value = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        value = b""
    # The last character of the base64 has bits to spare: more than one would stand for the same.
    if len(value) != SIGNATURE_BYTES or base64.b64encode(value) != encoded:
        raise EventRejectedError(
            Reason.MALFORMED_SIGNATURE, "the signature is not 64 bytes in canonical base64"
        )
    return Signature(
        signer=signer.decode(),
        key_id=key_id.decode(),
        audience=audience.decode(),
        issued_at_ms=int(issued_at),
        value=value,
    )


def find(headers: Headers | None) -> Signature | None:
    """Return the signature among the headers of a record, None when there is none.

    Raises:
        EventRejectedError: there are two, or it is none that can be read.
    """
    found = [content for name, content in headers or () if name == Header.SIGNATURE]
    if not found:
        return None
    if len(found) > 1:
        raise EventRejectedError(
            Reason.DUPLICATE_HEADER, f"{len(found)} headers {Header.SIGNATURE.value}, not one"
        )
    return parse(found[0] or b"")
