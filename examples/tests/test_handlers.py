import pytest
from handlers import TASK_QUEUE, post_payment, send_payment_confirmation, send_reminder

from contracts.catalogue import Catalogue
from sdk import InvalidInputError, PermanentError, testing

REMINDER = {
    "invoice": "INV-1",
    "customer": "A",
    "email": "a@example.com",
    "amount": 97.5,
    "days_overdue": 7,
}


async def test_reminder_goes_to_the_customer() -> None:
    sent = await testing.invoke(send_reminder, REMINDER)
    assert sent == {"to": "a@example.com", "subject": "Invoice INV-1 is 7 days overdue"}


async def test_confirmation_names_the_amount() -> None:
    sent = await testing.invoke(
        send_payment_confirmation,
        {"payment": "PAY-1", "email": "a@example.com", "amount": 12500},
    )
    assert sent == {"to": "a@example.com", "subject": "We received 12500.00 EUR (PAY-1)"}


async def test_payment_is_posted_in_euros() -> None:
    posting = {"payment": "PAY-1", "currency": "USD", "euros": 25}
    assert await testing.invoke(post_payment, posting) is None
    with pytest.raises(InvalidInputError, match="euros"):
        await testing.invoke(post_payment, posting | {"euros": 0})


async def test_reminder_without_an_address_fails_for_good() -> None:
    with pytest.raises(PermanentError, match="not an e-mail address"):
        await testing.invoke(send_reminder, REMINDER | {"email": "nobody"})


async def test_reminder_refuses_an_input_it_does_not_know() -> None:
    with pytest.raises(InvalidInputError, match="invoice"):
        await testing.invoke(send_reminder, {"email": "a@example.com"})


def test_worker_has_every_handler_that_the_catalogue_lists_and_takes_what_it_says(
    catalogue: Catalogue,
) -> None:
    handlers = (send_reminder, send_payment_confirmation, post_payment)
    known = {handler.name: handler for handler in handlers}
    assert catalogue.handlers is not None
    assert set(catalogue.handlers) == set(known)
    for name, handler in catalogue.handlers.items():
        assert handler.task_queue == TASK_QUEUE
        assert handler.input is not None
        assert set(handler.input["required"]) == set(handler.input["properties"])
        assert set(handler.input["required"]) == set(known[name].input_type.model_fields)
