import json

import pytest

from router.domain import searching


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b'{"event_id":"e-1","type":"paid"', ()),
        (None, ()),
        (b"\xff\xfe e-1", ()),
        (b'["e-1"]', None),
        (b'{"event_id": ["e-1"]}', ()),
        (b"[" * 5000 + b'"e-1"', ()),
        (b'"e-1' + b"x" * 300_000 + b'"', ()),
        (b"e-1", (("content-type", None), ("ce_specversion", b"\xff"))),
    ],
)
def test_hostile_records_hold_no_event_and_break_nothing(make, value, headers):
    assert searching.looking_for("e-1")(make.record(value, headers=headers)) is None


def test_an_event_is_known_by_id_and_source(make):
    record = make.record(make.event("e-1"))
    assert searching.looking_for("e-1")(record).source == "shop"
    assert searching.looking_for("e-1", "shop")(record) is not None
    assert searching.looking_for("e-1", "bank")(record) is None
    # Its bytes are there, as another field's.
    assert searching.looking_for("paid")(record) is None


def test_an_id_is_found_however_it_is_written(make):
    escaped = make.event("x").replace(b'"x"', b'"\\u0065-\\u0031"')
    assert searching.looking_for("e-1")(make.record(escaped)) is not None
    assert searching.looking_for("ä/1")(make.record(make.event("ä/1"))) is not None
    binary = (
        ("ce_specversion", b"1.0"), ("ce_id", b"e-1"), ("ce_source", b"shop"),
        ("ce_type", b"paid"), ("content-type", b"application/json"),
    )  # fmt: skip
    assert searching.looking_for("e-1")(make.record(b"{}", headers=binary)).source == "shop"
    structured = json.dumps(
        {"specversion": "1.0", "id": "e-1", "source": "shop", "type": "paid", "data": {}}
    ).encode()
    headers = (("content-type", b"application/cloudevents+json"),)
    assert searching.looking_for("e-1")(make.record(structured, headers=headers)) is not None


def test_a_record_that_is_refused_is_found_by_what_it_claims(make):
    refused = make.record(b'{"event_id":"e-1","source":"shop","type":5}')
    assert searching.looking_for("e-1")(refused).source == "shop"
