"""The consumer inbox: events of a topic take effect exactly once, in the order of their streams.

store = await PostgresInboxStore.open(dsn, application="reports")
inbox = Inbox(KafkaBroker("localhost:9092"), store, namespace="dev", group="reports")

@inbox.subscriber("dev.backbone.task-events")
async def count(event: Envelope, transaction: Transaction) -> None: ...

Needs the extra `sdk[inbox]`.
"""

from runtime.postgres import Transaction
from sdk.inbox.arrivals import Arrival, Gap, InboxReason, Refusal
from sdk.inbox.inboxes import Inbox
from sdk.inbox.installation import install
from sdk.inbox.memory import MemoryInboxStore
from sdk.inbox.postgres import PostgresInboxStore
from sdk.inbox.processing import Handler, Order, arrival
from sdk.inbox.store import InboxStore, InboxTransaction

__all__ = [
    "Arrival",
    "Gap",
    "Handler",
    "Inbox",
    "InboxReason",
    "InboxStore",
    "InboxTransaction",
    "MemoryInboxStore",
    "Order",
    "PostgresInboxStore",
    "Refusal",
    "Transaction",
    "arrival",
    "install",
]
