"""Signed events on every service: the genuine start runs, each attack ends as a dead letter."""

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import observing
import pytest
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from waiting import until

from contracts import identifiers
from sdk.inbox.arrivals import read
from sdk.inbox.authentication import Authentication
from sdk.inbox.records import Record
from signing import keyfiles
from signing import signature as signatures
from signing.keys import SigningKey

TYPE = "e2e.signed.order"
KEY = b"order-1"


def metadata(name):
    return {"id": name, "namespace": "dev", "owner": "e2e"}


def resource(kind, name, spec):
    return {"apiVersion": "backbone/v1", "kind": kind, "metadata": metadata(name), "spec": spec}


def now_ms():
    return time.time_ns() // 1_000_000


class Shop:
    """A producer with keys, somebody who has none, and the stack in between."""

    def __init__(self, suite, backbone, folder):
        self.suite, self.backbone, self.folder = suite, backbone, folder
        self.name = f"e2e-shop-{uuid.uuid4().hex[:6]}"
        self.definition = f"e2e.signed-{uuid.uuid4().hex[:6]}"
        self.bootstrap = suite.endpoints.kafka_bootstrap_servers
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all"})

    def new_key(self, key_id, *words, signer=""):
        """Make a pair with the command, register it, and return the private key."""
        signer = signer or self.name
        self.backbone("keys", "new", signer, key_id, "-d", str(self.folder))
        files = self.folder / f"{signer}.{key_id}"
        self.backbone("keys", "register", signer, f"{files}.pub.json", *words)
        return keyfiles.read_private(self.folder / f"{signer}.{key_id}.key")

    def apply(self, *documents):
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        for document in documents:
            file = folder / f"{document['metadata']['id']}.yaml"
            file.write_text(yaml.safe_dump(document))
        self.backbone("apply", "-f", str(folder), "--reason", "a test of signatures")

    def event(self, event_id, **changes):
        """Return the bytes of an event; ids are unique in the shop's source."""
        document = {
            "event_id": event_id,
            "type": TYPE,
            "source": f"{self.name}/orders",
            "occurred_at": datetime.now(UTC).isoformat(),
            "payload": {"amount": 10},
        }
        return json.dumps(document | changes).encode()

    def signed(self, key, event_id, *, topic=observing.INPUT, at_ms=0, headers=(), **changes):
        """Return a record's value and headers, signed."""
        value = self.event(event_id, **changes)
        signature = key.sign_record(
            topic=topic, issued_at_ms=at_ms or now_ms(), key=KEY, headers=headers, value=value
        )
        return value, [*headers, signature.header()]

    def send(self, value, headers, *, key=KEY):
        self._producer.produce(observing.INPUT, key=key, value=value, headers=headers)

    async def decided(self):
        """Wait until the router has settled everything that was sent."""
        assert await asyncio.to_thread(self._producer.flush, 30) == 0

        async def settled():
            return await asyncio.to_thread(observing.uncommitted, self.bootstrap) == 0

        assert await until(settled, seconds=60)

    def reason(self, event_id):
        """Return the reason of an event's dead letter; None without one."""
        words = ("--event", event_id, "--source", f"{self.name}/orders")
        listed = self.backbone("dlq", "list", *words, "-o", "json")
        letters = [json.loads(line) for line in listed.splitlines()]
        assert len(letters) <= 1
        return letters[0]["code"] if letters else None

    def run_of(self, event_id):
        key = identifiers.event_trigger_key(f"{self.name}/orders", event_id)
        return identifiers.run_id(self.definition, key)


@pytest.fixture
async def ledger(suite):
    connection = await asyncpg.connect(suite.endpoints.postgres.dsn())
    yield connection
    await connection.close()


@pytest.fixture
def shop(suite, backbone, tmp_path):
    """A shop that has to sign; everybody else may emit what else there is, as before."""
    shop = Shop(suite, backbone, tmp_path)
    other = f"{shop.name}-other"
    everybody = f"{shop.name}-everybody"
    mine = {"sources": [f"{shop.name}/*"], "types": [TYPE]}
    task = {
        "type": "automated",
        "handler": "pack",
        "taskQueue": "e2e-handlers-tq",
        "input": {"line": "'signed'", "order": "trigger.kind"},
    }
    shop.apply(
        resource("EventType", TYPE, {"schemas": [{"version": 1, "schema": {}}]}),
        resource("Producer", everybody, {"sources": ["*"], "types": ["*"]}),
        resource("Producer", shop.name, mine),
        resource("Producer", other, {"sources": [f"{other}/*"], "types": [TYPE]}),
        resource(
            "ActivityDefinition",
            shop.definition,
            {
                "taskQueue": "e2e-tq",
                "triggers": [{"name": "order", "event": {"type": TYPE}}],
                "rules": [{"name": "pack", "task": task}],
            },
        ),
    )
    yield shop
    backbone("retire", shop.definition, "--reason", "the test is over")
    for producer in (everybody, shop.name, other):
        words = ("--kind", "producer", "--reason", "the test is over")
        backbone("retire", producer, *words)
    backbone("retire", TYPE, "--kind", "event-type", "--reason", "the test is over")


