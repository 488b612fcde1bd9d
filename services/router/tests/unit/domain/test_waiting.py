"""Which events wait, by which key, and when a look at the queue is needed."""

from typing import Any

import pytest

from contracts.definitions import ActivityDefinition
from router.domain import waiting
from router.domain.waiting import FlowControl, Places, Reason
from rules.errors import ExpressionError

EVENT = {"type": "paid", "payload": {"invoice": "i-1", "amount": 10}}
BATCH = {"maxEvents": 100, "maxWait": "5s"}


def flow(*events: dict[str, Any], **spec: Any) -> FlowControl | None:
    definition = ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "billing", "namespace": "dev", "owner": "tests"},
            "spec": {
                "taskQueue": "a-tq",
                "triggers": [
                    {"name": f"t{n}", "event": {"type": "paid", **event}}
                    for n, event in enumerate(events or ({},))
                ],
                "rules": [
                    {
                        "name": "r",
                        "task": {"type": "automated", "handler": "h", "taskQueue": "b-tq"},
                    }
                ],
                **spec,
            },
        }
    )
    return waiting.flow_control(definition)


def known(*events: dict[str, Any], **spec: Any) -> FlowControl:
    found = flow(*events, **spec)
    assert found is not None
    return found


def reason(
    places: Places,
    control: FlowControl,
    key: str = "k",
    *,
    disabled: bool = False,
    names: tuple[str, ...] = ("t0",),
) -> Reason | None:
    wait = places.place(
        control, "billing", key, names=names, disabled=disabled, task_queue="a-tq", revision=7
    )
    return None if wait is None else wait.reason


def test_most_definitions_have_nothing_wait() -> None:
    assert flow() is None
    assert flow(limits={"maxTasksPerRun": 3}) is None
    schedule = {"every": "1m", "missedRuns": {"policy": "skip", "tolerance": "1m"}}
    assert flow(triggers=[{"name": "s", "schedule": schedule}], whileDisabled="hold") is None


@pytest.mark.parametrize(
    ("control", "record_key", "key"),
    [
        (known({"correlate": "event.payload.invoice", "batch": BATCH}), b"r", "i-1"),
        (known({"correlate": "event.payload.amount", "batch": BATCH}), b"r", "10"),
        (known({"batch": BATCH}), b"r", ""),
        (known(whileDisabled="hold"), b"r", "r"),
        (known(whileDisabled="hold"), b"\xff\x00", "\\xff\\0"),
        (known(whileDisabled="hold"), None, ""),
        (known(limits={"maxRuns": {"count": 1, "window": "1m"}}), b"r", "r"),
        (known(limits={"concurrency": {"maxOpenRuns": 1}}), b"r", ""),
        (known(limits={"concurrency": {"maxOpenRuns": 1, "key": "event.payload.invoice"}}),
         b"r", "i-1"),
    ],
)  # fmt: skip
def test_the_key_is_the_definitions_or_else_the_records(
    control: FlowControl, record_key: bytes | None, key: str
) -> None:
    assert waiting.key(control, ["t0"], EVENT, record_key) == key


def test_the_key_of_the_first_trigger_that_matched_counts() -> None:
    control = known(
        {"batch": BATCH, "correlate": "event.payload.invoice"},
        {"batch": BATCH, "correlate": "event.type"},
    )
    assert waiting.key(control, ["t1"], EVENT, None) == "paid"
    assert waiting.key(control, ["t0", "t1"], EVENT, None) == "i-1"


def test_a_long_key_is_shortened_and_stays_its_own() -> None:
    control = known(whileDisabled="hold")
    keys = {waiting.key(control, [], EVENT, b"x" * 300 + end) for end in (b"1", b"2")}
    assert {len(key) for key in keys} == {26}


@pytest.mark.parametrize(
    "correlate", ["event.payload.nobody", "event.payload", "event.payload.amount == 10"]
)
def test_a_key_that_cannot_be_had_is_an_error_and_holds_nothing_up(correlate: str) -> None:
    control = known({"batch": BATCH, "correlate": correlate})
    with pytest.raises(ExpressionError):
        waiting.key(control, ["t0"], EVENT, b"r")
    assert waiting.held_key(control, ["t0"], EVENT, b"r") == "r"
    assert waiting.held_key(control, ["t0"], EVENT, None) == ""


def test_a_key_that_does_not_compile_is_an_error() -> None:
    with pytest.raises(ExpressionError, match="does not compile"):
        waiting.key(known({"batch": BATCH, "correlate": "event."}), ["t0"], EVENT, b"r")


def test_events_of_a_definition_that_gathers_or_limits_always_wait() -> None:
    assert reason(Places(set()), known({"batch": BATCH})) is Reason.BATCHED
    limited = known(limits={"maxRuns": {"count": 1, "window": "1m"}})
    assert reason(Places(set()), limited) is Reason.LIMITED
    for control in (known({"batch": BATCH}), limited):
        assert not waiting.asks(control, "k", disabled=False)


def test_an_event_is_gathered_if_all_its_triggers_gather() -> None:
    control = known({"batch": BATCH}, {})
    assert reason(Places(set()), control, names=("t0",)) is Reason.BATCHED
    assert reason(Places(set()), control, names=("t0", "t1")) is Reason.LIMITED
    assert reason(Places(set()), control, names=("t1",)) is Reason.LIMITED


def test_events_are_held_while_it_is_disabled_and_start_directly_otherwise() -> None:
    control = known(whileDisabled="hold")
    assert reason(Places(set()), control, disabled=True) is Reason.HELD
    assert reason(Places(set()), control) is None


def test_a_look_at_the_queue_is_needed_where_an_event_would_start_directly() -> None:
    control = known(whileDisabled="hold")
    assert waiting.asks(control, "k", disabled=False)
    assert not waiting.asks(control, "k", disabled=True)
    assert not waiting.asks(control, "", disabled=False)
    assert not waiting.asks(known({"batch": BATCH}, whileDisabled="hold"), "k", disabled=False)


def test_an_event_waits_behind_what_waits_of_its_key() -> None:
    control = known(whileDisabled="hold")
    places = Places({("billing", "k"), ("other", "j")})
    assert reason(places, control) is Reason.LIMITED
    assert reason(places, control, "j") is None


def test_an_event_waits_behind_one_of_the_same_poll() -> None:
    control = known(whileDisabled="hold")
    places = Places(set())
    assert reason(places, control) is None
    assert reason(places, control, disabled=True) is Reason.HELD
    # It was enabled in the middle of the poll.
    assert reason(places, control) is Reason.LIMITED
    assert reason(places, control, "j") is None
    assert reason(places, control, "", disabled=True) is Reason.HELD
    assert reason(places, control, "") is None


def test_what_waits_says_all_that_its_definition_asks_for() -> None:
    control = known(
        {"batch": BATCH},
        whileDisabled="hold",
        limits={
            "maxRuns": {"count": 5, "window": "1m"},
            "concurrency": {"maxOpenRuns": 2},
        },
    )
    wait = Places(set()).place(
        control, "billing", "", names=(), disabled=True, task_queue="a-tq", revision=7
    )
    assert wait is not None
    assert (wait.reason, wait.task_queue, wait.definition_revision) == (Reason.HELD, "a-tq", 7)
    assert wait.batch is not None
    assert wait.batch.max_events == 100
    assert (wait.max_open_runs, wait.max_runs, wait.max_runs_window.total_seconds()) == (2, 5, 60)
