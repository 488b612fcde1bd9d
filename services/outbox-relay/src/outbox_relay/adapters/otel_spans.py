"""The publishing of rows as spans, each of the trace that its event belongs to."""

from collections.abc import MutableMapping

from opentelemetry.trace import Span, StatusCode

from contracts.names import Header
from outbox_relay.domain.rows import PendingRow
from runtime import kafkaspans


class FlightSpans:
    """The spans of one flight, from sending until it has landed or is given up."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def begin(self, row: PendingRow, headers: MutableMapping[str, str | bytes | None]) -> bool:
        """Begin the span of a row, and put it into its headers; False for one without a trace.

        No signature covers that header.
        """
        parent = headers.get(Header.TRACEPARENT)
        if not isinstance(parent, str):
            return False
        span, carried = kafkaspans.published(
            row.topic,
            event_id=str(headers.get(Header.EVENT_ID)),
            parent=parent,
            namespace=row.namespace,
        )
        headers[Header.TRACEPARENT.value] = carried
        self._spans.append(span)
        return True

    def forget(self) -> None:
        """Take the last one back: its row is not sent in this flight."""
        self._spans.pop()

    def land(self) -> None:
        """Say that the broker has all of it."""
        for span in self._spans:
            span.end()

    def give_up(self) -> None:
        """Say that it is not known to have arrived; it is sent again."""
        for span in self._spans:
            span.set_status(StatusCode.ERROR)
            span.end()
