"""A dead letter as it is kept holds nothing of the sender's, and opens at its own place alone."""

import pytest

from contracts.names import Header
from contracts.rejections import Reason
from router.adapters.dead_letter_seal import DeadLetterSeal, Parcel
from router.domain import dead_letters
from router.domain.records import Record
from runtime import datakeys
from runtime.datakeys import DataKeyFile, KeyDocument

CANARY = b"canary-4711"
KEYS = {"1": datakeys.generate(), "2": datakeys.generate()}
SENT = Record(
    "dev.events",
    3,
    9,
    1_700_000_000_123,
    CANARY + b" key",
    CANARY + b" value",
    (("a", CANARY), ("null", None), (CANARY.decode(), b"\xff"), ("backbone-data-key", b"forged")),
)


def seal(tmp_path, *ids, encrypts=True):
    ring = tmp_path / "data-keys.json"
    datakeys.write_document(ring, KeyDocument(active=ids[0], keys={one: KEYS[one] for one in ids}))
    return DeadLetterSeal(DataKeyFile(ring), encrypts=encrypts)


def parcel(record=SENT):
    detail = f"{CANARY.decode()} is not a number"
    headers = dead_letters.parked(record, reason=Reason.SCHEMA_VIOLATION, detail=detail, attempts=2)
    return Parcel(record.key, record.value, headers)


def kept(with_seal, record=SENT):
    """Return the record of the topic of dead letters."""
    sent = with_seal.sealed(parcel(record), namespace="dev")
    return Record("dev.backbone.dead-letters", 0, 1, 5, sent.key, sent.value, tuple(sent.headers))


def read(with_seal, found, namespace="dev"):
    opened, problem = with_seal.opened(found, namespace=namespace)
    return dead_letters.read(opened, unopened=problem)


def test_nothing_of_the_senders_is_in_the_clear(tmp_path):
    found = kept(seal(tmp_path, "1"))
    said = dict(found.headers)
    assert CANARY not in repr(found).encode()
    assert said[Header.REASON] == b"schema_violation"
    assert said[Header.ORIGIN_TOPIC] == b"dev.events"
    assert said[Header.DATA_KEY] == b"1"


@pytest.mark.parametrize(
    "record",
    [SENT, SENT._replace(key=None, value=None), SENT._replace(key=b"", value=b"", headers=None)],
)
def test_it_comes_back_as_it_was(tmp_path, record):
    one = seal(tmp_path, "1")
    letter = read(one, kept(one, record))
    assert letter.record == record
    assert letter.detail == "canary-4711 is not a number"
    assert (letter.reason, letter.attempts, letter.unopened) == ("schema_violation", 2, "")


def test_records_of_one_key_stay_in_one_partition(tmp_path):
    one = seal(tmp_path, "1")
    assert kept(one).key == kept(one).key != kept(one, SENT._replace(key=b"other")).key


def test_an_old_key_opens_and_a_new_one_seals(tmp_path):
    old = kept(seal(tmp_path, "1"))
    rotated = seal(tmp_path, "2", "1")
    assert read(rotated, old).record == SENT
    assert dict(kept(rotated).headers)[Header.DATA_KEY] == b"2"


def test_what_was_parked_before_it_was_sealed_is_read_as_it_is(tmp_path):
    assert read(seal(tmp_path, "1"), kept(DeadLetterSeal())).record == SENT
    # And what is sealed is read by one that seals no more.
    assert read(seal(tmp_path, "1", encrypts=False), kept(seal(tmp_path, "1"))).record == SENT


@pytest.mark.parametrize("ids", [(), ("2",)])
def test_without_its_key_it_says_so_and_shows_nothing(tmp_path, ids):
    found = kept(seal(tmp_path, "1"))
    letter = read(seal(tmp_path, *ids) if ids else DeadLetterSeal(), found)
    assert "data key '1'" in letter.unopened
    assert letter.detail == letter.unopened
    assert (letter.record.key, letter.record.value, letter.record.headers) == (None, None, ())
    assert letter.record.topic == "dev.events"


@pytest.mark.parametrize(
    "moved",
    [
        lambda headers: {**headers, Header.ORIGIN_OFFSET: b"10"},
        lambda headers: {**headers, Header.ORIGIN_TOPIC: b"dev.others"},
        lambda headers: {**headers, Header.REASON: b"not_utf8"},
        lambda headers: {**headers, Header.VALUE_CUT_FROM: b"1000"},
        lambda headers: {**headers, Header.SEALED: headers[Header.SEALED][:-1] + b"x"},
        lambda headers: {**headers, Header.SEALED: None},
        lambda headers: {**headers, Header.DATA_KEY: b"2"},
    ],
)
def test_moved_or_changed_it_does_not_open(tmp_path, moved):
    one = seal(tmp_path, "1", "2")
    found = kept(one)
    changed = found._replace(headers=tuple(moved(dict(found.headers)).items()))
    letter = read(one, changed)
    assert "does not open" in letter.unopened
    assert letter.record.value is None


def test_a_value_swapped_with_another_or_of_another_namespace_does_not_open(tmp_path):
    one = seal(tmp_path, "1")
    other = kept(one, SENT._replace(offset=10))
    assert read(one, kept(one)._replace(value=other.value)).unopened
    assert read(one, kept(one), namespace="prod").unopened
