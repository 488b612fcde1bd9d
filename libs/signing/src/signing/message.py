"""The bytes that a signature is of: DSSE's pre-authentication encoding of a record.

The encoding of DSSE v1 is `DSSEv1`, the length of the type, the type, the length of the body and
the body, with single spaces between them. Our body is a list of fields, each `<length>:<bytes>,`
as in a netstring, or `-,` for what is not there: the signer, its key, the audience, the issue time,
the record's key, how many headers follow, their names and values in order, and the value's bytes.
"""

from collections.abc import Sequence

from contracts.names import CLOUDEVENTS_HEADER_PREFIX, CONTENT_TYPE_HEADER, Header

PAYLOAD_TYPE = b"application/vnd.backbone.record.v1"

Headers = Sequence[tuple[str, bytes | None]]

_COVERED = frozenset({CONTENT_TYPE_HEADER, Header.STREAM.value, Header.STREAM_VERSION.value})


def encode(payload_type: bytes, body: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding (PAE) of a body of a type."""
    return b"DSSEv1 %d %b %d %b" % (len(payload_type), payload_type, len(body), body)


def of_record(
    *,
    signer: str,
    key_id: str,
    audience: str,
    issued_at_ms: int,
    key: bytes | None,
    headers: Headers,
    value: bytes | None,
) -> bytes:
    """Return the bytes that are signed for a record.

    `audience` is the topic it is for, `issued_at_ms` milliseconds since 1970. Of the headers those
    count that a reader decides by: none of them can be added, left out, repeated or changed.
    """
    covered = sorted(
        ((name.encode(), content) for name, content in headers if is_covered(name)),
        key=lambda header: (header[0], header[1] is not None, header[1] or b""),
    )
    fields: list[bytes | None] = [
        signer.encode(),
        key_id.encode(),
        audience.encode(),
        str(issued_at_ms).encode(),
        key,
        str(len(covered)).encode(),
    ]
    for header in covered:
        fields += header
    fields.append(value)
    return encode(PAYLOAD_TYPE, b"".join(map(_field, fields)))


def is_covered(header: str) -> bool:
    """Say whether readers decide by a header, so that a signature has to cover it.

    What kind of event it is, the attributes of a CloudEvent, and its place in a stream. The trace
    context is not: whoever carries a record on may change it. Neither is what the relay marks.
    """
    return header in _COVERED or header.startswith(CLOUDEVENTS_HEADER_PREFIX)


def _field(content: bytes | None) -> bytes:
    return b"-," if content is None else b"%d:%b," % (len(content), content)
