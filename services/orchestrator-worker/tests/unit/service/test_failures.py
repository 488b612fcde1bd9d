"""Who is told of a failure, under which key, and that it is looked up once for each version."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from contracts import identifiers
from contracts.catalogue import Catalogue
from contracts.decisions import AutomatedInstance
from contracts.definitions import Retry
from contracts.runs import FailureHandling, FailureQuestion, TaskFailure
from orchestrator_worker.service.failures import FailureTeller

FAILURE = TaskFailure(type="SmtpError", message="no mail today")


@pytest.fixture
def teller(definitions: Any, control: Any) -> FailureTeller:
    known = Catalogue.model_validate({"handlers": {"notify_owner": {"taskQueue": "owners-tq"}}})
    return FailureTeller(
        definitions=definitions, catalogue=known, control=control, cached_definitions=2
    )


@pytest.fixture
def question(definitions: Any, make_definition: Any) -> Any:
    """Ask about a failure by a version with this `onFailure`."""

    def ask(*, on_failure: Any, task: AutomatedInstance | None = None) -> FailureQuestion:
        definitions.known["dev", "billing.overdue", 1] = make_definition(on_failure=on_failure)
        return FailureQuestion(
            namespace="dev",
            run_id="billing.overdue:manual:1",
            definition_id="billing.overdue",
            definition_version=1,
            failure=FAILURE,
            task=task,
            generation=2,
        )

    return ask


def failed_task() -> AutomatedInstance:
    return AutomatedInstance(
        task_id=uuid.uuid4(), rule="remind", key="7", handler="send", task_queue="mail-tq",
        input={}, timeout=timedelta(seconds=30), retry=Retry(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("on_failure", "queue"),
    [
        ({"handler": "notify_owner"}, "owners-tq"),
        ({"handler": "notify_owner", "taskQueue": "mine-tq"}, "mine-tq"),
        ({"handler": "unknown"}, None),
        (None, None),
    ],
)
async def test_the_queue_is_the_definitions_else_the_catalogues_else_nobody_is_told(
    teller: FailureTeller, question: Any, on_failure: Any, queue: str | None
) -> None:
    found = (await teller.find(question(on_failure=on_failure))).task
    assert (found.task_queue if found else None) == queue


@pytest.mark.parametrize("task", [None, failed_task()], ids=["run", "task"])
async def test_the_call_has_the_key_of_the_failure_and_says_what_failed(
    teller: FailureTeller, question: Any, task: AutomatedInstance | None
) -> None:
    asked = question(on_failure={"handler": "notify_owner"}, task=task)
    found = (await teller.find(asked)).task
    assert found is not None
    task_id = None if task is None else task.task_id
    assert found.task_id == identifiers.failure_call_id("dev", asked.run_id, task_id, 2)
    assert found.input["failure"] == {"type": "SmtpError", "message": "no mail today"}
    assert found.input["task_id"] == (None if task is None else str(task.task_id))
    assert found.input["key"] == (None if task is None else "7")


@pytest.mark.parametrize(("given", "seconds"), [({}, 60), ({"timeout": "4s"}, 4)])
async def test_an_attempt_has_the_definitions_time_else_a_minute(
    teller: FailureTeller, question: Any, given: dict[str, str], seconds: int
) -> None:
    found = (await teller.find(question(on_failure={"handler": "notify_owner", **given}))).task
    assert found is not None
    assert found.timeout == timedelta(seconds=seconds)


async def test_a_version_is_asked_for_once_and_one_that_is_not_there_tells_nobody(
    teller: FailureTeller, question: Any, definitions: Any
) -> None:
    asked = question(on_failure={"handler": "notify_owner"})
    for _ in "12":
        assert (await teller.find(asked)).task is not None
    assert definitions.asked == [1]
    gone = asked.model_copy(update={"definition_version": 9})
    assert (await teller.find(gone)).task is None


async def test_that_somebody_was_told_is_recorded_once(teller: FailureTeller, control: Any) -> None:
    handling = FailureHandling(
        namespace="dev", run_id="a", call_id=uuid.uuid4(), handler="notify_owner"
    )
    assert await teller.told(handling)
    assert not await teller.told(handling)
    assert list(control.handled) == [handling.call_id]
