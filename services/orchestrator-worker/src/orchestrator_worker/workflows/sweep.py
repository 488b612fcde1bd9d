"""`Sweep`: looks after what open runs wait on, and closes what nobody will finish.

A page is one Temporal activity, which anybody may do again: what is closed stays closed.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from contracts.names import TemporalActivity, Workflow
    from contracts.runs import SweepInput, SweptPage

# A page describes at most some hundred executions.
_PAGE_TIMEOUT = timedelta(minutes=2)
# A worker that died with a page holds the sweep up for no longer than this.
_HEARTBEAT_TIMEOUT = timedelta(seconds=10)
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))
# Until then the history stays small, whatever number of runs is open.
_PAGES_PER_EXECUTION = 100


@workflow.defn(name=Workflow.SWEEP.value)
class Sweep:
    """Go through the list of open runs, page by page, to its end."""

    @workflow.run
    async def run(self, sweep: SweepInput) -> SweptPage:
        """Return how many executions were looked at and how many were closed."""
        pages = 0
        while True:
            page = await workflow.execute_activity(
                TemporalActivity.SWEEP_PAGE.value,
                sweep,
                result_type=SweptPage,
                start_to_close_timeout=_PAGE_TIMEOUT,
                heartbeat_timeout=_HEARTBEAT_TIMEOUT,
                retry_policy=_RETRY,
            )
            sweep = SweepInput(
                namespace=sweep.namespace,
                page_token=page.next_page_token,
                looked_at=sweep.looked_at + page.looked_at,
                closed=sweep.closed + page.closed,
            )
            if not sweep.page_token:
                return SweptPage(looked_at=sweep.looked_at, closed=sweep.closed)
            pages += 1
            if pages == _PAGES_PER_EXECUTION:
                workflow.continue_as_new(sweep)
