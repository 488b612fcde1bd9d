"""Which definitions an event starts."""

import json

import pytest

from router.domain import routing
from router.domain.routing import Index, Outcome, TriggerFiltered
from router.errors import DefinitionUnusableError


@pytest.fixture
def compiled(make):
    def compiled(definition_id, *triggers, version=1, disabled=False):
        return routing.compile_definition(
            make.definition(definition_id, *triggers),
            version=version,
            revision=version,
            disabled=disabled,
        )

    return compiled


def document(**payload):
    return {"event_id": "1", "type": "paid", "source": "shop", "payload": payload}


def outcomes(index, doc):
    return {c.definition.definition_id: c.outcome for c in index.candidates(doc["type"], doc)}


def test_only_definitions_of_the_type_are_candidates(compiled):
    index = Index()
    index.put(compiled("a", {"type": "paid"}))
    index.put(compiled("b", {"type": "refunded"}))
    assert outcomes(index, document()) == {"a": Outcome.MATCHED}


def test_pattern_and_condition_both_have_to_hold(compiled):
    index = Index()
    trigger = {
        "type": "paid",
        "match": {"payload": {"amount": [{"numeric": [">", 5]}]}},
        "when": 'event.payload.currency == "EUR"',
    }
    index.put(compiled("a", trigger))
    assert outcomes(index, document(amount=9, currency="EUR")) == {"a": Outcome.MATCHED}
    assert outcomes(index, document(amount=9, currency="USD")) == {"a": Outcome.FILTERED}
    # The condition, which would give an error here, is not looked at: the pattern decides first.
    assert outcomes(index, document(amount=1)) == {}


def test_a_definition_whose_pattern_does_not_match_is_no_candidate(compiled):
    index = Index()
    for number in range(50):
        amount = [{"numeric": [">=", number, "<", number + 1]}]
        index.put(
            compiled(f"d{number:02}", {"type": "paid", "match": {"payload": {"amount": amount}}})
        )
    assert outcomes(index, document(amount=7.5)) == {"d07": Outcome.MATCHED}
    assert outcomes(index, document(amount=-1)) == {}


def test_what_filtered_is_told_by_trigger_with_its_condition(compiled):
    index = Index()
    false = "event.payload.amount > 10"
    index.put(
        compiled(
            "a",
            {"type": "paid", "when": false},
            {"type": "paid", "match": {"payload": {"amount": [2]}}},
            {"type": "paid", "match": {"payload": {"amount": [3]}}, "when": "true"},
            {"type": "paid", "when": "event.payload.missing"},
        )
    )
    (candidate,) = index.candidates("paid", document(amount=2))
    assert (candidate.outcome, candidate.names) == (Outcome.MATCHED, ("t1",))
    assert candidate.filtered == (TriggerFiltered("t0", false),)
    assert [error.trigger for error in candidate.errors] == ["t3"]


def test_candidates_are_in_the_order_of_their_ids(compiled):
    index = Index()
    for definition_id in ("b", "c", "a"):
        index.put(compiled(definition_id, {"type": "paid"}))
    assert list(outcomes(index, document())) == ["a", "b", "c"]


def test_patterns_that_only_say_what_is_not_are_counted(compiled):
    index = Index()
    index.put(compiled("a", {"type": "paid", "match": {"payload": {"vip": [{"exists": False}]}}}))
    index.put(compiled("b", {"type": "paid", "match": {"source": ["shop"]}}))
    assert index.weak == 1
    index.remove("a")
    assert index.weak == 0


def test_matching_triggers_of_one_definition_are_one_candidate_with_all_names(compiled):
    index = Index()
    index.put(compiled("a", {"type": "paid"}, {"type": "paid", "when": "true"}, {"type": "other"}))
    (candidate,) = index.candidates("paid", document())
    assert candidate.names == ("t0", "t1")


def test_an_error_in_a_condition_is_neither_a_match_nor_a_refusal(compiled):
    index = Index()
    index.put(compiled("a", {"type": "paid", "when": "event.payload.missing > 1"}))
    index.put(compiled("b", {"type": "paid"}))
    candidates = {c.definition.definition_id: c for c in index.candidates("paid", document())}
    assert candidates["a"].outcome is Outcome.ERRORED
    assert "missing" in candidates["a"].errors[0].message
    assert candidates["b"].outcome is Outcome.MATCHED


def test_a_condition_that_is_not_a_truth_is_an_error(compiled):
    index = Index()
    index.put(compiled("a", {"type": "paid", "when": "event.payload.amount"}))
    assert outcomes(index, document(amount=1)) == {"a": Outcome.ERRORED}


def test_a_trigger_matches_beside_one_that_gives_an_error(compiled):
    index = Index()
    index.put(compiled("a", {"type": "paid", "when": "event.nope == 1"}, {"type": "paid"}))
    (candidate,) = index.candidates("paid", document())
    assert (candidate.outcome, candidate.names) == (Outcome.MATCHED, ("t1",))
    assert [error.trigger for error in candidate.errors] == ["t0"]


@pytest.mark.parametrize("event", [{"when": "event."}, {"match": {"payload": 1}}])
def test_a_trigger_that_does_not_compile_gives_errors_for_its_events(compiled, event):
    index = Index()
    index.put(compiled("a", {"type": "paid", **event}))
    assert outcomes(index, document()) == {"a": Outcome.ERRORED}


def test_a_new_version_replaces_the_types_of_the_earlier_one(compiled):
    index = Index()
    index.put(compiled("a", {"type": "paid"}, version=1))
    index.put(compiled("a", {"type": "refunded"}, version=2))
    assert index.candidates("paid", document()) == []
    assert index.candidates("refunded", document())[0].definition.version == 2
    assert len(index) == 1


def test_a_disabled_definition_is_a_candidate_whose_conditions_are_not_looked_at(compiled):
    index = Index()
    index.put(compiled("a", {"type": "paid", "when": "event.payload.missing > 1"}, disabled=True))
    index.put(compiled("b", {"type": "paid"}, disabled=True))
    unmatched = {"type": "paid", "match": {"payload": {"amount": [9]}}}
    index.put(compiled("c", unmatched, disabled=True))
    candidates = index.candidates("paid", document())
    assert [c.definition.definition_id for c in candidates] == ["a", "b"]
    assert {c.outcome for c in candidates} == {Outcome.DISABLED}
    assert not any(c.names or c.errors for c in candidates)


def test_a_definition_that_is_removed_is_no_candidate(compiled):
    index = Index()
    index.put(compiled("a", {"type": "paid"}))
    index.remove("a")
    index.remove("a")
    assert index.candidates("paid", document()) == []
    assert len(index) == 0


def test_an_older_version_that_comes_late_is_ignored(compiled):
    index = Index()
    index.put(compiled("a", {"type": "paid"}, version=2))
    assert not index.put(compiled("a", {"type": "paid"}, version=1))
    assert index.candidates("paid", document())[0].definition.version == 2


def test_content_of_another_language_is_unusable():
    with pytest.raises(DefinitionUnusableError):
        routing.compile_definition(json.dumps({"kind": "New"}).encode(), version=1, revision=1)
