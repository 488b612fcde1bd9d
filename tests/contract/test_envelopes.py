"""What producers write: envelopes that everybody takes, and that the schema and the parser refuse.

Written before they were read: the bytes stand here as a producer in any language sends them.
"""

import json

import jsonschema_rs
import pytest

from contracts import envelope as envelopes
from contracts import jsonschemas
from contracts.rejections import EventRejectedError, Reason

SCHEMA = jsonschema_rs.validator_for(
    json.loads((jsonschemas.DIRECTORY / "envelope.schema.json").read_text()), validate_formats=True
)
LEAST = {
    "event_id": "payment-1",
    "type": "billing.payment.received",
    "source": "billing/payments",
    "occurred_at": "2026-03-02T12:00:00Z",
    "payload": {"amount": 12.5},
}
TAKEN = {
    "with as little as there may be": LEAST,
    "with everything": LEAST
    | {
        "subject": "INV-0001",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "schema_version": 3,
        "namespace": "dev",
        "correlation_id": "order-1",
        "causation_id": "order-1",
    },
    "without facts": LEAST | {"payload": {}},
    "with a list for a payload": LEAST | {"payload": [1, "two", None]},
    "with an offset": LEAST | {"occurred_at": "2026-03-02T13:00:00.123456+01:00"},
    "with extensions": LEAST | {"hops": 2, "traceparent": "00-x", "tenant": {"id": 7}},
    "of a later release": LEAST | {"added_later": [1]},
    "with names in other scripts": LEAST | {"subject": "Müller 日本", "payload": {"ключ": "✓"}},
}
REFUSED = {
    "without an id": {name: value for name, value in LEAST.items() if name != "event_id"},
    "without a payload": {name: value for name, value in LEAST.items() if name != "payload"},
    "with an empty type": LEAST | {"type": ""},
    "with a control character": LEAST | {"subject": "a\u0000b"},
    "with a time that has no zone": LEAST | {"occurred_at": "2026-03-02T12:00:00"},
    "with a date for a time": LEAST | {"occurred_at": "yesterday"},
    "with schema version 0": LEAST | {"schema_version": 0},
    "with a text for a schema version": LEAST | {"schema_version": "one"},
    "with a namespace that can be none": LEAST | {"namespace": "Dev!"},
    "with a trace id of another form": LEAST | {"trace_id": "0AF7"},
}


@pytest.mark.parametrize("name", TAKEN)
def test_envelope_is_taken_by_parser_and_schema_and_written_as_it_was(name):
    document = TAKEN[name]
    SCHEMA.validate(document)
    read = envelopes.parse(json.dumps(document).encode())
    written = json.loads(envelopes.render(read))
    SCHEMA.validate(written)
    # The time is spelled in UTC or with its offset: the same instant, and nothing is lost.
    assert written.keys() == document.keys() | {"schema_version"}
    assert envelopes.parse(json.dumps(written).encode()) == read
    kept = document.keys() - {"occurred_at"}
    assert {field: written[field] for field in kept} == {field: document[field] for field in kept}


@pytest.mark.parametrize("name", REFUSED)
def test_envelope_is_refused_by_parser_and_schema(name):
    document = REFUSED[name]
    assert not SCHEMA.is_valid(document)
    with pytest.raises(EventRejectedError) as refusal:
        envelopes.parse(json.dumps(document).encode())
    assert refusal.value.reason in {Reason.INVALID_ENVELOPE, Reason.NAIVE_TIME}
