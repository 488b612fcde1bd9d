"""The ledger's stateful instances over gRPC (see `ports.Instances`)."""

from datetime import timedelta

import grpc

from backbone.ledger.v1 import instances_pb2, instances_pb2_grpc
from contracts import canonical
from contracts.runs import ApplyNextInput, RunInput
from contracts.triggers import Trigger
from orchestrator_worker.adapters import grpc_errors
from orchestrator_worker.adapters.grpc_ledger import TIMEOUT_S, outcome
from orchestrator_worker.domain.executions import WaitingInstance
from orchestrator_worker.ports import Next, Place, Recorded
from rules.instances import SetTimer, Step
from runtime.faultpoints import faultpoint


class GrpcInstances:
    """Has events applied, and runs of events carried out."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = instances_pb2_grpc.InstanceServiceStub(channel)

    async def next(self, question: ApplyNextInput) -> Next:
        """Return what is to be applied to an instance next."""
        request = instances_pb2.GetNextApplicationRequest(
            namespace=question.namespace,
            definition_id=question.definition_id,
            key_hash=question.key_hash,
            begun_run_id=question.begun,
        )
        faultpoint("worker.before_next_application")
        try:
            response = await self._stub.GetNextApplication(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_next_application")
        return _next(question, response.next)

    async def apply(
        self,
        question: ApplyNextInput,
        found: Next,
        *,
        step: Step,
        snapshot: bytes,
        decision: bytes,
    ) -> Next | None:
        """Record what was decided for an application; return what is next, None to be asked for."""
        run, place = found.run, found.place
        if run is None:
            raise ValueError("there is nothing to apply")
        request = instances_pb2.ApplyToInstanceRequest(
            namespace=run.namespace,
            run_id=run.run_id,
            definition_id=run.definition_id,
            trigger=canonical.render(run.trigger),
            snapshot=snapshot,
            decision=decision,
            workflow_run_id=question.workflow_run_id,
            key_hash=question.key_hash,
            generation=place.generation,
            sequence=place.sequence,
            state_before=step.before,
            state_after=step.after,
            timers=[_timer(timer) for timer in step.timers],
        )
        faultpoint("worker.before_apply_to_instance")
        try:
            response = await self._stub.ApplyToInstance(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_apply_to_instance")
        return _next(question, response.next) if response.HasField("next") else None

    async def waiting(
        self, namespace: str, *, page_token: str, limit: int, min_age: timedelta
    ) -> tuple[list[WaitingInstance], str]:
        """Return a page of the instances for which something waits, and the token of the next."""
        request = instances_pb2.ListWaitingInstancesRequest(
            namespace=namespace, page_size=limit, page_token=page_token
        )
        request.min_age.FromTimedelta(min_age)
        faultpoint("worker.before_list_waiting")
        try:
            response = await self._stub.ListWaitingInstances(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_list_waiting")
        found = [
            WaitingInstance(one.definition_id, one.key_hash, one.definition_version)
            for one in response.instances
        ]
        return found, response.next_page_token

    async def adopt_run(self, run: RunInput, *, workflow_run_id: str) -> Recorded:
        """Say that an execution carries out a run; return the decision unless another one does."""
        request = instances_pb2.AdoptRunRequest(
            namespace=run.namespace,
            definition_id=run.definition_id,
            run_id=run.run_id,
            workflow_run_id=workflow_run_id,
        )
        faultpoint("worker.before_adopt_run")
        try:
            response = await self._stub.AdoptRun(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_adopt_run")
        return Recorded(
            outcome(response.outcome),
            response.decision,
            effects_halted=response.effects_halted,
        )


def _timer(timer: SetTimer) -> instances_pb2.InstanceTimer:
    told = instances_pb2.InstanceTimer(name=timer.name)
    told.after.FromTimedelta(timer.after)
    return told


def _next(question: ApplyNextInput, told: instances_pb2.NextApplication) -> Next:
    place = Place(generation=told.generation, sequence=told.sequence, state=told.state)
    if not told.run_id:
        due_in = told.due_in.ToTimedelta() if told.HasField("due_in") else None
        return Next(place, due_in=due_in, halted=told.halted)
    run = RunInput(
        namespace=question.namespace,
        run_id=told.run_id,
        definition_id=question.definition_id,
        trigger=Trigger.model_validate_json(told.trigger),
    )
    return Next(place, run, applied=told.applied)
