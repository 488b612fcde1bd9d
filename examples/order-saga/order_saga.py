"""The handlers of an order's steps and of what undoes them, and a worker that serves them.

They move nothing: each writes a line to its log. A real one would give `context.idempotency_key` to
the stock, the bank and the carrier. To undo what was not done is no error: it may come twice.
"""

from decimal import Decimal

from pydantic import BaseModel, Field

import sdk

TASK_QUEUE = "shop-handlers-tq"
CARD_LIMIT = Decimal(1000)  # EUR
TOO_HEAVY = "anvil"


class Order(BaseModel):
    """The input of each step, and its output: what the next one needs."""

    order: str
    article: str
    amount: Decimal = Field(gt=0)


class FailedOrder(BaseModel):
    """The input of what undoes a step."""

    order: str


@sdk.task_handler("reserve_stock")
async def reserve_stock(order: Order, context: sdk.TaskContext) -> Order:
    """Put the article aside."""
    context.logger.info("stock_reserved", order=order.order, key=context.idempotency_key)
    return order


@sdk.task_handler("charge_card")
async def charge_card(order: Order, context: sdk.TaskContext) -> Order:
    """Charge the amount, unless the card does not give so much."""
    if order.amount > CARD_LIMIT:
        # A bank that says no says so again; one that does not answer is tried again by itself.
        raise sdk.PermanentError(f"the card was declined for {order.amount} EUR")
    context.logger.info("card_charged", order=order.order, key=context.idempotency_key)
    return order


@sdk.task_handler("ship_order")
async def ship_order(order: Order, context: sdk.TaskContext) -> Order:
    """Give the parcel to the carrier, unless he does not take it."""
    if order.article == TOO_HEAVY:
        raise sdk.PermanentError(f"the carrier does not take: {order.article}")
    context.logger.info("order_shipped", order=order.order, key=context.idempotency_key)
    return order


@sdk.task_handler("release_stock")
async def release_stock(failed: FailedOrder, context: sdk.TaskContext) -> None:
    """Put the article back."""
    context.logger.info("stock_released", order=failed.order, key=context.idempotency_key)


@sdk.task_handler("refund_card")
async def refund_card(failed: FailedOrder, context: sdk.TaskContext) -> None:
    """Give the amount back."""
    context.logger.info("card_refunded", order=failed.order, key=context.idempotency_key)


HANDLERS = (reserve_stock, charge_card, ship_order, release_stock, refund_card)

if __name__ == "__main__":
    sdk.run_worker(handlers=HANDLERS, task_queue=TASK_QUEUE)
