"""Why a run is there, what it decided and what became of it, in plain sentences.

Runs and tasks are documents, as `documents` gives them. `definition` is the content of the version
that decided, None where it could not be had: then rules are told without their conditions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contracts import canonical

TOLD_TASKS = 50
TOLD_EVENTS = 10
TOLD_DUE_TIMES = 10

Document = Mapping[str, Any]


def looked_at(run: Document) -> list[dict[str, Any]]:
    """Return the entries of a run's snapshot: how large each is, and its hash."""
    found = []
    for name, value in sorted((run["snapshot"] or {}).items()):
        rendered = canonical.render(value)
        found.append(
            {
                "name": name,
                "items": len(value) if isinstance(value, list) else None,
                "bytes": len(rendered),
                "sha256": canonical.digest(rendered),
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
    yield from _tasks(run["task_list"])
    yield _ended(run)


def task_sentences(task: Document, run: Document, definition: Document | None) -> Iterator[str]:
    """Explain a task: which rule decided it and why, and what became of it."""
    yield (
        f"{task['task_id']} is {_kind(task)} of the run {run['run_id']}, decided by version "
        f"{run['definition_version']} of {run['definition_id']}."
    )
    for rule in rules(run, definition):
        if rule["rule"] == task["rule"]:
            yield f"The rule {_rule(rule)}."
    if task["key"]:
        yield f"Its task key is {task['key']!r}."
    if task["due_at"]:
        yield f"It is due {task['due_at']}."
    yield f"It {_standing(task)}."
    yield from cause(run["trigger"] or {}, ())
    yield f"`backbone explain run {run['run_id']}` says the rest."


def cause(trigger: Document, decisions: Sequence[Document]) -> Iterator[str]:
    """Say why a run is there."""
    names = ", ".join(trigger.get("names", []))
    by = f" (trigger {names})" if names else ""
    match trigger.get("kind"):
        case None:
            yield "Why it is there is not known any more: its trigger is gone."
        case "schedule":
            yield from _due(trigger, by)
        case "manual":
            actor = trigger.get("actor") or "somebody"
            why = f": {trigger['reason']}" if trigger.get("reason") else ""
            yield f"{actor} started it by hand{by}, as request {trigger['request_id']}{why}."
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
    if not entries:
        yield "It looked at nothing but its cause."
        return
    yield "It looked at:"
    for entry in entries:
        items = "" if entry["items"] is None else f"{_count(entry['items'], 'item')}, "
        yield f"  {entry['name']}: {items}{entry['bytes']} bytes, sha256 {entry['sha256']}"


def _decided(run: Document, definition: Document | None) -> Iterator[str]:
    if run["decision"] is None:
        yield f"It decided nothing{_why(run)}."
        return
    yield f"It decided {_count(len(run['decision']['tasks']), 'task')}:"
    for rule in rules(run, definition):
        yield f"  {_rule(rule)}"


def _rule(rule: Document) -> str:
    condition = f"`{rule['condition']}`" if rule["condition"] else "its condition"
    told = f"{rule['rule']}: {condition} was {'true' if rule['when'] else 'false'}"
    if not rule["when"]:
        return told
    if rule["items"] is not None:
        over = f" of `{rule['for_each']}`" if rule["for_each"] else ""
        told += f", for each of {_count(rule['items'], 'item')}{over}"
    return f"{told}: {_count(len(rule['tasks']), 'task')}"


def _tasks(tasks: Sequence[Document]) -> Iterator[str]:
    if tasks:
        yield "What became of them:"
    for task in tasks[:TOLD_TASKS]:
        key = f" {task['key']}" if task["key"] else ""
        yield f"  {task['task_id']} ({task['rule']}{key}): {_what(task)} {_standing(task)}"
    if len(tasks) > TOLD_TASKS:
        yield f"  and {len(tasks) - TOLD_TASKS} more"


def _kind(task: Document) -> str:
    if task["type"] == "human":
        return f"a task for {_assigned(task)}, '{task['title']}',"
    return f"an automated task for the handler {task['handler']}"


def _what(task: Document) -> str:
    return task["handler"] or f"'{task['title']}' for {_assigned(task)}"


def _assigned(task: Document) -> str:
    groups = [f"@{group}" for group in task["assigned_groups"]]
    return ", ".join([*task["assigned_users"], *groups]) or "nobody"


def _standing(task: Document) -> str:
    if task["status"] == "open":
        return "is open"
    at = f" {task['closed_at']}" if task["closed_at"] else ""
    by = f" by {task['closed_by']}" if task["closed_by"] else ""
    return f"{task['status']}{at}{by}{_why(task)}"


def _ended(run: Document) -> str:
    match run["status"]:
        case "running":
            return "The run goes on: automated tasks are open."
        case "waiting":
            return "The run waits: only people's tasks are open."
        case status:
            return f"The run {status} {run['closed_at']}{_why(run)}."


def _why(document: Document) -> str:
    failure = document["failure"]
    return f": {failure['type']}: {failure['message']}" if failure else ""


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
