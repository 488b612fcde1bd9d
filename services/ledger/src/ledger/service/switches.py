"""The use cases of kill switches: throw, reset, list; who hands something out asks what is stopped.

The ledger does not know the labels of definitions. Routers do: they tell which definitions the
labels of a switch select, again whenever the definitions change.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta

from contracts import canonical, identifiers
from contracts.events import KillSwitchReset, KillSwitchThrown
from contracts.switches import KillSwitch, Point
from contracts.telemetry import Attribute, Metric
from eventstore import store
from eventstore.events import Cause, Fact
from eventstore.store import EventStore
from ledger.domain import control
from ledger.domain import switches as domain
from ledger.domain.control import Order
from ledger.domain.switches import EVERYTHING, SwitchState
from ledger.errors import KillSwitchNotFoundError, PreconditionError
from ledger.ports.control import ControlStore
from ledger.ports.requests import RequestLog
from ledger.ports.schedules import ScheduleStore
from ledger.ports.switches import KillSwitchStore
from ledger.service import once, writing
from runtime import logs, telemetry
from runtime.postgres import Postgres, Transaction

MAX_THROWN = 100
"""Of a namespace at a time: every router is told of all of them with every look."""
_TICKS_AT_ONCE = 1000

_log = logs.get_logger(__name__)


class SwitchLedger:
    """Keeps kill switches."""

    def __init__(
        self,
        *,
        database: Postgres,
        switches: KillSwitchStore,
        schedules: ScheduleStore,
        control: ControlStore,
        requests: RequestLog,
        events: EventStore,
    ) -> None:
        self._database = database
        self._store = switches
        self._schedules = schedules
        self._control = control
        self._requests = requests
        self._events = events
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.LEDGER_CONTROL, description="What people did to runs, tasks and schedules."
        )

    async def throw(
        self, *, namespace: str, point: Point, labels: Mapping[str, str], order: Order
    ) -> SwitchState:
        """Stop a namespace, or its definitions with all of `labels`, at a point.

        The same request again returns the same switch.

        Raises:
            PreconditionError: the same is stopped there already, or too much is.
            InvalidRequestError: the request id was used for something else.
        """
        switch_id = domain.switch_id(order.request_id)

        async def work(transaction: Transaction) -> SwitchState:
            at = await self._store.lock(transaction)
            asked = f"{point}\n{canonical.render(dict(labels)).decode()}"
            if await self._is_new(transaction, "ThrowKillSwitch", asked, order):
                thrown = await self._store.thrown(transaction)
                for one in thrown:
                    if (one.point, dict(one.labels)) == (point, dict(labels)):
                        raise PreconditionError(f"{one.switch.told}; reset that one")
                if len(thrown) >= MAX_THROWN:
                    raise PreconditionError(f"{MAX_THROWN} kill switches are thrown already")
                await self._store.add(
                    transaction,
                    switch_id,
                    point=point,
                    labels=labels,
                    at=at,
                    actor=order.actor,
                    reason=order.reason,
                )
                if not labels:
                    await self._store.halt(
                        transaction, switch_id, point=point, definition_ids=[EVERYTHING]
                    )
                await self._append(
                    transaction,
                    KillSwitchThrown(
                        switch_id=switch_id,
                        point=point.value,
                        labels=dict(labels),
                        actor=order.actor,
                        reason=order.reason,
                    ),
                    await self._found(transaction, switch_id),
                )
            return await self._found(transaction, switch_id)

        state = await writing.write(self._database, "throw_kill_switch", namespace, work)
        self._told("throw_kill_switch", namespace, state, order)
        return state

    async def reset(self, *, namespace: str, switch_id: str, order: Order) -> SwitchState:
        """Let what a switch stopped go on; the same request again changes nothing.

        Raises:
            KillSwitchNotFoundError: there is no such switch.
            PreconditionError: it is reset already.
            InvalidRequestError: the request id was used for something else.
        """

        async def work(transaction: Transaction) -> SwitchState:
            at = await self._store.lock(transaction)
            state = await self._found(transaction, switch_id)
            if await self._is_new(transaction, "ResetKillSwitch", switch_id, order):
                if state.reset_at is not None:
                    raise PreconditionError(
                        f"the kill switch {switch_id} was reset by {state.reset_by}: "
                        f"{state.reset_reason}"
                    )
                await self._store.reset(
                    transaction, switch_id, at=at, actor=order.actor, reason=order.reason
                )
                released = await self._store.release(transaction, switch_id)
                state = await self._found(transaction, switch_id)
                await self._append(
                    transaction,
                    KillSwitchReset(switch_id=switch_id, actor=order.actor, reason=order.reason),
                    state,
                )
                await self._go_on(transaction, state, released, order)
            return state

        state = await writing.write(self._database, "reset_kill_switch", namespace, work)
        self._told("reset_kill_switch", namespace, state, order)
        return state

    async def select(
        self, *, namespace: str, revision: int, selections: Mapping[str, Collection[str]]
    ) -> None:
        """Take note of which definitions switches select; what is older than known is passed over.

        `revision` is the registry's at which their labels were looked at.
        """

        async def work(transaction: Transaction) -> None:
            at = await self._store.lock(transaction)
            for state in await self._store.thrown(transaction):
                chosen = selections.get(state.switch_id)
                if chosen is None or not state.labels or revision < (state.selected_revision or 0):
                    continue
                released = await self._store.release(transaction, state.switch_id, all_but=chosen)
                await self._store.halt(
                    transaction, state.switch_id, point=state.point, definition_ids=chosen
                )
                await self._store.selected(transaction, state.switch_id, revision=revision)
                if released:
                    order = Order(
                        request_id=identifiers.short_hash(state.switch_id, str(at)),
                        actor=state.thrown_by,
                        reason=f"the kill switch {state.switch_id} does not select it any more",
                    )
                    await self._go_on(transaction, state, released, order)

        await writing.write(self._database, "select_definitions", namespace, work)

    async def page(
        self, *, namespace: str, before: int | None, with_reset: bool, limit: int
    ) -> list[SwitchState]:
        """Return at most `limit` switches from before a position, the newest first."""
        async with self._database.transaction(namespace) as transaction:
            return await self._store.page(
                transaction, before=before, with_reset=with_reset, limit=limit
            )

    async def halting(
        self, *, namespace: str, point: Point, definition_id: str
    ) -> KillSwitch | None:
        """Return the switch that stops a definition at a point; None when nothing does."""
        async with self._database.transaction(namespace) as transaction:
            return await self._store.halting(transaction, point, definition_id)

    async def _go_on(
        self,
        transaction: Transaction,
        state: SwitchState,
        released: Collection[str],
        order: Order,
    ) -> None:
        """Have looked at now what waited for a switch: events, and due times."""
        if state.point is not Point.RUN:
            return
        chosen = None if EVERYTHING in released else set(released)
        await self._store.look_again(transaction, chosen)
        at = await self._store.lock(transaction)
        ticks = []
        # What is beyond these is found by whoever looks after overdue schedules.
        for row in await self._schedules.overdue(
            transaction, min_age=timedelta(), limit=_TICKS_AT_ONCE
        ):
            if chosen is not None and row.definition_id not in chosen:
                continue
            epoch = await self._schedules.latest_epoch(transaction, row.definition_id)
            if epoch is not None:
                ticks.append(
                    control.tick(
                        transaction.namespace,
                        row.definition_id,
                        version=epoch.definition_version,
                        asked_by=(order.request_id, identifiers.instant(at)),
                    )
                )
        if ticks:
            await self._control.add_operations(transaction, ticks, order=order, at=at)

    async def _append(
        self,
        transaction: Transaction,
        payload: KillSwitchThrown | KillSwitchReset,
        state: SwitchState,
    ) -> None:
        stream = store.kill_switch_stream(state.switch_id)
        await self._events.append(
            transaction,
            stream=stream,
            facts=[Fact(payload, key=state.switch_id)],
            expected=store.ANY,
            occurred_at=state.reset_at or state.thrown_at,
            cause=Cause(correlation_id=stream),
        )

    async def _found(self, transaction: Transaction, switch_id: str) -> SwitchState:
        state = await self._store.get(transaction, switch_id)
        if state is None:
            raise KillSwitchNotFoundError(switch_id)
        return state

    async def _is_new(
        self, transaction: Transaction, method: str, subject: str, order: Order
    ) -> bool:
        return await once.is_first(
            self._requests,
            transaction,
            method=method,
            request_id=order.request_id,
            content=f"{order.actor}\n{subject}".encode(),
            actor=order.actor,
            reason=order.reason,
            otherwise="another kill switch or person",
        )

    def _told(self, what: str, namespace: str, state: SwitchState, order: Order) -> None:
        self._counter.add(1, {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: what})
        _log.warning(
            what, namespace=namespace, switch_id=state.switch_id, point=state.point.value,
            labels=dict(state.labels), actor=order.actor, reason=order.reason,
        )  # fmt: skip
