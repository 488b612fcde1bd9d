"""Starts runs as Temporal workflows, and wakes the instances of stateful definitions.

The workflow id of a run is the run id, and an id starts once.

REJECT_DUPLICATE refuses an id that has run and ended, FAIL one that is running; both mean that the
run is there, which is all that was asked for. Temporal's default would start an ended run again.

An instance's workflow is of its correlation key, whose keyed hash is in the id: it goes on under
one id and may begin again once it has ended. The signal only wakes it: what is to be applied, and
to which generation, is the ledger's to say.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from contracts.names import Signal, Workflow
from contracts.runs import InstanceInput, RunInput
from router.domain.instances import Address
from router.errors import StartRefusedError, TransientError
from runtime.datakeys import NotOpenedError
from runtime.faultpoints import faultpoint

_FULL = "exceeded workflow execution limit"
"""Of the refusal of a signal to an execution that has too many: it looks again before it ends."""
_REFUSED = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.OUT_OF_RANGE})
"""What is wrong with the request itself. All else can be mended without changing the request: a
namespace that is missing, a permission, a server that is away. Such a record is held, not parked:
the fault is the installation's, and every record would share it."""


class TemporalWorkflowStarter:
    """Starts workflows with one client for each namespace; at most `concurrency` at a time."""

    def __init__(
        self, clients: Mapping[str, Client], *, timeout: timedelta, concurrency: int
    ) -> None:
        self._clients = clients
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)

    async def start(self, run: RunInput, *, task_queue: str) -> bool:
        """Start `RunActivity`; False when the id is taken.

        Raises:
            TransientError: unknown whether it started; the same again is safe.
            StartRefusedError: the request itself is refused.
        """
        async with self._slots:
            try:
                # The SDK tries again by itself, past rpc_timeout: only the outer limit holds.
                async with asyncio.timeout(self._timeout.total_seconds()):
                    faultpoint("router.before_start")
                    await self._clients[run.namespace].start_workflow(
                        Workflow.RUN_ACTIVITY.value,
                        run,
                        id=run.run_id,
                        task_queue=task_queue,
                        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                        rpc_timeout=self._timeout,
                    )
                    faultpoint("router.after_start")
            except WorkflowAlreadyStartedError:
                return False
            except (RPCError, RuntimeError, TimeoutError) as exc:
                raise classify(exc) from exc
        return True

    async def wake(self, namespace: str, address: Address) -> None:
        """Signal an instance, with its start.

        Raises:
            TransientError: unknown whether it was told; the same again is safe.
            StartRefusedError: the request itself is refused.
        """
        instance = InstanceInput(
            namespace=namespace, definition_id=address.definition_id, key_hash=address.key_hash
        )
        async with self._slots:
            try:
                async with asyncio.timeout(self._timeout.total_seconds()):
                    faultpoint("router.before_wake")
                    await self._clients[namespace].start_workflow(
                        Workflow.INSTANCE.value,
                        instance,
                        id=address.workflow_id,
                        task_queue=address.task_queue,
                        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                        start_signal=Signal.WAKE.value,
                        rpc_timeout=self._timeout,
                    )
                    faultpoint("router.after_wake")
            except (RPCError, RuntimeError, TimeoutError) as exc:
                if isinstance(exc, RPCError) and _FULL in exc.message:
                    return
                raise classify(exc) from exc

    async def started(self, namespace: str, run_id: str) -> RunInput | None:
        """Return the input of a run's first execution, None when Temporal has forgotten it.

        Raises:
            TransientError: Temporal does not answer.
        """
        client = self._clients[namespace]
        handle = client.get_workflow_handle(run_id)
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                faultpoint("router.before_find_start")
                async for event in handle.fetch_history_events(page_size=1):
                    faultpoint("router.after_find_start")
                    payloads = event.workflow_execution_started_event_attributes.input.payloads
                    values = await client.data_converter.decode(payloads, [RunInput])
                    return values[0] if isinstance(values[0], RunInput) else None
        except RPCError as exc:
            if exc.status is RPCStatusCode.NOT_FOUND:
                return None
            raise classify(exc) from exc
        except (RuntimeError, TimeoutError) as exc:
            raise classify(exc) from exc
        except NotOpenedError as exc:
            raise TransientError(f"how {run_id} began: {exc}") from exc
        return None


def classify(exc: RPCError | RuntimeError | TimeoutError) -> TransientError | StartRefusedError:
    """Return what a failed call to Temporal means: refused for good, or to be tried again."""
    if isinstance(exc, RPCError):
        if exc.status in _REFUSED:
            return StartRefusedError(f"Temporal refuses the start: {exc.message}")
        return TransientError(f"Temporal: {exc.status.name}: {exc.message}")
    if isinstance(exc, TimeoutError):
        return TransientError("Temporal did not answer in time")
    return TransientError(f"Temporal: {exc}")
