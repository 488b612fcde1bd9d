"""Identifiers: final from the first day, so their values are spelled out here."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from contracts import identifiers

DUE = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)


def test_a_scheduled_run_is_named_by_its_due_time_in_utc():
    berlin = DUE.astimezone(timezone(timedelta(hours=1)))
    assert identifiers.run_id("billing.overdue", identifiers.schedule_trigger_key(berlin)) == (
        "billing.overdue:2026-01-02T03:00:00Z"
    )


def test_an_event_run_is_named_by_a_hash_of_source_and_id():
    key = identifiers.event_trigger_key("shop", "42")
    assert key == "event:" + identifiers.short_hash("shop", "42")
    assert len(identifiers.short_hash("shop", "42")) == 26
    assert identifiers.event_trigger_key("shop4", "2") != key


def test_a_batch_is_named_by_the_record_that_began_it():
    place = {"topic": "dev.events", "partition": 3, "offset": 7, "cause": "", "event_id": "42"}
    batch_id = identifiers.pending_id("a.b", **place)
    assert batch_id == "mtatb5cz47mmdjqvhr6ymrgs7q"
    assert identifiers.run_id("a.b", identifiers.batch_trigger_key(batch_id)) == (
        f"a.b:batch:{batch_id}"
    )
    others = [{**place, "partition": 4}, {**place, "offset": 8}, {**place, "cause": "replay:1"}]
    assert len({identifiers.pending_id("a.b", **other) for other in [place, *others]}) == 4
    with pytest.raises(ValueError, match="not a batch id"):
        identifiers.batch_trigger_key("Carl:7")


def test_no_id_is_one_with_a_line_break_behind_it():
    with pytest.raises(ValueError, match="not a definition id"):
        identifiers.run_id("billing\n", identifiers.event_trigger_key("shop", "1"))
    with pytest.raises(ValueError, match="not a batch id"):
        identifiers.batch_trigger_key("a" * 26 + "\n")


def test_ids_never_change():
    run = identifiers.run_id("a.b", identifiers.manual_trigger_key("r1"))
    assert identifiers.short_hash("shop", "42") == "3zsq7a2q22vyivytxmwtxx42w4"
    assert (
        str(identifiers.task_id("dev", run, "remind", "7"))
        == "f4bc40f6-737c-5c60-8d80-e50557ce8977"
    )
    assert (
        identifiers.emitted_event_id("dev", "backbone/ledger", "run:x", 1)
        == "430dcf9a-1837-520a-ad09-bb0dde7d918c"
    )


def test_the_namespace_is_part_of_every_derived_id():
    run = identifiers.run_id("a.b", identifiers.manual_trigger_key("r1"))
    assert identifiers.task_id("dev", run, "r", "k") != identifiers.task_id("prod", run, "r", "k")
    assert identifiers.emitted_event_id("dev", "s", "x", 1) != identifiers.emitted_event_id(
        "prod", "s", "x", 1
    )


@pytest.mark.parametrize("bad", ["", "a:b", "A", "a..b", "-a", "a b", "ä"])
def test_a_malformed_definition_id_names_no_run(bad):
    with pytest.raises(ValueError, match="definition id"):
        identifiers.run_id(bad, identifiers.manual_trigger_key("r1"))


def test_a_naive_time_is_refused():
    with pytest.raises(ValueError, match="without a zone"):
        identifiers.schedule_trigger_key(datetime(2026, 1, 1))  # noqa: DTZ001 - the point


def test_an_instance_is_named_by_the_keyed_hash_of_its_key() -> None:
    found = identifiers.key_hash(b"secret", "billing.dunning", "anna@example.org")
    assert re.fullmatch(identifiers.KEY_HASH_PATTERN, found)
    assert found == identifiers.key_hash(b"secret", "billing.dunning", "anna@example.org")
    others = [
        identifiers.key_hash(b"another", "billing.dunning", "anna@example.org"),
        identifiers.key_hash(b"secret", "billing.dunnin", "ganna@example.org"),
        identifiers.key_hash(b"secret", "billing.dunning", "bert@example.org"),
    ]
    assert found not in others
    instance = identifiers.instance_id("billing.dunning", found, 2)
    assert instance == f"billing.dunning:instance:{found}:2"
    assert identifiers.parse_instance_id(instance) == ("billing.dunning", found, 2)
    for name in (instance, identifiers.instance_workflow_id("billing.dunning", found)):
        assert identifiers.holds_for_instance("billing.dunning", name)
        assert not identifiers.holds_for_instance("billing", name)
    assert not identifiers.holds_for_instance("billing.dunning", "billing.dunning:event:x")


@pytest.mark.parametrize("wrong", ["", "d:instance:x:1", f"d:instance:{'a' * 26}:0", "d:event:x"])
def test_what_is_no_instance_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="not the id of an instance"):
        identifiers.parse_instance_id(wrong)