def attacks(shop, *, key, stranger, other):
    """Yield what somebody sends who can write to the topic: event id, record, reason."""

    def new():
        return f"e-{uuid.uuid4().hex}"

    def case(reason, make):
        event_id = new()
        value, headers, *rest = make(event_id)
        return event_id, value, headers, rest[0] if rest else KEY, reason

    def edited(event_id, edit):
        value, headers = shop.signed(key, event_id)
        return value, [*headers[:-1], (headers[-1][0], edit(headers[-1][1]))]

    def smuggled(event_id, *more):
        value, headers = shop.signed(key, event_id)
        return value, [*headers, *more]

    day = 86_400_000
    yield case("unsigned", lambda e: (shop.event(e), []))
    yield case("unknown_key", lambda e: shop.signed(stranger, e))
    forger = SigningKey.generate(signer=shop.name, key_id=key.key_id)
    yield case("bad_signature", lambda e: shop.signed(forger, e))
    yield case("producer_not_allowed", lambda e: shop.signed(other, e))
    yield case("wrong_audience", lambda e: shop.signed(key, e, topic="dev.payments"))
    yield case("signature_expired", lambda e: shop.signed(key, e, at_ms=now_ms() - 2 * day))
    yield case("issued_in_future", lambda e: shop.signed(key, e, at_ms=now_ms() + day))
    yield case(
        "malformed_signature", lambda e: edited(e, lambda s: s.replace(b"v1;", b"alg=none;"))
    )
    yield case("malformed_signature", lambda e: edited(e, lambda s: s.replace(b"v1;", b"v2;")))
    yield case("bad_signature", lambda e: (*shop.signed(key, e), b"order-2"))
    yield case("bad_signature", lambda e: smuggled(e, ("ce_subject", b"other")))
    yield case("bad_signature", lambda e: smuggled(e, ("content-type", b"text/plain")))
    twice = signatures.render(
        stranger.sign_record(topic="t", issued_at_ms=0, key=None, headers=(), value=b"")
    )
    yield case("duplicate_header", lambda e: smuggled(e, ("backbone-signature", twice)))

    def one_bit(event_id):
        value, headers = shop.signed(key, event_id)
        return value.replace(b'"amount": 10', b'"amount": 30'), headers

    yield case("bad_signature", one_bit)


@pytest.mark.timeout(300)
async def test_only_what_the_shop_signed_starts_something(shop, ledger):
    other = shop.new_key("1", signer=f"{shop.name}-other")
    key = shop.new_key("2026-11", "--required")
    stranger = SigningKey.generate(signer=shop.name, key_id="never-registered")
    started = []

    async def starts(event_id, make):
        """Send until it has a run: what the registry was told reaches the router in a moment."""

        async def has_run():
            shop.send(*make(event_id))
            await shop.decided()
            return await ledger.fetchval(
                "SELECT count(*) FROM ledger.runs WHERE run_id = $1", shop.run_of(event_id)
            )

        assert await until(has_run, seconds=60), "what the shop signed started nothing"
        started.append(shop.run_of(event_id))

    await starts("genuine", lambda event_id: shop.signed(key, event_id))
    sent = list(attacks(shop, key=key, stranger=stranger, other=other))
    for _, value, headers, record_key, _ in sent:
        shop.send(value, headers, key=record_key)
    await shop.decided()
    assert [(reason, shop.reason(event_id)) for event_id, *_, reason in sent] == [
        (reason, reason) for *_, reason in sent
    ]

    # Rotated: what the old key signed before its end is taken when it comes, and not after.
    late = shop.signed(key, "late")
    end = datetime.now(UTC) + timedelta(seconds=1)
    fresh = shop.new_key("2026-12", "--others-until", end.isoformat())
    await starts("fresh", lambda event_id: shop.signed(fresh, event_id))
    after = shop.signed(key, "after", at_ms=int(end.timestamp() * 1000) + 1)
    shop.send(*after)
    await starts("late", lambda _: late)
    assert shop.reason("after") == "key_not_in_force"

    # Revoked: nothing that it ever signed is taken, within its time or not.
    early = int(end.timestamp() * 1000) - 1
    shop.backbone("keys", "revoke", shop.name, "2026-11", "--reason", "it was on a laptop")
    marker = shop.new_key("2027-01")
    await starts("marker", lambda event_id: shop.signed(marker, event_id))
    shop.send(*shop.signed(key, "revoked", at_ms=early))
    await shop.decided()
    assert shop.reason("revoked") == "revoked_key"
    assert "revoked_key" in shop.backbone("explain", "event", "revoked", "-o", "json")

    rows = await ledger.fetch(
        "SELECT run_id FROM ledger.runs WHERE definition_id = $1", shop.definition
    )
    assert sorted(row["run_id"] for row in rows) == sorted(started)


