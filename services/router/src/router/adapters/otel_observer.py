"""Counts what the router does with OpenTelemetry."""

from collections import Counter
from collections.abc import Iterable, Sequence

from contracts.rejections import Reason
from contracts.telemetry import Attribute, Metric
from runtime import telemetry


class OtelObserver:
    """Counts records, dead letters and candidates by bounded attributes."""

    def __init__(self) -> None:
        meter = telemetry.meter(__name__)
        self._records = meter.create_counter(
            Metric.ROUTER_RECORDS, description="Records with a durable outcome."
        )
        self._dead_letters = meter.create_counter(
            Metric.ROUTER_DEAD_LETTERS, description="Records that were parked, by reason."
        )
        self._resolved = meter.create_counter(
            Metric.ROUTER_DEAD_LETTERS_RESOLVED,
            description="Dead letters that were redriven or discarded, by outcome.",
        )
        self._http_events = meter.create_counter(
            Metric.ROUTER_HTTP_EVENTS, description="Events that came by HTTP, by outcome."
        )
        self._duration = meter.create_histogram(
            Metric.ROUTER_ROUTE_DURATION,
            unit="s",
            description="Time to settle a record that needed work.",
        )
        self._candidates = meter.create_counter(
            Metric.ROUTER_CANDIDATES,
            description="Decisions of events for definitions, by outcome.",
        )
        self._dispatched = meter.create_counter(
            Metric.ROUTER_DISPATCHED, description="Starts that had waited, by what became of them."
        )
        self._misses = meter.create_counter(
            Metric.ROUTER_SEEN_MISSES, description="Commands that Redis did not answer in time."
        )

    def settled(self, namespace: str, outcome: str, seconds: Sequence[float]) -> None:
        """Records that needed work, each so long, have their durable outcome."""
        attributes: dict[str, str] = {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: outcome}
        self._records.add(len(seconds), attributes)
        for took in seconds:
            self._duration.record(took, attributes)

    def unrouted(self, namespace: str, count: int) -> None:
        """So many records were accepted and decided, and nobody wants them."""
        # As one: most records end so, and a measurement for each would cost as much as its routing.
        attributes: dict[str, str] = {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: "no_match"}
        self._records.add(count, attributes)

    def parked(self, namespace: str, reason: Reason) -> None:
        """One record became a dead letter."""
        self._dead_letters.add(1, {Attribute.NAMESPACE: namespace, Attribute.REASON: reason.value})

    def resolved(self, namespace: str, state: str, outcome: str) -> None:
        """One dead letter was redriven, with that outcome, or discarded."""
        self._resolved.add(1, {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: outcome or state})

    def received(self, outcome: str, count: int) -> None:
        """So many events came by HTTP."""
        self._http_events.add(count, {Attribute.OUTCOME: outcome})

    def candidates(self, namespace: str, outcomes: Iterable[tuple[str, str]]) -> None:
        """Events were decided for their candidates: (definition id, outcome) each."""
        for (definition_id, outcome), count in Counter(outcomes).items():
            self._candidates.add(
                count,
                {
                    Attribute.NAMESPACE: namespace,
                    Attribute.DEFINITION_ID: definition_id,
                    Attribute.OUTCOME: outcome,
                },
            )

    def dispatched(self, namespace: str, outcomes: Iterable[tuple[str, str]]) -> None:
        """What waited came to something: (reason, outcome) each."""
        for reason, outcome in outcomes:
            self._dispatched.add(
                1,
                {
                    Attribute.NAMESPACE: namespace,
                    Attribute.REASON: reason,
                    Attribute.OUTCOME: outcome,
                },
            )

    def seen_missed(self) -> None:
        """Redis did not answer a command."""
        self._misses.add(1)
