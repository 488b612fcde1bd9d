"""Judges what was gathered: I13. Shares no code with Backbone."""

from collections import Counter

from history import FoundRun, Intents, Observation, digest

TASKS = ("bundle/",)
MOST = 5  # events of a batch


def is_one(intents: Intents, run: FoundRun) -> bool:
    """Say whether a run is of a batch of the definition that gathers."""
    return intents.bundling is not None and run.definition_id == intents.bundling


def violations(intents: Intents, seen: Observation) -> list[str]:
    """Return which events are in no run, in two, or in one that they should not be in."""
    if intents.bundling is None:
        return []
    had = {digest(record.value) for record in seen.inputs}
    expected = {
        (sent.source, sent.event_id or "")
        for sent in intents.sent
        if sent.starts and sent.digest in had
    }
    runs = [run for run in seen.runs if is_one(intents, run)]
    found = Counter(member for run in runs for member in run.members)
    wrong = [f"I13: {member} is in no batch" for member in expected - found.keys()]
    wrong += [f"I13: {member} was gathered {n} times" for member, n in found.items() if n != 1]
    wrong += [f"I13: {member} was gathered" for member in found.keys() - expected]
    wrong += [
        f"I13: the batch {run.run_id} has {len(run.members)} events"
        for run in runs
        if not 1 <= len(run.members) <= MOST
    ]
    in_run = {member[1]: run.run_id for run in runs for member in run.members}
    of_event: dict[str, Counter[str]] = {}
    for one in seen.decisions:
        if one.definition_id != intents.bundling or one.cause:
            continue
        of_event.setdefault(one.event_id, Counter())[one.outcome] += 1
        if one.outcome == "started" and one.run_id != in_run.get(one.event_id):
            wrong.append(f"I13: {one.event_id} is said to be in {one.run_id}, and is not")
    wrong += [
        f"I13: of {event_id} the ledger says {dict(outcomes)}"
        for event_id, outcomes in of_event.items()
        if outcomes["started"] != 1 or set(outcomes) > {"started", "duplicate"}
    ]
    wrong += [
        f"I13: of {event_id} the ledger says nothing"
        for _, event_id in expected
        if event_id not in of_event
    ]
    return wrong
