"""The bytes of a signature never change: what was signed by one release holds in the next.

The signatures were made by `openssl pkeyutl -sign -rawin` over the bytes that are spelled out.
"""

import base64

import pytest

from contracts.names import Header
from signing import message
from signing import signature as signatures

SEED = bytes([1]) * 32
RECORDS = {
    "value and key": (
        {"key": b"order-1", "headers": (), "value": b'{"a":1}'},
        b'4:shop,7:2026-11,10:dev.orders,13:1796000000000,7:order-1,1:0,7:{"a":1},',
        "prepWg711lfrpJmfBpLKQxpKvc2Zli54PL/uJ1N8eGDtuW/SGm7Qd7Mb/tVDCnFJAtLX8IcgmIqdKtGoejUiCA==",
    ),
    "headers, in their order by name": (
        {
            "key": None,
            "headers": (
                ("ce_type", b"paid"),
                ("traceparent", b"any"),
                ("ce_id", b"1"),
                ("ce_id", None),
                (Header.REPUBLISHED.value, b"r"),
            ),
            "value": b"\xff\x00",
        },
        b"4:shop,7:2026-11,10:dev.orders,13:1796000000000,-,1:3,5:ce_id,-,5:ce_id,1:1,"
        b"7:ce_type,4:paid,2:\xff\x00,",
        "ZnUiIbaXurrysJ+nsixrchofV/ARCA8+LpwPAQcAwcIRI8OmB8a94c65bh94AXSVoBF20ttzwcbXf4onyLgQAA==",
    ),
    "a place in a stream, and no value": (
        {
            "key": b"",
            "headers": ((Header.STREAM_VERSION.value, b"2"), (Header.STREAM.value, b"run:1")),
            "value": None,
        },
        b"4:shop,7:2026-11,10:dev.orders,13:1796000000000,0:,1:2,15:backbone-stream,5:run:1,"
        b"23:backbone-stream-version,1:2,-,",
        "30Dl2+rIDONA2DOpSRFj562aKkzFE62gwowdXJ6tlinJEOOpdG9mmqk/1anwnXvXna8Qjuo+EtQujWhDL4pNCw==",
    ),
}


def test_the_encoding_is_that_of_the_specification_of_dsse():
    assert message.encode(b"http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize(("record", "body", "expected"), RECORDS.values(), ids=RECORDS)
def test_a_record_is_signed_over_these_bytes_with_this_signature(key, record, body, expected):
    signed = key.sign_record(topic="dev.orders", issued_at_ms=1_796_000_000_000, **record)
    content = message.of_record(
        signer="shop",
        key_id="2026-11",
        audience="dev.orders",
        issued_at_ms=1_796_000_000_000,
        **record,
    )
    assert content == b"DSSEv1 %d %b %d %b" % (34, message.PAYLOAD_TYPE, len(body), body)
    assert base64.b64encode(signed.value).decode() == expected
    assert signatures.render(signed).decode() == (
        f"v1;key=shop/2026-11;aud=dev.orders;iat=1796000000000;sig={expected}"
    )


def test_the_public_key_is_that_of_the_seed(key):
    assert key.public_key == "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w="
