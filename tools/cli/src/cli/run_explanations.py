"""Why a run is there, what it decided and what became of it, in plain sentences.

Runs and tasks are documents, as `documents` gives them. `definition` is the content of the version
that decided, None where it could not be had: then rules are told without their conditions.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from cli import endings
from cli.output import Document
from contracts import canonical
from contracts.runs import FAILURES

TOLD_TASKS = 50
TOLD_EVENTS = 10
TOLD_DUE_TIMES = 10


def looked_at(run: Document) -> list[dict[str, Any]]:
    """Return the entries of a run's snapshot: how large each is, its hash, why it is missing."""
    found = []
    snapshot = dict(run["snapshot"] or {})
    missing = snapshot.pop(FAILURES, {})
    for name, value in sorted(snapshot.items()):
        rendered = canonical.render(value)
        found.append(
            {
                "name": name,
                "items": len(value) if isinstance(value, list) else None,
                "bytes": len(rendered),
                "sha256": canonical.digest(rendered),
                "missing": missing.get(name),
            }
        )
    return found


def rules(run: Document, definition: Document | None) -> list[dict[str, Any]]:
    """Return what each rule saw, with the condition and the forEach as its author wrote them."""
    spec = definition["spec"] if definition is not None else {}
    written = {rule["name"]: rule for rule in spec.get("rules", [])}
    return [
        {
            "rule": trace["rule"],
            "condition": written.get(trace["rule"], {}).get("when"),
            "for_each": written.get(trace["rule"], {}).get("forEach", {}).get("in"),
            "when": trace["when"],
            "items": trace.get("items"),
            "tasks": list(trace.get("tasks", [])),
        }
        for trace in (run["decision"] or {}).get("rules", [])
    ]


def run_sentences(
    run: Document, definition: Document | None, decisions: Sequence[Document]
) -> Iterator[str]:
    """Explain a run; `decisions` are the routing decisions that started it."""
    yield (
        f"{run['run_id']} is a run of {run['definition_id']} version {run['definition_version']}, "
        f"recorded {run['recorded_at']}."
    )
    yield from cause(run["trigger"] or {}, decisions)
    yield from _looked_at(run)
    yield from _decided(run, definition)
    yield from _stepped(run)
    yield from _tasks(run["task_list"])
    for call in run["failure_calls"]:
        yield failure_call(call)
    yield endings.of_run(run)
    for retry in run["retries"]:
        yield (
            f"{retry['actor']} had it decided again {retry['retried_at']}, as {retry['run_id']}: "
            f"{retry['reason']}."
        )


def cause(trigger: Document, decisions: Sequence[Document]) -> Iterator[str]:
    """Say why a run is there."""
    names = ", ".join(trigger.get("names", []))
    by = f" (trigger {names})" if names else ""
    again = trigger.get("retry_of")
    if again is not None:
        yield (
            f"{again['actor']} had {again['run_id']} decided again: {again['reason']}. What "
            "started that one:"
        )
    match trigger.get("kind"):
        case None:
            yield "Why it is there is not known any more: its trigger is gone."
        case "schedule":
            yield from _due(trigger, by)
        case "backfill":
            yield (
                f"The backfill {trigger['backfill_id']}, which {trigger['actor']} asked for "
                f"({trigger['reason']}), started a due time of the past."
            )
            yield from _due(trigger, by)
        case "manual":
            actor = trigger.get("actor") or "somebody"
            why = f": {trigger['reason']}" if trigger.get("reason") else ""
            yield f"{actor} started it by hand{by}, as request {trigger['request_id']}{why}."
        case "timer":
            yield (
                f"The timer {names} of its instance fired: no event had come until "
                f"{trigger['scheduled_for']}."
            )
        case _:
            yield from _events(trigger, by, decisions)


def _due(trigger: Document, by: str) -> Iterator[str]:
    window = trigger["window"]
    yield (
        f"It was due {trigger['scheduled_for']}{by}, and stands for the time from "
        f"{window['start']} to {window['end']}."
    )
    coalesced = trigger.get("coalesced") or []
    if coalesced:
        more = f", and {len(coalesced) - TOLD_DUE_TIMES} more"
        told = ", ".join(coalesced[:TOLD_DUE_TIMES])
        yield (
            f"It stands for {len(coalesced)} other due times that were missed: {told}"
            f"{more if len(coalesced) > TOLD_DUE_TIMES else ''}."
        )


