"""Has runs simulated by the workers: a short workflow on the definition's task queue.

Nothing of it stays: what was asked and answered is deleted in Temporal when it is over. If the
router dies before that, its history ends with Temporal's retention, as every history does.
"""

import asyncio
import uuid
from collections.abc import Mapping
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError

from contracts import identifiers
from contracts.names import Workflow
from contracts.simulations import SIMULATION_TIMEOUT, Simulated, SimulateInput
from router.adapters import temporal_starter
from router.errors import SimulationUnansweredError
from runtime import logs
from runtime.datakeys import NotOpenedError

_DELETION = timedelta(seconds=5)

_log = logs.get_logger(__name__)


class TemporalRunSimulator:
    """Asks workers with one client for each namespace; each question has an end."""

    def __init__(
        self, clients: Mapping[str, Client], *, timeout: timedelta = SIMULATION_TIMEOUT
    ) -> None:
        self._clients = clients
        self._timeout = timeout
        self._deletions: set[asyncio.Task[None]] = set()

    async def simulate(self, question: SimulateInput, *, task_queue: str) -> Simulated:
        """Return what a worker of the task queue says a run would decide.

        Raises:
            SimulationUnansweredError: none serves the queue, or none answers in time.
            TransientError: Temporal does not answer.
            StartRefusedError: Temporal refuses the request itself.
        """
        client = self._clients[question.run.namespace]
        workflow_id = identifiers.simulation_workflow_id(uuid.uuid4())
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                simulated: Simulated = await client.execute_workflow(
                    Workflow.SIMULATE.value,
                    question,
                    id=workflow_id,
                    task_queue=task_queue,
                    result_type=Simulated,
                    execution_timeout=self._timeout,
                )
        except (TimeoutError, WorkflowFailureError) as exc:
            raise SimulationUnansweredError(
                f"no worker on the task queue {task_queue} has answered within "
                f"{self._timeout.total_seconds():g} s: does one serve it that is up to date?"
            ) from exc
        except NotOpenedError as exc:
            raise SimulationUnansweredError(f"the worker's answer: {exc}") from exc
        except (RPCError, RuntimeError) as exc:
            raise temporal_starter.classify(exc) from exc
        finally:
            # By itself: whoever asked may have gone, and what they asked for must go too.
            deletion = asyncio.create_task(self._delete(client, workflow_id))
            self._deletions.add(deletion)
            deletion.add_done_callback(self._deletions.discard)
        return simulated

    async def close(self) -> None:
        """Return when what is over is deleted."""
        await asyncio.gather(*self._deletions)

    async def _delete(self, client: Client, workflow_id: str) -> None:
        request = DeleteWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        )
        try:
            async with asyncio.timeout(_DELETION.total_seconds()):
                await client.workflow_service.delete_workflow_execution(request)
        except (RPCError, RuntimeError, TimeoutError) as exc:
            _log.warning("simulation_not_deleted", workflow_id=workflow_id, error=str(exc))
