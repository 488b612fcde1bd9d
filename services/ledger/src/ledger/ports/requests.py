"""What people asked for, so that the same request has one effect."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from runtime.postgres import Transaction


@dataclass(frozen=True)
class RequestRow:
    """A change that somebody asked for, and why."""

    method: str
    request_id: str
    actor: str
    reason: str
    recorded_at: datetime


class RequestLog(Protocol):
    """What was asked by people, so that the same request has one effect."""

    async def claim_request(
        self,
        transaction: Transaction,
        *,
        method: str,
        request_id: str,
        fingerprint: str,
        actor: str,
        reason: str,
    ) -> str | None:
        """Take a request id; return None, or the fingerprint of the request that has it."""
        ...
