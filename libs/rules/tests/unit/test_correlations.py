"""Whose instance an event is."""

import pytest

from contracts import definitions
from contracts.definitions import ActivityDefinition
from rules import correlations
from rules.errors import ExpressionError


def stateful(*correlates: str | None, mode: str = "stateful") -> ActivityDefinition:
    task = {"type": "human", "title": "'t'", "assignees": {"users": ["u"]}}
    return definitions.ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "d", "namespace": "dev", "owner": "o"},
            "spec": {
                "taskQueue": "d-tq",
                "mode": mode,
                "instance": {} if mode == "stateful" else None,
                "triggers": [
                    {"name": f"t{n}", "event": {"type": "paid", "correlate": correlate}}
                    for n, correlate in enumerate(correlates)
                ],
                "rules": [{"name": "r", "task": task}],
            },
        }
    )


EVENT = {"type": "paid", "payload": {"invoice": "i-1", "amount": 10, "long": "x" * 2000}}


def test_a_definition_of_each_event_its_run_has_none() -> None:
    assert correlations.correlation(stateful("event.payload.invoice", mode="per-trigger")) is None


@pytest.mark.parametrize(("names", "key"), [(["t0"], "i-1"), (["t1"], "10"), (["t1", "t0"], "10")])
def test_the_first_trigger_that_matches_says_whose_it_is(names: list[str], key: str) -> None:
    found = correlations.correlation(stateful("event.payload.invoice", "event.payload.amount"))
    assert found is not None
    assert correlations.key(found, names, EVENT) == key


@pytest.mark.parametrize(
    ("correlate", "problem"),
    [
        ("event.payload.nobody", "nobody"),
        ("event.payload", "neither a text nor a whole number"),
        ("event.payload.amount == 10", "neither a text nor a whole number"),
        ("''", "0 characters"),
        ("event.payload.long", "2000 characters"),
        ("event.", "does not compile"),
        (None, "has no correlate"),
    ],
)
def test_an_event_of_nobody_is_an_error(correlate: str | None, problem: str) -> None:
    found = correlations.correlation(stateful(correlate))
    assert found is not None
    with pytest.raises(ExpressionError, match=problem):
        correlations.key(found, ["t0"], EVENT)


def test_a_trigger_that_is_not_there_any_more_gives_no_key() -> None:
    found = correlations.correlation(stateful("event.payload.invoice"))
    assert found is not None
    with pytest.raises(ExpressionError, match="no trigger"):
        correlations.key(found, ["gone"], EVENT)
