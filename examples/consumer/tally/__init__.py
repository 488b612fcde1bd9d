"""Counts the task events of each definition, each event once, in a table of its own."""

from faststream.confluent import KafkaBroker

from contracts.envelope import Envelope
from contracts.names import Topic, topic
from sdk.inbox import Inbox, Order, PostgresInboxStore, Transaction

GROUP = "examples.tally"

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS task_tally (
    definition_id text NOT NULL,
    event_type text NOT NULL,
    events bigint NOT NULL,
    CONSTRAINT task_tally_pkey PRIMARY KEY (definition_id, event_type)
)
"""

SHOW = "SELECT definition_id, event_type, events FROM task_tally ORDER BY 1, 2"

_COUNT = """
INSERT INTO task_tally AS tally (definition_id, event_type, events)
VALUES ($1, $2, 1)
ON CONFLICT ON CONSTRAINT task_tally_pkey DO UPDATE SET events = tally.events + 1
"""


async def count(event: Envelope, transaction: Transaction) -> None:
    """Count one event. To count twice would be wrong, and nothing here prevents it: the inbox does.

    The transaction is the inbox's own, so that the count and the event's id are committed together.
    """
    assert isinstance(event.payload, dict)
    await transaction.execute(_COUNT, event.payload["definition_id"], event.type)


def subscribe(broker: KafkaBroker, store: PostgresInboxStore, *, namespace: str) -> None:
    """Count the task events of `namespace` for as long as `broker` runs."""
    # A count does not depend on order, so that an event that was overtaken is counted too.
    inbox = Inbox(broker, store, namespace=namespace, group=GROUP)
    inbox.subscriber(topic(namespace, Topic.TASK_EVENTS), order=Order.ANY)(count)
