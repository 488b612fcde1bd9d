import json
from pathlib import Path
from typing import Any

import pytest

from backbone.ledger.v1 import routing_pb2
from backbone.router.v1 import router_pb2
from runtime import rpcerrors

PLACE = router_pb2.Place(topic="dev.payments", partition=1, offset=42)


def evaluation(outcome: str, *triggers: router_pb2.TriggerEvaluation, name: str = "billing.small"):
    return router_pb2.Evaluation(
        definition_id=name, definition_version=3, outcome=outcome, triggers=triggers
    )


def trigger(outcome: str, **told: str) -> router_pb2.TriggerEvaluation:
    return router_pb2.TriggerEvaluation(name="t", outcome=outcome, **told)


@pytest.fixture
def found(services: Any) -> Any:
    """An event without decisions, which is in Kafka and in a range that nobody wanted."""
    one = router_pb2.FoundEvent(place=PLACE, source="shop")
    one.timestamp.FromJsonString("2026-03-02T12:00:00Z")
    services.router.search.found.append(one)
    services.decisions.range = routing_pb2.UnroutedRange(
        first_offset=40, last_offset=44, records=5, registry_revision=7
    )
    services.decisions.range.recorded_at.FromJsonString("2026-03-02T12:00:01Z")
    services.router.evaluation = router_pb2.EvaluateEventResponse(
        source="shop",
        event_id="unrouted-1",
        type="paid",
        evaluations=[
            evaluation("filtered", trigger("filtered", clause='payload.a: ["x"]', seen='"y"'))
        ],
        listening=1,
    )
    return services


def test_decisions_are_told_with_why_and_where(backbone: Any, stack: Path, services: Any) -> None:
    result = backbone("explain", "event", "e-0")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == (
        "2026-03-02T12:00:00.250000Z  billing.large-payment@2: started (trigger big)"
    )
    assert lines[1:3] == [
        "  run billing.large-payment:event:x",
        "  of the record dev.payments 1:40, by replay:r-1",
    ]
    assert '  wanted event.payload.currency == "EUR"' in lines
    assert '  saw event.payload.currency = "U\ufffdSD"' in lines
    assert "  no such field: currency" in lines
    assert "--definition ID says why" in result.stderr
    assert services.decisions.listed[0].event_id == "e-0"
    assert services.router.searches == services.router.evaluated == []


def test_a_definition_with_a_decision_is_told_by_it(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone("explain", "event", "e-0", "--definition", "billing.large-payment")
    assert "billing.large-payment@2: started" in result.stdout
    assert services.router.evaluated == []


def test_a_definition_without_one_is_evaluated_as_of_the_decision_of_another(
    backbone: Any, stack: Path, found: Any
) -> None:
    result = backbone("explain", "event", "e-0", "--definition", "billing.small")
    assert result.stdout.splitlines() == [
        "e-0 is the record dev.payments 1:42 from 'shop'.",
        "billing.small@3 did not run: no trigger of it matches.",
        '  trigger t: wanted payload.a: ["x"], saw "y"',
    ]
    (asked,) = found.router.evaluated
    expected = router_pb2.EvaluateEventRequest(
        namespace="dev", place=PLACE, definition_id="billing.small"
    )
    expected.as_of.FromJsonString("2026-03-02T12:00:00.250Z")
    assert asked == expected
    assert found.router.searches == []


def test_an_event_that_nobody_wanted_is_found_and_told_what_came_nearest(
    backbone: Any, stack: Path, found: Any
) -> None:
    found.router.evaluation.listening = 9
    result = backbone(
        *("explain", "event", "unrouted-1", "--source", "shop"),
        *("--since", "2026-03-02T00:00:00Z", "--topic", "dev.payments"),
    )
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "unrouted-1 is the record dev.payments 1:42 from 'shop': accepted, no definition wanted it "
        "(2026-03-02T12:00:01Z, registry revision 7).",
        "billing.small@3 did not run: no trigger of it matches.",
        '  trigger t: wanted payload.a: ["x"], saw "y"',
        "4 more listen to 'paid': --definition ID says why one of them did not run.",
    ]
    (search,) = found.router.searches
    expected = router_pb2.FindEventRequest(
        namespace="dev", event_id="unrouted-1", source="shop", topics=["dev.payments"]
    )
    expected.since.FromJsonString("2026-03-02T00:00:00Z")
    assert search == expected
    assert found.router.evaluated[0].as_of.ToJsonString() == "2026-03-02T12:00:01Z"


