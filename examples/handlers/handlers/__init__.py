"""The handlers of the examples' tasks: what `send_reminder` and the others do.

They send nothing: each writes a line to its log instead. A real one would give
`context.idempotency_key` to the mail provider, so that a task tried twice mails once.
"""

from decimal import Decimal

from pydantic import BaseModel, Field

import sdk

TASK_QUEUE = "notifications-tq"


class Reminder(BaseModel):
    """The input of `send_reminder`."""

    invoice: str
    customer: str
    email: str
    amount: Decimal = Field(gt=0)
    days_overdue: int = Field(ge=0)


class PaymentConfirmation(BaseModel):
    """The input of `send_payment_confirmation`."""

    payment: str
    email: str
    amount: Decimal = Field(gt=0)


class Posting(BaseModel):
    """The input of `post_payment`."""

    payment: str
    currency: str
    euros: Decimal = Field(gt=0)


class Sent(BaseModel):
    """The output of those that send: where the message went."""

    to: str
    subject: str


@sdk.task_handler("send_reminder")
async def send_reminder(reminder: Reminder, context: sdk.TaskContext) -> Sent:
    """Remind a customer of an overdue invoice."""
    sent = Sent(
        to=_checked(reminder.email),
        subject=f"Invoice {reminder.invoice} is {reminder.days_overdue} days overdue",
    )
    context.logger.info("reminder_sent", invoice=reminder.invoice, key=context.idempotency_key)
    return sent


@sdk.task_handler("send_payment_confirmation")
async def send_payment_confirmation(
    confirmation: PaymentConfirmation, context: sdk.TaskContext
) -> Sent:
    """Confirm a payment to the customer."""
    sent = Sent(
        to=_checked(confirmation.email),
        subject=f"We received {confirmation.amount:.2f} EUR ({confirmation.payment})",
    )
    context.logger.info(
        "confirmation_sent", payment=confirmation.payment, key=context.idempotency_key
    )
    return sent


@sdk.task_handler("post_payment")
async def post_payment(posting: Posting, context: sdk.TaskContext) -> None:
    """Post a payment to the accounts."""
    context.logger.info(
        "payment_posted",
        payment=posting.payment,
        euros=f"{posting.euros:.2f}",
        key=context.idempotency_key,
    )


def _checked(email: str) -> str:
    # To try again cannot help, so the task fails for good at once.
    if "@" not in email:
        raise sdk.PermanentError(f"not an e-mail address: {email!r}")
    return email
