import pytest

from router.domain import evaluating, routing
from router.domain.evaluating import DefinitionOutcome, TriggerEvaluation, TriggerOutcome

EVENT = {"type": "paid", "source": "shop", "payload": {"amount": 10, "currency": "EUR"}}


@pytest.fixture
def evaluate(make):
    def evaluate(*triggers, disabled=False, document=EVENT):
        active = routing.compile_definition(
            make.definition("d.one", *triggers), version=3, revision=7, disabled=disabled
        )
        return evaluating.evaluate(active, "paid", document)

    return evaluate


def test_a_trigger_that_takes_the_event_matches(evaluate):
    found = evaluate({"type": "paid", "match": {"payload": {"amount": [10]}}})
    assert found.outcome is DefinitionOutcome.MATCHED
    assert found.triggers == (TriggerEvaluation("t0", TriggerOutcome.MATCHED),)
    assert found.definition.version == 3


def test_a_pattern_tells_the_first_clause_that_fails_and_what_was_there(evaluate):
    pattern = {"payload": {"amount": [{"numeric": [">", 100]}], "country": ["DE"]}}
    (trigger,) = evaluate({"type": "paid", "match": pattern}).triggers
    assert trigger.outcome is TriggerOutcome.FILTERED
    assert (trigger.clause, trigger.seen) == ('payload.amount: [{"numeric":[">",100]}]', "10")


def test_a_condition_tells_its_text_and_what_it_read(evaluate):
    found = evaluate({"type": "paid", "when": "event.payload.amount > 100"})
    assert found.outcome is DefinitionOutcome.FILTERED
    (trigger,) = found.triggers
    assert trigger.clause == "event.payload.amount > 100"
    assert trigger.seen == "event.payload.amount = 10"


def test_an_error_is_neither_a_match_nor_a_miss(evaluate):
    found = evaluate({"type": "paid", "when": "event.payload.discount > 1"})
    assert found.outcome is DefinitionOutcome.ERRORED
    (trigger,) = found.triggers
    assert trigger.outcome is TriggerOutcome.ERRORED
    assert "discount" in trigger.detail
    assert trigger.seen == "event.payload.discount = absent"


def test_a_condition_behind_a_pattern_that_fails_is_not_looked_at(evaluate):
    (trigger,) = evaluate(
        {"type": "paid", "match": {"source": ["bank"]}, "when": "event.payload.discount > 1"}
    ).triggers
    assert trigger.outcome is TriggerOutcome.FILTERED
    assert trigger.clause == 'source: ["bank"]'


def test_triggers_of_other_types_say_which_and_alone_mean_not_listening(evaluate):
    found = evaluate({"type": "refunded"})
    assert found.outcome is DefinitionOutcome.NOT_LISTENING
    assert found.triggers[0].detail == "it listens to 'refunded'"
    both = evaluate({"type": "refunded"}, {"type": "paid"})
    assert both.outcome is DefinitionOutcome.MATCHED
    assert [t.outcome for t in both.triggers] == ["other_type", "matched"]


def test_disabled_says_what_it_would_have_made_of_the_event(evaluate):
    found = evaluate({"type": "paid"}, disabled=True)
    assert found.outcome is DefinitionOutcome.DISABLED
    assert found.triggers[0].outcome is TriggerOutcome.MATCHED
    other = evaluate({"type": "refunded"}, disabled=True)
    assert other.outcome is DefinitionOutcome.NOT_LISTENING


def test_evaluating_and_routing_say_the_same(make):
    """Whatever is a candidate by the index is one here, with the same outcome."""
    cases = {
        "d.match": {"type": "paid", "match": {"payload": {"amount": [10]}}},
        "d.other": {"type": "paid", "match": {"payload": {"amount": [11]}}},
        "d.when": {"type": "paid", "when": "event.payload.amount > 100"},
        "d.error": {"type": "paid", "when": "event.payload.none > 100"},
        "d.deaf": {"type": "refunded"},
    }
    index = routing.Index()
    for name, trigger in cases.items():
        index.put(routing.compile_definition(make.definition(name, trigger), version=1, revision=1))
    routed = {
        one.definition.definition_id: str(one.outcome) for one in index.candidates("paid", EVENT)
    }
    evaluated = {
        active.definition_id: str(evaluating.evaluate(active, "paid", EVENT).outcome)
        for active in index
    }
    assert evaluated == routed | {"d.other": "filtered", "d.deaf": "not_listening"}
    listening = evaluating.listening(index, "paid")
    assert {one.definition_id for one in listening} == cases.keys() - {"d.deaf"}
    first = evaluating.wanting_first(listening, index, "paid", EVENT)
    assert [one.definition_id for one in first] == ["d.error", "d.match", "d.when", "d.other"]


def test_nothing_in_a_document_makes_it_fail(evaluate):
    for payload in (None, [], [[{}]], {"amount": {}}, {"amount": float("inf")}):
        found = evaluate(
            {"type": "paid", "match": {"payload": {"amount": [{"numeric": [">", 1]}]}}},
            {"type": "paid", "when": "event.payload.amount > 1"},
            document=EVENT | {"payload": payload},
        )
        assert len(found.triggers) == 2
