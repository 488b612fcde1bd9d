"""The consumer inbox: events of a topic take effect exactly once, in the order of their streams.

store = await PostgresInboxStore.connect(dsn, application="reports")
inbox = Inbox(KafkaBroker("localhost:9092"), store, namespace="dev", group="reports")

@inbox.subscriber("dev.backbone.task-events")
async def count(event: Envelope, transaction: Transaction) -> None: ...

Needs the extra `sdk[inbox]`.
"""

from runtime.postgres import Transaction
from sdk.inbox.arrivals import InboxReason, Refusal
from sdk.inbox.memory import MemoryInboxStore
from sdk.inbox.postgres import PostgresInboxStore, install
from sdk.inbox.processing import Handler, OutOfOrder
from sdk.inbox.store import InboxStore, InboxTransaction
from sdk.inbox.subscriptions import Inbox

__all__ = [
    "Handler",
    "Inbox",
    "InboxReason",
    "InboxStore",
    "InboxTransaction",
    "MemoryInboxStore",
    "OutOfOrder",
    "PostgresInboxStore",
    "Refusal",
    "Transaction",
    "install",
]
