"""Has what a person asks for take effect once, however often the request comes."""

import hashlib

from ledger.errors import InvalidRequestError
from ledger.ports.requests import RequestLog
from runtime.postgres import Transaction


async def is_first(
    log: RequestLog,
    transaction: Transaction,
    *,
    method: str,
    request_id: str,
    content: bytes,
    actor: str,
    reason: str,
    otherwise: str,
) -> bool:
    """Say whether a request comes for the first time; `content` is all that makes it this one.

    Raises:
        InvalidRequestError: its id was used for another one, which `otherwise` names.
    """
    fingerprint = hashlib.sha256(content).hexdigest()
    known = await log.claim_request(
        transaction,
        method=method,
        request_id=request_id,
        fingerprint=fingerprint,
        actor=actor,
        reason=reason,
    )
    if known not in (None, fingerprint):
        raise InvalidRequestError(f"the request_id {request_id} was used for {otherwise}")
    return known is None
