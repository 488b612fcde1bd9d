"""`publish_event`: an event of the definition's own, once for a task.

Its id follows from the task's and its bytes from the task, so that a second attempt publishes the
same event. It goes on with the run's chain: its hops end definitions that start one another.
"""

from collections.abc import Collection

from pydantic import BaseModel, ValidationError

from contracts import identifiers, names
from contracts.builtins import PublishEventInput
from contracts.catalogue import BuiltIn
from contracts.envelope import MAX_HOPS, Envelope
from contracts.names import RESERVED_PREFIX, Extension
from contracts.rejections import EventRejectedError
from contracts.triggers import Chain
from runtime.kafka import KafkaDeliveryError
from sdk.errors import PermanentError
from sdk.handlers import Handler, TaskContext, task_handler
from sdk.publish import EventPublisher


class Published(BaseModel):
    """Which event was published, and where."""

    event_id: str
    source: str
    topic: str


def publish_event(
    publisher: EventPublisher,
    *,
    topics: Collection[str],
    name: str = BuiltIn.PUBLISH_EVENT,
    max_concurrency: int | None = None,
    rate_per_second: float | None = None,
) -> Handler[PublishEventInput]:
    """Return the handler that publishes to `topics`, named without their namespace.

    A broker that is away and a topic that is not there (yet) are tried again as the definition's
    `retry` says. What Backbone would not take in fails the task for good.
    """

    @task_handler(name, max_concurrency=max_concurrency, rate_per_second=rate_per_second)
    async def publish(asked: PublishEventInput, context: TaskContext) -> Published:
        if asked.topic not in topics:
            raise PermanentError(
                f"the catalogue lists no topic {asked.topic!r}; "
                f"there is: {', '.join(sorted(topics)) or '(none)'}"
            )
        event = event_of(asked, context)
        topic = names.topic_in(context.namespace, asked.topic)
        try:
            await publisher.publish(topic, event, key=asked.key)
        except EventRejectedError as exc:
            raise PermanentError(exc.detail) from exc
        except KafkaDeliveryError as exc:
            if exc.too_large:
                raise PermanentError(str(exc)) from exc
            raise
        return Published(event_id=event.event_id, source=event.source, topic=topic)

    return publish


def event_of(asked: PublishEventInput, context: TaskContext) -> Envelope:
    """Return the event of a task, the same for each attempt.

    Raises:
        PermanentError: it is none that Backbone takes in.
    """
    chain = context.chain or Chain(correlation_id=context.run_id)
    if asked.type.startswith(RESERVED_PREFIX):
        raise PermanentError(f"types {RESERVED_PREFIX}* are Backbone's own; this is {asked.type!r}")
    if chain.next_hops > MAX_HOPS:
        raise PermanentError(f"{chain.next_hops} hops: definitions seem to start one another")
    try:
        return Envelope.model_validate(
            {
                "event_id": identifiers.published_event_id(context.task_id),
                "type": asked.type,
                "source": names.task_source(context.definition_id),
                "occurred_at": asked.occurred_at or context.first_due,
                "subject": asked.subject,
                "schema_version": asked.schema_version,
                "payload": asked.payload,
                "namespace": context.namespace,
                "correlation_id": chain.correlation_id,
                "causation_id": chain.causation_id,
                Extension.HOPS.value: chain.next_hops,
            }
        )
    except ValidationError as exc:
        told = "; ".join(
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
            for error in exc.errors(include_url=False, include_input=False)[:5]
        )
        raise PermanentError(f"this is no event: {told}") from exc
