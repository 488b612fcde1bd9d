"""What people do to plans: whether it is to be done, once for each request."""

from dataclasses import dataclass
from datetime import timedelta

from ledger.domain import plans
from ledger.domain.plans import Action, State
from ledger.errors import PreconditionError
from ledger.ports.requests import RequestLog
from ledger.service import once
from runtime.postgres import Transaction

KEEP_UNAPPLIED = timedelta(days=7)
"""How long a plan can be applied."""


@dataclass(frozen=True)
class Change:
    """What somebody does to a plan, and why. `plan_hash` goes with an application."""

    action: Action
    request_id: str
    actor: str
    reason: str
    plan_hash: str = ""


async def is_to_be_done(
    requests: RequestLog,
    transaction: Transaction,
    change: Change,
    *,
    kind: str,
    plan_id: str,
    state: State,
    chain: bytes,
) -> bool:
    """Say whether a change is to be made to a plan: its request comes for the first time.

    `kind` is what the plan is called, `chain` its hash.

    Raises:
        PreconditionError: the plan's state does not allow it, or its plan is another one.
        InvalidRequestError: the request id was used for something else.
    """
    if not await once.is_first(
        requests,
        transaction,
        method=f"{kind}/{change.action.value}",
        request_id=change.request_id,
        content=f"{change.actor}\n{plan_id}\n{change.plan_hash}".encode(),
        actor=change.actor,
        reason=change.reason,
        otherwise=f"another {kind} or person",
    ):
        return False
    allowed = plans.FROM[change.action]
    if state not in allowed:
        raise PreconditionError(
            f"the {kind} {plan_id} is {state}, and can be told to {change.action} only when it is "
            f"{' or '.join(sorted(allowed))}"
        )
    if change.action is Action.APPLY and chain.hex() != change.plan_hash:
        raise PreconditionError(
            f"the plan {plan_id} has another hash: look at it again before it is applied"
        )
    return True
