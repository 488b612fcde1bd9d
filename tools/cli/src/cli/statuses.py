"""gRPC statuses as sentences: the one place where a failed call becomes an error of the command."""

from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2

from backbone.registry.v1 import registry_pb2
from cli.errors import (
    CliError,
    InvalidDocumentsError,
    NotFoundError,
    NotReachableError,
    UnavailableError,
)
from runtime.rpcerrors import detail_of

_Code = grpc.StatusCode


@dataclass(frozen=True)
class _Sentence:
    """What is said of a status; without one of these it is what the service said."""

    text: str
    error: type[CliError] = CliError


_FAILED = _Sentence("the {service} failed: {said} (`make logs NAME={service}` shows why)")

_SENTENCES = {
    _Code.UNAVAILABLE: _Sentence(
        "the {service} is not reachable at {address}: start it with `make up`, or set {variable} "
        "to where it is",
        NotReachableError,
    ),
    _Code.DEADLINE_EXCEEDED: _Sentence(
        "the {service} at {address} did not answer in time: `make status` says how it is",
        NotReachableError,
    ),
    _Code.CANCELLED: _Sentence("the {service} at {address} ended the call", UnavailableError),
    _Code.UNIMPLEMENTED: _Sentence(
        "what answers at {address} is not a {service} of this version: check {variable}"
    ),
    _Code.UNAUTHENTICATED: _Sentence(
        "the {service} does not know who you are: set BACKBONE_TOKEN_FILE and "
        "BACKBONE_TLS_CLIENT_CA, or BACKBONE_TLS_CERTIFICATE and its companions ({said})"
    ),
    _Code.NOT_FOUND: _Sentence("{said}", NotFoundError),
    _Code.ABORTED: _Sentence("{said}; look again and retry"),
    _Code.INTERNAL: _FAILED,
    _Code.UNKNOWN: _FAILED,
}

_TOKENS = {
    "TOKEN_EXPIRED": "your token has expired: get a new one (BACKBONE_TOKEN_FILE, BACKBONE_TOKEN)",
    "TOKEN_NOT_YET_VALID": "your token is not valid yet: the clock of this machine, of the issuer "
    "or of the {service} is wrong",
    "TOKENS_NOT_TAKEN": "the {service} at {address} takes no tokens: show it a certificate, or "
    "have BACKBONE_OIDC_ISSUER set there",
}
_NOT_TAKEN = "the {service} does not take your token: {said} (BACKBONE_TOKEN_FILE, BACKBONE_TOKEN)"

# Whose message says itself what to do, so that nothing is added to it.
_COMPLETE = frozenset({"ETAG_MISMATCH", "PLAN_MISMATCH"})


def explained(error: grpc.aio.AioRpcError, *, service: str, address: str) -> CliError:
    """Return what to tell of a call to `service` (its short name) at `address` that failed."""
    code = error.code()
    said = (error.details() or "").strip().rstrip(".")
    info = error_details_pb2.ErrorInfo()
    detail_of(error, info)
    invalid = registry_pb2.InvalidDocuments()
    if code is _Code.INVALID_ARGUMENT and detail_of(error, invalid):
        return InvalidDocumentsError(
            said, invalid.problems, total=invalid.total, reason=info.reason
        )
    # The service itself says so with a detail; gRPC's own "nobody is there" has none.
    if code is _Code.UNAVAILABLE and detail_of(error, error_details_pb2.RetryInfo()):
        return UnavailableError(
            f"the {service} cannot answer now: {said}; try again soon", reason=info.reason
        )
    sentence = _SENTENCES.get(code, _Sentence("{said}" if said else f"{{service}}: {code.name}"))
    if code is _Code.UNAUTHENTICATED and info.reason.startswith("TOKEN"):
        sentence = _Sentence(_TOKENS.get(info.reason, _NOT_TAKEN))
    if info.reason in _COMPLETE:
        sentence = _Sentence("{said}", sentence.error)
    return sentence.error(
        sentence.text.format(
            service=service,
            address=address,
            said=_with_preconditions(error, said) or code.name,
            variable=f"BACKBONE_{service.upper()}_ADDRESS",
        ),
        reason=info.reason,
    )


def _with_preconditions(error: grpc.aio.AioRpcError, said: str) -> str:
    """Add what stands in the way, as far as the message does not name it itself."""
    failure = error_details_pb2.PreconditionFailure()
    detail_of(error, failure)
    unnamed = [one.subject for one in failure.violations if one.subject not in said]
    return f"{said} (also: {', '.join(unnamed)})" if unnamed else said
