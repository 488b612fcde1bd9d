"""The handlers of the nightly report, and a worker that serves them until SIGTERM.

There are no sales: the report says which time it is of, and the count is of nothing.
"""

from pydantic import AwareDatetime, BaseModel, Field

import sdk

TASK_QUEUE = "reports-tq"


class Period(BaseModel):
    """The input of `write_report`: what it is to tell of, and how many nights that is."""

    since: AwareDatetime
    until: AwareDatetime
    nights: int = Field(ge=1)


class Report(BaseModel):
    """The output of `write_report`."""

    title: str
    nights: int


class Moment(BaseModel):
    """The input of `count_sales`."""

    until: AwareDatetime


@sdk.task_handler("write_report")
async def write_report(period: Period, context: sdk.TaskContext) -> Report:
    """Write one report of a period."""
    nights = "a night" if period.nights == 1 else f"{period.nights} nights"
    report = Report(
        title=f"Sales of {nights}, {period.since:%F %T} to {period.until:%F %T}",
        nights=period.nights,
    )
    context.logger.info("report_written", title=report.title, key=context.idempotency_key)
    return report


@sdk.task_handler("count_sales")
async def count_sales(moment: Moment, context: sdk.TaskContext) -> None:
    """Count the sales of the day so far."""
    context.logger.info("sales_counted", until=str(moment.until), key=context.idempotency_key)


HANDLERS = (write_report, count_sales)

if __name__ == "__main__":
    sdk.run_worker(handlers=HANDLERS, task_queue=TASK_QUEUE)
