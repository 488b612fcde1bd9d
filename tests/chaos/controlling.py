"""The operators of the workload: they retry and cancel runs, leave tasks to the clock, shadow.

What is asked of a run is asked until it is answered: it would never come to rest otherwise.
"""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import grpc
import identity
from checker import ORDERS
from history import Answered, Controlled, Triggered
from people import DEFINITIVE, ONE_TRY, People, definition
from waiting import until

from backbone.ledger.v1 import control_pb2, ledger_pb2, shadows_pb2
from backbone.router.v1 import router_pb2

CONTROLLED, FAILS, WAITS = "chaos.controlled", "pack/", "wait/"
TIMED, TIMED_TASK = "e2e.timed", "wait/"
LONG = timedelta(hours=1)


async def control_runs(people: People, *, count: int, seconds: float, give_up_at: float) -> None:
    """Start runs and retry what fails of them; every second one would not end, and is cancelled.

    Raises:
        TimeoutError: A run is not where it has to come by a monotonic time.
    """

    async def one(number: int) -> None:
        await asyncio.sleep(number * seconds / (2 * count))
        await _control(people, f"{people.source}-c{number}", number % 2 == 0, give_up_at)

    await asyncio.gather(*map(one, range(count)))


async def _control(people: People, request_id: str, waits: bool, give_up_at: float) -> None:  # noqa: FBT001 - its input
    tasks = (FAILS, WAITS) if waits else (FAILS,)
    run_id = await _start(
        people, CONTROLLED, request_id, tasks, give_up_at, input=json.dumps({"waits": waits})
    )
    await _failed(people, run_id, 1, give_up_at)
    retry = control_pb2.RetryTaskRequest(
        namespace=identity.NAMESPACE,
        task_id=identity.task(run_id, FAILS),
        request_id=f"{request_id}-retry",
        reason="chaos",
    )
    await _ask(people, people.stubs.control.RetryTask, retry, give_up_at)
    await _failed(people, run_id, 2, give_up_at)
    if waits:
        cancel = control_pb2.CancelRunRequest(
            namespace=identity.NAMESPACE,
            run_id=run_id,
            request_id=f"{request_id}-cancel",
            reason="chaos",
        )
        await _ask(people, people.stubs.control.CancelRun, cancel, give_up_at)
    people.intents.controlled.append(Controlled(run_id, FAILS, retries=1, cancelled=waits))


async def leave_to_the_clock(
    people: People, *, count: int, seconds: float, give_up_at: float
) -> None:
    """Start runs whose task for a person nobody does, and return when all have expired.

    Raises:
        TimeoutError: One has not by a monotonic time.
    """
    run_ids = []
    for number in range(count):
        request_id = f"{people.source}-t{number}"
        run_ids.append(await _start(people, TIMED, request_id, (TIMED_TASK,), give_up_at))
        await asyncio.sleep(seconds / (2 * count))
    for run_id in run_ids:

        async def expired(run_id: str = run_id) -> bool:
            run = await _run(people, run_id)
            return run is not None and run.run.status == ledger_pb2.RUN_STATUS_COMPLETED

        await _until(expired, f"{run_id} does not expire", give_up_at)
        people.intents.answered.append(Answered(run_id, TIMED_TASK, acknowledged=True))


async def begin_shadow(people: People, *, give_up_at: float) -> None:
    """Let another version of the orders' definition decide beside every run, with no effects."""
    document = definition("orders", id=ORDERS)
    for rule in document["spec"]["rules"]:
        rule["name"] = f"shadow-{rule['name']}"
    request = shadows_pb2.StartShadowRequest(
        namespace=identity.NAMESPACE,
        definition_id=ORDERS,
        definition_version=2,
        content=json.dumps(document).encode(),
        request_id=people.source,
        reason="chaos",
    )
    request.expires_at.FromDatetime(datetime.now(UTC) + LONG)
    await _ask(people, people.stubs.shadows.StartShadow, request, give_up_at)


async def end_shadow(people: People, *, give_up_at: float) -> None:
    """End it, once it has decided something.

    Raises:
        TimeoutError: It has not by a monotonic time.
    """
    request = shadows_pb2.ListShadowsRequest(namespace=identity.NAMESPACE, definition_id=ORDERS)

    async def decided() -> bool:
        try:
            found = await people.stubs.shadows.ListShadows(request, timeout=ONE_TRY)
        except grpc.aio.AioRpcError as exc:
            if exc.code() in DEFINITIVE:
                raise
            return False
        return any(shadow.decided for shadow in found.shadows)

    await _until(decided, "the shadow decides nothing", give_up_at)
    stop = shadows_pb2.StopShadowRequest(
        namespace=identity.NAMESPACE, definition_id=ORDERS, reason="chaos"
    )
    await people.attempt(
        "ledger",
        people.stubs.shadows.StopShadow,
        stop,
        wait_s=max(0.0, give_up_at - time.monotonic()),
        too_late=True,
    )


async def _start(
    people: People,
    definition_id: str,
    request_id: str,
    tasks: tuple[str, ...],
    give_up_at: float,
    *,
    input: str = "",  # noqa: A002 - the field's name
) -> str:
    request = router_pb2.TriggerDefinitionRequest(
        namespace=identity.NAMESPACE,
        definition_id=definition_id,
        input=input.encode(),
        request_id=request_id,
        reason="chaos",
    )
    await _ask(people, people.stubs.router.TriggerDefinition, request, give_up_at)
    people.intents.triggered.append(
        Triggered(definition_id, request_id, acknowledged=True, expect_tasks=tasks)
    )
    return identity.manual_run(definition_id, request_id)


async def _failed(people: People, run_id: str, generation: int, give_up_at: float) -> None:
    """Wait until the task that fails has done so, by a generation of it."""
    task_id = identity.task(run_id, FAILS)

    async def failed() -> bool:
        run = await _run(people, run_id)
        wanted = (task_id, generation, ledger_pb2.TASK_STATUS_FAILED)
        return run is not None and any(
            (task.task_id, task.generation, task.status) == wanted for task in run.tasks
        )

    await _until(failed, f"generation {generation} of {run_id} does not fail", give_up_at)


async def _run(people: People, run_id: str) -> ledger_pb2.GetRunResponse | None:
    request = ledger_pb2.GetRunRequest(namespace=identity.NAMESPACE, run_id=run_id)
    try:
        return await people.stubs.ledger.GetRun(request, timeout=ONE_TRY)
    except grpc.aio.AioRpcError as exc:
        if exc.code() in DEFINITIVE:
            raise
        return None


async def _ask(people: People, call, request, give_up_at: float) -> None:
    wait_s = max(ONE_TRY, give_up_at - time.monotonic())
    if not await people.attempt("operators", call, request, wait_s=wait_s):
        raise TimeoutError(request.request_id)


async def _until(condition, what: str, give_up_at: float) -> None:
    if not await until(condition, seconds=max(0.0, give_up_at - time.monotonic())):
        raise TimeoutError(what)
