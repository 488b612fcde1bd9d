"""Which chain of causes a run goes on with."""

from typing import Any

import pytest

from contracts.triggers import Chain, Trigger

RUN = "billing:manual:1"


def _event(event_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "type": "paid",
        "source": "shop",
        "occurred_at": "2026-01-02T03:00:00Z",
        "payload": {},
        **fields,
    }


def _of(*events: dict[str, Any]) -> Trigger:
    kind = {"kind": "event"} if len(events) == 1 else {"kind": "batch", "batch_id": "a" * 26}
    return Trigger.model_validate({**kind, "definition_version": 1, "events": list(events)})


def _by_hand(**fields: Any) -> Trigger:
    return Trigger.model_validate(
        {"kind": "manual", "definition_version": 1, "request_id": "1", **fields}
    )


@pytest.mark.parametrize(
    ("trigger", "chain"),
    [
        (_by_hand(), Chain(correlation_id=RUN)),
        (
            _by_hand(chain={"correlation_id": "order-1", "causation_id": "e", "hops": 3}),
            Chain(correlation_id="order-1", causation_id="e", hops=3),
        ),
        (_of(_event("e")), Chain(correlation_id="e", causation_id="e")),
        (
            _of(_event("e", correlation_id="order-1", hops=2)),
            Chain(correlation_id="order-1", causation_id="e", hops=2),
        ),
        (
            _of(_event("a", correlation_id="o", hops=1), _event("b", correlation_id="o", hops=4)),
            Chain(correlation_id="o", hops=4),
        ),
        (_of(_event("a"), _event("b")), Chain(correlation_id=RUN)),
    ],
)
def test_a_run_goes_on_with_the_chain_of_its_cause(trigger: Trigger, chain: Chain) -> None:
    assert trigger.chain_of(RUN) == chain


def test_a_trigger_without_a_chain_is_read_by_an_earlier_release() -> None:
    assert "chain" not in _by_hand().model_dump()
    assert "chain" in _by_hand(chain={"correlation_id": "order-1"}).model_dump()
