"""Who is a candidate, and what is told of one that starts nothing."""

import pytest

from contracts import envelope
from contracts.routing import RoutingOutcome
from router.domain import decisions
from router.domain.routing import Index, Outcome
from rules import expressions


@pytest.fixture
def document(make):
    return envelope.check(envelope.read(make.event()))


def test_a_definition_whose_pattern_does_not_match_is_no_candidate(definitions, document):
    other = {"payload": {"amount": [11]}}
    definitions.put("pattern", {"type": "paid", "match": other})
    definitions.put("off", {"type": "paid", "match": other}, disabled=True)
    definitions.put("condition", {"type": "paid", "when": "false"})
    definitions.put("matched", {"type": "paid"})
    found = definitions.index("dev").candidates("paid", document)
    assert {c.definition.definition_id: c.outcome for c in found} == {
        "condition": Outcome.FILTERED,
        "matched": Outcome.MATCHED,
    }
    assert Index().candidates("paid", document) == []


def test_a_disabled_definition_is_a_candidate_when_its_pattern_matches(definitions, document):
    definitions.put("off", {"type": "paid", "match": {"source": ["shop"]}}, disabled=True)
    (candidate,) = definitions.index("dev").candidates("paid", document)
    assert decisions.unstarted(candidate, document).outcome is RoutingOutcome.DISABLED


def test_a_filtered_candidate_tells_the_clause_and_what_it_saw(definitions, document):
    definitions.put(
        "a",
        {"type": "paid", "when": "event.payload.amount > 100"},
        {"type": "paid", "match": {"source": ["elsewhere"]}, "when": "event.subject == 'x'"},
        {"type": "paid", "when": "has(event.subject) && event.payload.amount == 10"},
    )
    (candidate,) = definitions.index("dev").candidates("paid", document)
    decision = decisions.unstarted(candidate, document)
    assert decision.outcome is RoutingOutcome.FILTERED
    assert decision.triggers == ("t0", "t2")
    assert decision.clause == (
        "event.payload.amount > 100; has(event.subject) && event.payload.amount == 10"
    )
    assert decision.seen == (
        "event.payload.amount = 10; event.subject = absent, event.payload.amount = 10"
    )


def test_an_errored_candidate_tells_the_error(definitions, document):
    definitions.put("a", {"type": "paid", "when": "event.payload.nope == 1"})
    (candidate,) = definitions.index("dev").candidates("paid", document)
    decision = decisions.unstarted(candidate, document)
    assert (decision.outcome, decision.triggers) == (RoutingOutcome.ERRORED, ("t0",))
    assert "nope" in decision.detail


@pytest.mark.parametrize(
    ("condition", "seen"),
    [
        ("event.a.b == 1", 'event.a.b = {"c": 1}'),
        ("event.a['b'].c == 1", 'event.a = {"b": {"c": 1}}'),
        ("event.list.exists(x, x == event.a.b.c)", "event.list = [1, 2], event.a.b.c = 1"),
        ("event.a.nope == 1", "event.a.nope = absent"),
        ("event.text == ''", 'event.text = "' + "x" * 79 + "…"),
        ("true", ""),
        ("size(event) > 1", ""),
    ],
)  # fmt: skip
def test_what_a_condition_saw_is_each_field_that_it_reads(condition, seen):
    expression = expressions.compile(condition, variables={"event"})
    document = {"a": {"b": {"c": 1}}, "list": [1, 2], "text": "x" * 100}
    assert decisions.seen(expression, document) == seen
