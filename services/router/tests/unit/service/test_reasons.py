"""Every reason code can be provoked, and is explained."""

from pathlib import Path

import pytest

from contracts.eventtypes import EventType
from contracts.rejections import Reason
from router.domain.authentication import Authentication
from router.domain.instances import Directory
from router.service.routing import Router, Settled
from signing.verification import ReplayWindow

README = Path(__file__).parents[3] / "README.md"
CE = {"ce_specversion": b"1.0", "ce_id": b"e", "ce_type": b"paid", "ce_source": b"shop"}
NOW_MS = 1_795_000_000_000
STRUCTURED = b"application/cloudevents+json"


def headers(*more, **attributes):
    return (*(CE | attributes).items(), *more)


TOLD = EventType.model_validate(
    {
        "apiVersion": "backbone/v1",
        "kind": "EventType",
        "metadata": {"id": "told", "namespace": "dev", "owner": "tests"},
        "spec": {
            "subject": "payload.who",
            "schemas": [{"version": 1, "schema": {"properties": {"email": {"sensitive": True}}}}],
        },
    }
)

RECORDS = {
    Reason.OVERSIZE: lambda make: make.record(b'"' + b"x" * 262_143 + b'"'),
    Reason.EMPTY: lambda make: make.record(None),
    Reason.NOT_UTF8: lambda make: make.record(b"\xff"),
    Reason.MALFORMED_JSON: lambda make: make.record(b"{"),
    Reason.DUPLICATE_KEY: lambda make: make.record(b'{"a":1,"a":1}'),
    Reason.INVALID_NUMBER: lambda make: make.record(b"[NaN]"),
    Reason.TOO_DEEP: lambda make: make.record(b"[" * 65 + b"]" * 65),
    Reason.INVALID_ENVELOPE: lambda make: make.record(b"{}"),
    Reason.NAIVE_TIME: lambda make: make.record(make.event(occurred_at="2026-11-23T10:00:00")),
    Reason.WRONG_NAMESPACE: lambda make: make.record(make.event(namespace="prod")),
    Reason.TOO_MANY_HOPS: lambda make: make.record(make.event(hops=17)),
    Reason.EXPRESSION_ERROR: lambda make: make.record(make.event(type="errs")),
    Reason.UNROUTABLE: lambda make: make.record(make.event(type="refused")),
    Reason.UNREADABLE_HEADERS: lambda make: make.record(make.event(), headers=None),
    Reason.INVALID_HEADER: lambda make: make.record(b"{}", headers=headers(ce_time=b"\xff")),
    Reason.DUPLICATE_HEADER: lambda make: make.record(b"{}", headers=headers(("ce_id", b"x"))),
    Reason.HEADER_CONTRADICTION: lambda make: make.record(
        b'{"specversion":"1.0","id":"e","type":"paid","source":"other"}',
        headers=headers(("content-type", STRUCTURED)),
    ),
    Reason.INVALID_CLOUDEVENT: lambda make: make.record(b"{}", headers=headers(ce_hops=b"many")),
    Reason.UNSUPPORTED_SPECVERSION: lambda make: make.record(
        b"{}", headers=headers(ce_specversion=b"0.3")
    ),
    Reason.UNSUPPORTED_CONTENT_TYPE: lambda make: make.record(
        b"{}", headers=(("content-type", b"application/cloudevents+avro"),)
    ),
    Reason.UNSUPPORTED_DATA: lambda make: make.record(
        b"{}", headers=headers(("content-type", b"text/plain"))
    ),
    Reason.RESERVED_TYPE: lambda make: make.record(make.event(type="backbone.TaskCreated")),
    Reason.PRODUCER_NOT_ALLOWED: lambda make: make.record(make.event(source="stranger")),
    Reason.UNSIGNED: lambda make: make.record(make.event(source="strict")),
    Reason.SIGNATURE_NOT_TAKEN: lambda make: make.signed(
        make.event(source="refusing"), by=make.key(signer="refusing")
    ),
    Reason.MALFORMED_SIGNATURE: lambda make: make.record(
        make.event(), headers=(("backbone-signature", b"v2;alg=none"),)
    ),
    Reason.WRONG_AUDIENCE: lambda make: make.signed(
        make.event(source="strict"), audience="dev.other"
    ),
    Reason.UNKNOWN_KEY: lambda make: make.signed(
        make.event(source="strict"), by=make.key("unknown")
    ),
    Reason.REVOKED_KEY: lambda make: make.signed(make.event(source="strict"), by=make.key("lost")),
    Reason.KEY_NOT_IN_FORCE: lambda make: make.signed(
        make.event(source="strict"), by=make.key("old")
    ),
    Reason.BAD_SIGNATURE: lambda make: make.signed(
        make.event(source="strict"), by=make.key("k", seed="another")
    ),
    Reason.SIGNATURE_EXPIRED: lambda make: make.signed(
        make.event(source="strict"), at_ms=NOW_MS - 86_400_001
    ),
    Reason.ISSUED_IN_FUTURE: lambda make: make.signed(
        make.event(source="strict"), at_ms=NOW_MS + 120_001
    ),
    Reason.UNKNOWN_SCHEMA_VERSION: lambda make: make.record(make.event(schema_version=2)),
    Reason.SCHEMA_VIOLATION: lambda make: make.record(make.event(payload=[])),
    Reason.SUBJECT_MISSING: lambda make: make.record(
        make.event(type="told", payload={"email": "ada@example.org"})
    ),
    Reason.RESERVED_NAME: lambda make: make.record(make.event(payload={"$sensitive": "b"})),
    Reason.ID_CONFLICT: lambda make: make.record(make.event("known", payload={"amount": 2})),
}


@pytest.fixture
def router(definitions, starter, seen, dead_letters, decision_log, pending, counts, policy):  # noqa: PLR0917 - fixtures
    definitions.put("errs", {"type": "errs", "when": "event.payload.nope"})
    definitions.put("refused", {"type": "refused"})
    definitions.put("paid", {"type": "paid"})
    definitions.put("told", {"type": "told"})
    policy.put_event_type(TOLD)
    definitions.policies["dev"] = policy
    starter.refuses.add("refused")
    return Router(
        "dev", definitions=definitions, starter=starter, seen=seen, dead_letters=dead_letters,
        decision_log=decision_log, pending_starts=pending,
        directory=Directory(b"a secret of these tests"), observer=counts, concurrency=8,
        authentication=Authentication(clock=lambda: NOW_MS, window=ReplayWindow()),
    )  # fmt: skip


@pytest.mark.parametrize("reason", Reason)
async def test_each_reason_can_be_provoked_and_is_explained(router, dead_letters, make, reason):
    assert f"`{reason.value}`" in README.read_text(encoding="utf-8")
    await router.settle(make.record(make.event("known")), attempts=1)
    settled = await router.settle(RECORDS[reason](make), attempts=1)
    assert (settled, dead_letters.reasons) == (Settled.DEAD_LETTER, [reason])
