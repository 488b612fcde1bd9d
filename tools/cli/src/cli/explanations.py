"""Why an event did or did not start something, in plain sentences and as documents."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from backbone.ledger.v1 import routing_pb2
from backbone.router.v1 import router_pb2
from cli import documents

NEAREST = 5
"""Definitions that are told of an event that none wanted."""


@dataclass
class Explained:
    """A record of an event without a decision for what was asked, and what is known of it.

    `range` is that of the records nobody wanted in which it lies. `as_of` is the time for which it
    was evaluated again, empty for now. `evaluated` is None where `absent` says why it could not be.
    """

    place: router_pb2.Place
    source: str
    range: routing_pb2.UnroutedRange | None = None
    as_of: str = ""
    evaluated: router_pb2.EvaluateEventResponse | None = None
    absent: str = ""


def document(explained: Explained) -> dict[str, Any]:
    """Return what is known of a record; `listening` is null where it could not be said."""
    found = explained.evaluated
    unrouted = explained.range
    return {
        "topic": explained.place.topic,
        "partition": explained.place.partition,
        "offset": explained.place.offset,
        "source": explained.source or None,
        "type": (found.type or None) if found else None,
        "unrouted": {
            "first_offset": unrouted.first_offset,
            "last_offset": unrouted.last_offset,
            "records": unrouted.records,
            "registry_revision": unrouted.registry_revision,
            "recorded_at": documents.moment(unrouted, "recorded_at"),
        }
        if unrouted is not None
        else None,
        "as_of": explained.as_of or None,
        "absent": explained.absent or None,
        "rejection": (found.rejection or None) if found else None,
        "detail": (found.detail or None) if found else None,
        "listening": found.listening if found and found.listening >= 0 else None,
        "evaluations": [_evaluation(one) for one in found.evaluations] if found else [],
    }


def _evaluation(evaluation: router_pb2.Evaluation) -> dict[str, Any]:
    return {
        "definition_id": evaluation.definition_id,
        "definition_version": evaluation.definition_version,
        "outcome": evaluation.outcome,
        "triggers": [
            {
                "name": trigger.name,
                "outcome": trigger.outcome,
                "clause": trigger.clause or None,
                "seen": trigger.seen or None,
                "detail": trigger.detail or None,
            }
            for trigger in evaluation.triggers
        ],
    }


def decision(row: dict[str, Any]) -> Iterator[str]:
    """Say what one decision was; `row` is `documents.decision`."""
    place = f"{row['topic']} {row['partition']}:{row['offset']}"
    yield f"{row['decided_at']}  {row['definition_id']}@{row['definition_version']}: {_told(row)}"
    if row["run_id"]:
        yield f"  run {row['run_id']}"
    if row["clause"]:
        yield f"  wanted {row['clause']}"
    if row["seen"]:
        yield f"  saw {row['seen']}"
    if row["detail"]:
        yield f"  {row['detail']}"
    yield f"  of the record {place}" + (f", by {row['cause']}" if row["cause"] else "")


def _told(row: dict[str, Any]) -> str:
    names = ", ".join(row["trigger_names"])
    return f"{row['outcome']} (trigger {names})" if names else str(row["outcome"])


def sentences(event_id: str, explained: Explained, *, definition_id: str) -> Iterator[str]:
    """Say why a record started nothing: of one definition, or of those that came nearest."""
    yield _standing(event_id, explained)
    if explained.absent:
        yield explained.absent
    found = explained.evaluated
    if found is None:
        return
    if found.rejection:
        yield f"It would be refused now: {found.rejection}: {found.detail}"
    for evaluation in found.evaluations[: 1 if definition_id else NEAREST]:
        yield from _of_definition(evaluation, found.type, was=bool(explained.as_of))
    if definition_id:
        return
    if not found.listening and found.type:
        yield f"No definition listens to {found.type!r}."
    further = found.listening - NEAREST
    if further > 0:
        yield (
            f"{further} more listen to {found.type!r}: --definition ID says why one of them did "
            "not run."
        )
    if found.listening < 0:
        yield "So much has changed since that others may have listened then: name one."


def dead_letter(letter: router_pb2.DeadLetter) -> str:
    """Say that the event was refused."""
    place = f"{letter.place.partition}:{letter.place.offset}"
    return (
        f"It was refused, and is a dead letter ({letter.state}): {letter.reason}: {letter.detail} "
        f"(`backbone dlq show {place}`)"
    )


def _standing(event_id: str, explained: Explained) -> str:
    place = explained.place
    where = f"{event_id} is the record {place.topic} {place.partition}:{place.offset}"
    if explained.source:
        where += f" from {explained.source!r}"
    if explained.range is not None:
        at = documents.moment(explained.range, "recorded_at")
        revision = explained.range.registry_revision
        return f"{where}: accepted, no definition wanted it ({at}, registry revision {revision})."
    if explained.as_of:
        return f"{where}."
    return (
        f"{where}. There is no decision of it: it was refused, it is not decided yet, or its "
        "decisions are older than the ledger keeps them."
    )


def _of_definition(
    evaluation: router_pb2.Evaluation, event_type: str, *, was: bool
) -> Iterator[str]:
    name = f"{evaluation.definition_id}@{evaluation.definition_version}"
    run = "did not run" if was else "would not run"
    triggers: Sequence[router_pb2.TriggerEvaluation] = evaluation.triggers
    match evaluation.outcome:
        case "not_listening":
            others = sorted({trigger.detail for trigger in triggers})
            said = "; ".join(others) or "it has no event triggers"
            yield f"{name} {run}: it does not listen to {event_type!r} ({said})."
            return
        case "matched":
            yield (
                f"{name} wants it now, and would run."
                if not was
                else f"{name} wanted it by what the registry says of that time, and no decision of "
                "it is recorded: it may have come or changed at that moment."
            )
        case "disabled":
            yield f"{name} {run}: it {'was' if was else 'is'} disabled."
        case "errored":
            yield f"{name} {run}: it could not be evaluated."
        case _:
            yield f"{name} {run}: no trigger of it matches."
    for trigger in triggers:
        yield f"  trigger {trigger.name}: {_of_trigger(trigger)}"


def _of_trigger(trigger: router_pb2.TriggerEvaluation) -> str:
    compared = f"wanted {trigger.clause}, saw {trigger.seen or 'nothing of the event'}"
    match trigger.outcome:
        case "filtered":
            return compared
        case "errored":
            return f"{trigger.detail} ({compared})" if trigger.clause else trigger.detail
        case "other_type":
            return trigger.detail
        case outcome:
            return outcome