def _events(trigger: Document, by: str, decisions: Sequence[Document]) -> Iterator[str]:
    events = trigger.get("events") or []
    places = {(one["source"], one["event_id"]): one for one in decisions}
    whose = (
        f"{len(events)} events started it together" if len(events) > 1 else "An event started it"
    )
    replay = f", by the replay {trigger['replay_id']}" if trigger.get("replay_id") else ""
    yield f"{whose}{by}{replay}:"
    for event in events[:TOLD_EVENTS]:
        told = f"  {event['event_id']}: {event['type']} from {event['source']}"
        at = places.get((event["source"], event["event_id"]))
        if at is not None:
            told += f", the record {at['topic']} {at['partition']}:{at['offset']}"
            told += f", decided {at['decided_at']}"
        yield told
    if len(events) > TOLD_EVENTS:
        yield f"  and {len(events) - TOLD_EVENTS} more"


def _looked_at(run: Document) -> Iterator[str]:
    entries = looked_at(run)
    if run["decision"] is None:
        # What a run saw is recorded with what it decided.
        return
    if not entries:
        yield "It looked at nothing but its cause."
        return
    yield f"It looked at (snapshot {run['decision']['snapshot_sha256']}):"
    for entry in entries:
        if entry["missing"]:
            yield f"  {entry['name']}: null, since {entry['missing']}"
            continue
        items = "" if entry["items"] is None else f"{_count(entry['items'], 'item')}, "
        yield f"  {entry['name']}: {items}{entry['bytes']} bytes, sha256 {entry['sha256']}"


def _decided(run: Document, definition: Document | None) -> Iterator[str]:
    if run["decision"] is None:
        yield f"It decided nothing{endings.why(run)}."
        return
    yield f"It decided {_count(len(run['decision']['tasks']), 'task')}:"
    for one in rules(run, definition):
        yield f"  {rule(one)}"


def rule(rule: Document) -> str:
    """Say what a rule saw, and what it came to."""
    condition = f"`{rule['condition']}`" if rule["condition"] else "its condition"
    told = f"{rule['rule']}: {condition} was {'true' if rule['when'] else 'false'}"
    if not rule["when"]:
        return told
    if rule["items"] is not None:
        over = f" of `{rule['for_each']}`" if rule["for_each"] else ""
        told += f", for each of {_count(rule['items'], 'item')}{over}"
    return f"{told}: {_count(len(rule['tasks']), 'task')}"


def _stepped(run: Document) -> Iterator[str]:
    state = (run["decision"] or {}).get("state")
    if state is not None:
        ended = ", and ended the instance" if state["ended"] else ""
        yield (
            f"It changed the state of its instance from {state['before_sha256']} to "
            f"{state['after_sha256']}{ended}."
        )


def failure_call(call: Document) -> str:
    """Say that the handler of `onFailure` was called."""
    of = f"of the task {call['task_id']}" if call["task_id"] else "of the run"
    failed = f", and failed itself{endings.why(call)}" if call["failure"] else ""
    return f"{call['handler']} was told of the failure {of} {call['handled_at']}{failed}."


def _tasks(tasks: Sequence[Document]) -> Iterator[str]:
    if tasks:
        yield "What became of them:"
    for task in tasks[:TOLD_TASKS]:
        key = f" {task['key']}" if task["key"] else ""
        yield f"  {task['task_id']} ({task['rule']}{key}): {_what(task)} {endings.of_task(task)}"
    if len(tasks) > TOLD_TASKS:
        yield f"  and {len(tasks) - TOLD_TASKS} more"


def _what(task: Document) -> str:
    return task["handler"] or f"'{task['title']}' for {assigned(task)}"


def assigned(task: Document) -> str:
    """Say whom a task is for."""
    groups = [f"@{group}" for group in task["assigned_groups"]]
    return ", ".join([*task["assigned_users"], *groups]) or "nobody"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def absent(run_id: str, namespace: str) -> str:
    """Say that a run does not exist, and where to look for why."""
    definition, _, key = run_id.partition(":")
    match key.split(":")[0]:
        case "event":
            way = f"`backbone explain event EVENT_ID --definition {definition}` says why an event "
            way += f"did not start it, `backbone pending --definition {definition}` what waits"
        case "batch":
            way = f"`backbone pending --definition {definition}` lists what waits to be started"
        case "manual":
            way = f"`backbone runs --definition {definition}` lists those that were started"
        case _:
            way = f"`backbone ticks {definition}` says what became of each due time"
    return f"there is no run {run_id} in namespace {namespace}; {way}"
