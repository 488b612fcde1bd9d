"""Errors as callers get them."""

from google.rpc import error_details_pb2, status_pb2

from runtime import rpcerrors


def unpacked(error):
    status = status_pb2.Status.FromString(rpcerrors.status_details(error))
    found = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        message = getattr(error_details_pb2, name)()
        assert packed.Unpack(message)
        found[name] = message
    return status, found


def test_reason_and_ids_are_for_programs():
    error = rpcerrors.AbortedError("look again", reason="ETAG_MISMATCH", metadata={"id": "a"})
    status, found = unpacked(error)
    assert (status.code, status.message) == (10, "look again")
    assert found["ErrorInfo"] == error_details_pb2.ErrorInfo(
        reason="ETAG_MISMATCH", domain="backbone", metadata={"id": "a"}
    )


def test_without_a_reason_the_status_is_the_reason():
    _, found = unpacked(rpcerrors.NotFoundError("nothing here"))
    assert found["ErrorInfo"].reason == "NOT_FOUND"


def test_every_detail_is_there():
    field = error_details_pb2.BadRequest.FieldViolation(field="reason", description="is missing")
    precondition = error_details_pb2.PreconditionFailure()
    _, found = unpacked(
        rpcerrors.FailedPreconditionError(
            "no",
            details=[error_details_pb2.BadRequest(field_violations=[field]), precondition],
        )
    )
    assert set(found) == {"ErrorInfo", "BadRequest", "PreconditionFailure"}
    assert found["BadRequest"].field_violations[0] == field


def test_who_is_told_that_something_is_away_is_told_when_to_come_again():
    _, found = unpacked(rpcerrors.UnavailableError("away", reason="TEMPORAL_UNAVAILABLE"))
    assert found["ErrorInfo"].reason == "TEMPORAL_UNAVAILABLE"
    assert found["RetryInfo"].retry_delay.ToMilliseconds() == 1000


def test_detail_that_does_not_fit_is_left_out_and_the_others_stay():
    large = error_details_pb2.DebugInfo(detail="x" * rpcerrors.MAX_DETAILS_BYTES)
    _, found = unpacked(rpcerrors.UnavailableError("away", details=[large]))
    assert set(found) == {"ErrorInfo", "RetryInfo"}


def test_a_message_that_repeats_what_a_stranger_wrote_is_cut_so_that_it_arrives():
    long = rpcerrors.InvalidArgumentError(f"not an id: {'x' * 100_000}").message
    assert long.startswith("not an id: xxx")
    assert long.endswith("\u2026")
    assert len(long) <= rpcerrors.MAX_MESSAGE_BYTES + 1
    # Percent-encoded, each takes nine bytes.
    assert len(rpcerrors.NotFoundError("\u20ac" * 10_000).message) <= 1 + 2000 // 9
    assert rpcerrors.NotFoundError("there is no 50% of it").message == "there is no 50% of it"
