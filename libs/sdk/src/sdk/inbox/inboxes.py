"""The decorator: subscribes handlers of a FastStream broker so that each event has one effect."""

import functools
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Generic, TypeVar

from faststream.confluent import KafkaBroker

from contracts import identifiers
from sdk.errors import HandlerDefinitionError
from sdk.inbox.authentication import Authentication
from sdk.inbox.processing import Handler, Order, Processor
from sdk.inbox.store import InboxStore
from sdk.inbox.subscriptions import Subscription
from sdk.inbox.upkeep import Upkeep

REMEMBER = timedelta(days=30)
UPKEEP_EVERY = timedelta(seconds=5)

EffectsT = TypeVar("EffectsT")

_GROUP = re.compile(r"[A-Za-z0-9._-]{1,249}")


class Inbox(Generic[EffectsT]):
    """The inbox of one consumer group in one namespace, on a FastStream broker."""

    def __init__(
        self,
        broker: KafkaBroker,
        store: InboxStore[EffectsT],
        *,
        namespace: str,
        group: str,
        remember: timedelta | None = REMEMBER,
        upkeep_every: timedelta = UPKEEP_EVERY,
        trusted_keys: Path | None = None,
        accept_unsigned: bool = False,
    ) -> None:
        """Remember in `store` what the consumer group `group` has processed of `namespace`.

        Ids of events are forgotten after `remember`, which must be longer than the topics keep
        their records; with None, never. While the broker runs, each instance looks `upkeep_every`
        so often for ids to forget (once in an hour), for gaps, and for events that wait in vain.

        `trusted_keys` is the file of the keys of Backbone's services (`backbone keys trust`): then
        only what one of them signed is taken, at most as old as ids are remembered, and the inbox
        is for the topics that Backbone writes. `accept_unsigned` takes what has no signature, too,
        until all of it is signed. Without the file nobody is asked who wrote to the topics.

        Raises:
            HandlerDefinitionError: a name is malformed.
            KeyUnusableError: the file cannot be read, or is no document of trusted keys.
        """
        if not re.fullmatch(identifiers.NAMESPACE_PATTERN, namespace):
            raise HandlerDefinitionError(f"not a namespace: {namespace!r}")
        if not _GROUP.fullmatch(group):
            raise HandlerDefinitionError(f"not a consumer group: {group!r}")
        self._broker = broker
        self._store = store
        self._namespace = namespace
        self._group = group
        self._authentication = (
            None
            if trusted_keys is None
            else Authentication.of(trusted_keys, accept_unsigned=accept_unsigned, oldest=remember)
        )
        self._topics: set[str] = set()
        self._subscriptions: list[Subscription] = []
        self._upkeep = Upkeep(
            store, namespace=namespace, group=group, every=upkeep_every, remember=remember
        )

    def subscriber(
        self,
        *topics: str,
        order: Order = Order.MONOTONIC,
        republished: bool = False,
        concurrency: int = 4,
        batch_records: int = 100,
        timeout: timedelta = timedelta(seconds=20),
    ) -> Callable[[Handler[EffectsT]], Handler[EffectsT]]:
        """Run the decorated function for every event of `topics`, with one effect for each.

        It takes the event and the open transaction and writes its effects with that. What it raises
        undoes them: `PermanentError` refuses the event for good, anything else makes the partition
        wait and tries again. `concurrency` partitions are worked on at once, each in order and with
        a connection; an event that takes longer than `timeout` is tried again.

        `Order.GAPLESS` needs all topics of the streams in one subscriber. With `republished`, the
        function runs again for copies that the relay republished on request, once for each request;
        `arrival().republish_id` tells them. Otherwise they are duplicates like any other.

        Raises:
            HandlerDefinitionError: there is no topic, or the group has a handler for it already.
        """
        if not topics:
            raise HandlerDefinitionError("name at least one topic")
        taken = sorted(self._topics.intersection(topics))
        if taken:
            raise HandlerDefinitionError(
                f"the group {self._group} has a handler for {', '.join(taken)} already"
            )
        self._topics.update(topics)

        def decorate(handler: Handler[EffectsT]) -> Handler[EffectsT]:
            processor = Processor(
                self._store,
                handler,
                namespace=self._namespace,
                group=self._group,
                topics=topics,
                order=order,
                republished=republished,
                authentication=self._authentication,
            )
            if order is Order.GAPLESS:
                self._upkeep.add(functools.partial(processor.release, within=timeout))
            subscription = Subscription(
                self._broker,
                processor.process,
                topics=topics,
                group=self._group,
                concurrency=concurrency,
                batch_records=batch_records,
                timeout=timeout,
                beside=None if self._subscriptions else self._upkeep.run,
            )
            self._subscriptions.append(subscription)
            return handler

        return decorate
