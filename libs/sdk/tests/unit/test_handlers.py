import uuid
from typing import Any

import pytest
from pydantic import BaseModel

import sdk
from contracts.runs import MAX_OUTPUT_BYTES
from sdk import testing


class Reminder(BaseModel):
    invoice: str
    amount: float = 0


class Sent(BaseModel):
    message_id: str


@sdk.task_handler("send_reminder")
async def send_reminder(reminder: Reminder, context: sdk.TaskContext) -> Sent:
    context.heartbeat()
    return Sent(message_id=f"{reminder.invoice}/{context.idempotency_key}/{context.attempt}")


async def test_handler_gets_its_checked_input_and_its_task() -> None:
    task_id = uuid.uuid4()
    output = await testing.invoke(
        send_reminder, {"invoice": "i1", "amount": 3}, task_id=task_id, attempt=2
    )
    assert output == {"message_id": f"i1/{task_id}/2"}


async def test_handler_takes_a_model_from_a_test() -> None:
    output = await testing.invoke(send_reminder, Reminder(invoice="i1"))
    assert output["message_id"].startswith("i1/")


async def test_handler_can_be_called_like_its_function() -> None:
    context = sdk.TaskContext(
        task_id=uuid.uuid4(), run_id="d:1", definition_id="d", namespace="dev", attempt=1
    )
    assert isinstance(await send_reminder(Reminder(invoice="i1"), context), Sent)


async def test_wrong_input_is_a_permanent_failure_that_names_the_field() -> None:
    with pytest.raises(sdk.InvalidInputError, match="invoice: Field required") as caught:
        await testing.invoke(send_reminder, {"amount": 1})
    assert isinstance(caught.value, sdk.PermanentError)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("text", "return a Pydantic model, a dict or None"),
        ({"a": object()}, "not JSON"),
        ({"a": float("nan")}, "not JSON"),
        ({"a": "x" * MAX_OUTPUT_BYTES}, "more than the"),
    ],
)
async def test_output_that_cannot_be_kept_is_a_permanent_failure(output: Any, says: str) -> None:
    @sdk.task_handler("returns")
    async def returns(_given: Reminder, _context: sdk.TaskContext) -> Any:
        return output

    with pytest.raises(sdk.OutputError, match=says):
        await testing.invoke(returns, {"invoice": "i1"})


async def test_handler_may_return_nothing_or_a_dict() -> None:
    @sdk.task_handler("nothing")
    async def nothing(_given: Reminder, _context: sdk.TaskContext) -> None:
        return None

    @sdk.task_handler("a-dict")
    async def a_dict(given: Reminder, _context: sdk.TaskContext) -> dict[str, Any]:
        return {"invoice": given.invoice}

    assert await testing.invoke(nothing, {"invoice": "i1"}) is None
    assert await testing.invoke(a_dict, {"invoice": "i1"}) == {"invoice": "i1"}


def test_name_is_one_that_a_definition_can_spell() -> None:
    with pytest.raises(sdk.HandlerDefinitionError, match="not a handler's name"):
        sdk.task_handler("Send Reminder")


def test_function_that_cannot_be_a_handler_is_refused_when_it_is_written() -> None:
    def not_async(_given: Reminder, _context: sdk.TaskContext) -> None: ...

    async def one_argument(_given: Reminder) -> None: ...

    async def untyped(_given: Any, _context: sdk.TaskContext) -> None: ...

    decorate: Any = sdk.task_handler("name")
    for function, says in (
        (not_async, "async def"),
        (one_argument, "not 1 arguments"),
        (untyped, "Pydantic model"),
    ):
        with pytest.raises(sdk.HandlerDefinitionError, match=says):
            decorate(function)