@pytest.mark.parametrize(
    ("evaluated", "said"),
    [
        (
            evaluation("not_listening", trigger("other_type", detail="it listens to 'refunded'")),
            ["does not listen to 'paid' (it listens to 'refunded')"],
        ),
        (evaluation("not_listening"), ["does not listen to 'paid' (it has no event triggers)"]),
        (
            evaluation("disabled", trigger("matched")),
            ["billing.small@3 did not run: it was disabled.", "trigger t: matched"],
        ),
        (
            evaluation(
                "errored", trigger("errored", clause="a > 1", seen="a = absent", detail="no")
            ),
            ["could not be evaluated", "trigger t: no (wanted a > 1, saw a = absent)"],
        ),
        (evaluation("matched", trigger("matched")), ["wanted it by what the registry says"]),
    ],
)
def test_each_outcome_has_its_sentence(
    backbone: Any, stack: Path, found: Any, evaluated: Any, said: list[str]
) -> None:
    del found.router.evaluation.evaluations[:]
    found.router.evaluation.evaluations.append(evaluated)
    result = backbone("explain", "event", "unrouted-1", "--definition", "billing.small")
    assert result.exit_code == 0
    for one in said:
        assert one in result.stdout


def test_what_was_not_there_then_or_is_gone_now_is_said(
    backbone: Any, stack: Path, found: Any
) -> None:
    found.router.refusal = rpcerrors.NotFoundError(
        "definition 'billing.small' did not exist at 2026-03-02T12:00:01Z",
        reason="DEFINITION_ABSENT",
    )
    result = backbone("explain", "event", "unrouted-1", "--definition", "billing.small")
    assert result.exit_code == 0
    assert "did not run: definition 'billing.small' did not exist at" in result.stdout
    found.router.refusal = rpcerrors.NotFoundError("it is gone", reason="RECORD_GONE")
    result = backbone("explain", "event", "e-0", "--definition", "billing.small")
    assert result.exit_code == 0
    assert "none of its triggers matched. More cannot be said: it is gone." in result.stdout


def test_an_unknown_definition_is_an_error_that_says_what_is_near(
    backbone: Any, stack: Path, found: Any
) -> None:
    found.router.refusal = rpcerrors.NotFoundError(
        "unknown definition 'billing.smal'; did you mean 'billing.small'?",
        reason="DEFINITION_UNKNOWN",
    )
    result = backbone("explain", "event", "unrouted-1", "--definition", "billing.smal")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "did you mean 'billing.small'?" in result.stderr


def test_a_refused_event_is_told_with_its_dead_letter(
    backbone: Any, stack: Path, found: Any
) -> None:
    found.decisions.range = None
    found.router.evaluation = router_pb2.EvaluateEventResponse(
        rejection="naive_time", detail="occurred_at has no zone"
    )
    letter = router_pb2.DeadLetter(reason="naive_time", detail="occurred_at: no zone", state="open")
    letter.place.offset = 7
    found.router.letters.append(letter)
    result = backbone("explain", "event", "unrouted-1", "--since", "2026-03-02T00:00:00Z")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "It would be refused now: naive_time: occurred_at has no zone",
        "It was refused, and is a dead letter (open): naive_time: occurred_at: no zone "
        "(`backbone dlq show 0:7`)",
    ]
    assert "There is no decision of it" in result.stdout
    assert not found.router.evaluated[0].HasField("as_of")
    (asked,) = found.router.letters_asked
    assert asked.filter.event_id == "unrouted-1"
    assert asked.filter.parked_from.ToJsonString() == "2026-03-02T00:00:00Z"
    # The letter is kept when the record itself has gone from its topic.
    del found.router.search.found[:]
    result = backbone("explain", "event", "unrouted-1")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)


def test_what_is_nowhere_says_where_was_looked_and_ends_with_1(
    backbone: Any, stack: Path, services: Any
) -> None:
    result = backbone("explain", "event", "unrouted-1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "none of 12 records since a day ago" in result.stderr
    services.router.search.incomplete = True
    result = backbone("explain", "event", "unrouted-1", "--topic", "dev.a")
    assert "of dev.a; there are more: narrow it" in result.stderr


def test_machines_get_one_document(backbone: Any, stack: Path, found: Any) -> None:
    told = json.loads(backbone("explain", "event", "unrouted-1", "-o", "json").stdout)
    assert told == {
        "namespace": "dev",
        "event_id": "unrouted-1",
        "decisions": [],
        "records": [
            {
                "topic": "dev.payments",
                "partition": 1,
                "offset": 42,
                "source": "shop",
                "type": "paid",
                "unrouted": {
                    "first_offset": 40,
                    "last_offset": 44,
                    "records": 5,
                    "registry_revision": 7,
                    "recorded_at": "2026-03-02T12:00:01Z",
                },
                "as_of": "2026-03-02T12:00:01Z",
                "absent": None,
                "rejection": None,
                "detail": None,
                "listening": 1,
                "evaluations": [
                    {
                        "definition_id": "billing.small",
                        "definition_version": 3,
                        "outcome": "filtered",
                        "triggers": [
                            {
                                "name": "t",
                                "outcome": "filtered",
                                "clause": 'payload.a: ["x"]',
                                "seen": '"y"',
                                "detail": None,
                            }
                        ],
                    }
                ],
            }
        ],
        "dead_letters": [],
    }
    decided = json.loads(backbone("explain", "event", "e-0", "-o", "json").stdout)
    assert [one["outcome"] for one in decided["decisions"]] == ["started", "filtered", "errored"]
