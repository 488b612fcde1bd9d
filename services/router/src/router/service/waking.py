"""Wakes the instances for which something was recorded: each once, however much that was.

What waits is the ledger's, which gives it to whoever asks. So an instance that cannot be told since
it was told too often hears of it all the same, and one that nobody could tell is told by the sweep.
"""

import asyncio
from collections.abc import Iterable, Mapping

from router.domain.instances import Address
from router.errors import StartRefusedError, TransientError
from router.ports import WorkflowStarter
from runtime import logs

_log = logs.get_logger(__name__)


async def wake(
    starter: WorkflowStarter, namespace: str, addresses: Iterable[Address]
) -> Mapping[Address, TransientError]:
    """Tell instances that something waits for them; return those that could not be told."""

    async def one(address: Address) -> TransientError | None:
        try:
            await starter.wake(namespace, address)
        except TransientError as exc:
            return exc
        except StartRefusedError as exc:
            # It waits where it is, and the sweep tries again: that is for a person to look at.
            _log.error("instance_not_woken", workflow_id=address.workflow_id, error=str(exc))
        return None

    wanted = list(dict.fromkeys(addresses))
    failures = await asyncio.gather(*map(one, wanted))
    return {
        address: failure
        for address, failure in zip(wanted, failures, strict=True)
        if failure is not None
    }
