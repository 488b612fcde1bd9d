from console.domain import rules
from contracts.runs import FAILURES

DECISION = {
    "rules": [
        {"rule": "remind", "when": True, "items": 3, "tasks": ["a", "b"]},
        {"rule": "call", "when": False},
    ]
}
DEFINITION = {
    "spec": {
        "rules": [
            {"name": "remind", "forEach": {"item": "one", "in": "context.overdue"}},
            {"name": "call", "when": "event.payload.amount > 10"},
        ]
    }
}


def test_each_rule_says_what_it_saw_in_its_authors_words() -> None:
    remind, call = rules.rulings(DECISION, DEFINITION)
    assert (remind.is_true, remind.items, remind.for_each) == (True, 3, "context.overdue")
    assert list(remind.tasks) == ["a", "b"]
    assert (call.is_true, call.condition, call.items) == (False, "event.payload.amount > 10", None)


def test_without_the_definition_rules_are_told_without_their_conditions() -> None:
    assert [one.condition for one in rules.rulings(DECISION, None)] == ["", ""]
    assert rules.rulings({}, DEFINITION) == []


def test_what_was_looked_at_is_told_with_why_it_is_missing() -> None:
    overdue, rate = rules.looked_at({"overdue": [1, 2], "rate": None, FAILURES: {"rate": "away"}})
    assert (overdue.name, overdue.items, overdue.bytes) == ("overdue", 2, 5)
    assert (rate.name, rate.items, rate.missing) == ("rate", None, "away")
