"""Read models: rows that follow from events and from nothing else.

A projection runs in the transaction that appends, with the events of that append, so that a read
model is never behind. It takes times and ids from the events, never from a clock, so that a rebuild
gives the same rows.
"""

from collections.abc import Awaitable, Callable, Sequence

from eventstore.events import Event
from runtime.postgres import Transaction

Projection = Callable[[Transaction, Sequence[Event]], Awaitable[None]]
"""Applies events, in order, to the tables of one read model."""