def records_of(bootstrap, topic):
    """Return everything that stands in a topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "r"})
    found = []
    for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        consumer.assign([TopicPartition(topic, partition, 0)])
        offset = 0
        while offset < end:
            message = consumer.poll(10)
            assert message is not None
            assert message.error() is None
            offset = message.offset() + 1
            found.append(
                Record(
                    topic, partition, message.offset(), message.value(), message.headers(),
                    message.key(),
                )
            )  # fmt: skip
    consumer.close()
    return found


@pytest.mark.timeout(300)
async def test_what_backbone_emits_is_signed_once_and_copies_carry_the_same_signature(
    suite, backbone, keys, ledger, tmp_path
):
    name = f"e2e.signed-{uuid.uuid4().hex[:8]}"
    document = resource("EventType", name, {"schemas": [{"version": 1, "schema": {}}]})
    file = tmp_path / "type.yaml"
    file.write_text(yaml.safe_dump(document))
    began = datetime.now(UTC) - timedelta(seconds=5)
    backbone("apply", "-f", str(file), "--reason", "something to sign")
    bootstrap = suite.endpoints.kafka_bootstrap_servers

    async def mine():
        records = await asyncio.to_thread(records_of, bootstrap, observing.DEFINITIONS)
        return [record for record in records if name.encode() in (record.value or b"")]

    async def published():
        return len(await mine()) >= 1

    assert await until(published, seconds=60)
    stream = f"event-type:{name}"
    end = datetime.now(UTC) + timedelta(seconds=1)
    backbone(
        "outbox", "republish", "--service", "registry", "--from", began.isoformat(),
        "--to", end.isoformat(), "--stream", stream, "--reason", "to see it twice",
    )  # fmt: skip

    async def copied():
        return len(await mine()) >= 2

    assert await until(copied, seconds=60)
    trusted = Authentication(keyfiles.read_trusted(keys.trusted), oldest=timedelta(days=1))
    copies = await mine()
    assert {read(one, namespace="dev", authenticated=trusted).version for one in copies} == {1}
    assert len({dict(one.headers)["backbone-signature"] for one in copies}) == 1
    assert sum("backbone-republished" in dict(one.headers) for one in copies) >= 1
    # The whole of what this stack has emitted, as a consumer sees it.
    for topic in observing.OUT:
        for record in await asyncio.to_thread(records_of, bootstrap, topic):
            assert read(record, namespace="dev", authenticated=trusted)


def verify(backbone, *words):
    answer = backbone.ask("audit", "verify", "-o", "json", *words)
    return answer.code, answer.lines


@pytest.mark.timeout(300)
async def test_checkpoints_are_signed_by_a_key_that_the_audit_trusts(
    suite, backbone, keys, ledger, tmp_path
):
    async def sealed():
        return await ledger.fetchval("SELECT registry.events_sealed_to()") > 0

    name = f"e2e.signed-{uuid.uuid4().hex[:8]}"
    file = tmp_path / "type.yaml"
    document = resource("EventType", name, {"schemas": [{"version": 1, "schema": {}}]})
    file.write_text(yaml.safe_dump(document))
    backbone("apply", "-f", str(file), "--reason", "something to seal")
    assert await until(sealed, seconds=60)
    words = ("--service", "registry", "--trusted-keys")
    assert verify(backbone, *words, str(keys.trusted)) == (0, [])
    others = tmp_path / "others.json"
    stranger = SigningKey.generate(signer="checkpoints", key_id="1")
    others.write_text(
        json.dumps({"keys": {"checkpoints": [{"id": "1", "publicKey": stranger.public_key}]}})
    )
    code, (finding,) = verify(backbone, *words, str(others))
    assert (code, finding["finding"]) == (1, "checkpoint_altered")
