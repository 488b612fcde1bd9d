"""The decision log in memory: what the ledger's has to hold after the same requests."""

from dataclasses import dataclass, field

from contracts.routing import RoutingOutcome
from ledger.domain import routing
from ledger.domain.routing import Decision, Recorded, RoutedEvent

EFFECTS = {
    RoutingOutcome.STARTED,
    RoutingOutcome.SIGNALLED,
    RoutingOutcome.HELD,
    RoutingOutcome.BATCHED,
    RoutingOutcome.LIMITED,
}


@dataclass
class DecisionLog:
    """Everything in a list. `all_known`: tell of all that stands, not of what a store looks up."""

    all_known: bool = False
    decisions: list[Decision] = field(default_factory=list)
    digests: dict[str, bytes] = field(default_factory=dict)

    def record(self, events: list[RoutedEvent]) -> list[int]:
        """Record a batch; return the indices of the conflicts."""
        digests = {**routing.first_digests(events), **self.digests}
        self.digests = digests
        places = {event.place for event in events}
        decided = routing.decide(
            events,
            digests=digests,
            known=[
                recorded(one)
                for one in self.decisions
                if self.all_known or one.event.place in places or one.candidate.outcome in EFFECTS
            ],
        )
        self.decisions += decided.decisions
        return list(decided.conflicts)


def recorded(decision: Decision) -> Recorded:
    """Return a decision as one that stands."""
    return Recorded(
        event_key=decision.event.key,
        place=decision.event.place,
        cause=decision.event.cause,
        definition_id=decision.candidate.definition_id,
        outcome=decision.candidate.outcome,
        run_id=decision.candidate.run_id,
    )
