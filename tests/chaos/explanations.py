"""Judges what the ledger says of each record: I12. Shares no code with Backbone."""

from collections import Counter, defaultdict

import identity
from history import Decision, Intents, Observation, Sent, digest
from visits import VISITS

ORDERS = "e2e.orders"
CONDITION = 'event.payload.currency == "EUR"'
SAW = 'event.payload.currency = "USD"'

Place = tuple[int, int]


def violations(intents: Intents, seen: Observation) -> list[str]:
    """Return where the log of decisions is not what the oracle says of the records."""
    by_digest = {sent.digest: sent for sent in intents.sent}
    decided: dict[Place, list[Decision]] = defaultdict(list)
    for decision in seen.decisions:
        if decision.definition_id in {intents.bundling, intents.early, VISITS} or decision.cause:
            continue  # See `bundles`, `redrives` and `visits`.
        decided[decision.partition, decision.offset].append(decision)
    wrong = []
    waited = {one.event_id for places in decided.values() for one in places if one.waited}
    effects: dict[str, Counter[str]] = defaultdict(Counter)
    for record in seen.inputs:
        place = (record.partition, record.offset)
        found, sent = decided.pop(place, []), by_digest.get(digest(record.value))
        if sent is None:  # Another finding says so.
            continue
        told = _of_record(sent, found, waited=sent.event_id in waited)
        if told is not None:
            wrong.append(f"I12: of the record {place} the ledger says {told}")
        if sent.expect_reason is None and sent.expect_decision == "unrouted":
            covered = any(r.partition == place[0] and r.first <= place[1] <= r.last
                          for r in seen.unrouted)  # fmt: skip
            if not covered:
                wrong.append(f"I12: of the record {place}, which nobody wants, nothing is said")
        for decision in found:
            effects[sent.event_id or ""][decision.outcome] += 1
    for event_id, outcomes in effects.items():
        if (outcomes["duplicate"] and outcomes["started"] != 1) or outcomes["started"] > 1:
            wrong.append(f"I12: the copies of {event_id} have the outcomes {dict(outcomes)}")
    wrong += [f"I12: the ledger decided of {place}, which is no record" for place in decided]
    return wrong


def _of_record(sent: Sent, found: list[Decision], *, waited: bool) -> str | None:
    """Return what is said, when it is not what it should be; `waited` is of a copy of the event."""
    said = [(one.definition_id, one.outcome) for one in found]
    if sent.expect_reason is not None or sent.expect_decision in ("unrouted", "signalled"):
        return f"{said}, expected nothing" if said else None
    if sent.expect_decision == "filtered":
        if said != [(ORDERS, "filtered")]:
            return f"{said}, expected that {ORDERS} filtered it"
        [one] = found
        if (one.clause, one.seen) != (CONDITION, SAW):
            return f"that {one.clause!r} filtered it, which saw {one.seen!r}"
        return None
    if said not in ([(ORDERS, "started")], [(ORDERS, "duplicate")]):
        return f"{said}, expected that {ORDERS} started, or had before"
    run_ids = {identity.event_run(ORDERS, sent.source, sent.event_id or ""), None}
    if not waited or found[0].outcome != "duplicate":
        # Only a copy that comes while the other waits can be told of no run.
        run_ids.discard(None)
    return None if found[0].run_id in run_ids else f"that it started {found[0].run_id}"
