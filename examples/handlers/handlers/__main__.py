"""A worker in one line: serves the examples' handlers until SIGTERM.

Its addresses come from the environment: BACKBONE_TEMPORAL_ADDRESS and BACKBONE_LEDGER_ADDRESS.
"""

import sdk
from handlers import TASK_QUEUE, post_payment, send_payment_confirmation, send_reminder

sdk.run_worker(
    handlers=[send_reminder, send_payment_confirmation, post_payment], task_queue=TASK_QUEUE
)
