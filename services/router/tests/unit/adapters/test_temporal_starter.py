"""What a failed call to Temporal means."""

import pytest
from temporalio.service import RPCError, RPCStatusCode

from router.adapters import temporal_starter
from router.errors import StartRefusedError, TransientError


@pytest.mark.parametrize("status", [RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.OUT_OF_RANGE])
def test_a_malformed_start_is_refused_for_good(status):
    found = temporal_starter.classify(RPCError("no", status, b""))
    assert isinstance(found, StartRefusedError)


@pytest.mark.parametrize(
    "exc",
    [
        RPCError("away", RPCStatusCode.UNAVAILABLE, b""),
        RPCError("late", RPCStatusCode.DEADLINE_EXCEEDED, b""),
        RPCError("busy", RPCStatusCode.RESOURCE_EXHAUSTED, b""),
        RPCError("no such namespace", RPCStatusCode.NOT_FOUND, b""),
        RPCError("who are you", RPCStatusCode.PERMISSION_DENIED, b""),
        RuntimeError("Failed client connect"),
        TimeoutError(),
    ],
)
def test_what_can_be_mended_without_the_record_is_tried_again(exc):
    assert isinstance(temporal_starter.classify(exc), TransientError)
