"""Why a task is there and what became of it, in plain sentences."""

from collections.abc import Iterator, Sequence

from cli import endings, run_explanations
from cli.output import Document

TOLD_CHANGES = 20


def sentences(
    task: Document, run: Document, definition: Document | None, changes: Sequence[Document]
) -> Iterator[str]:
    """Explain a task: which rule decided it and why, who did what to it, what became of it.

    `changes` are those of a human task, the oldest first.
    """
    yield (
        f"{task['task_id']} is {_kind(task)} of the run {run['run_id']}, decided by version "
        f"{run['definition_version']} of {run['definition_id']}."
    )
    for rule in run_explanations.rules(run, definition):
        if rule["rule"] == task["rule"]:
            yield f"The rule {run_explanations.rule(rule)}."
    if task["key"]:
        yield f"Its task key is {task['key']!r}."
    if task["due_at"]:
        yield f"It is due {task['due_at']}."
    if task["generation"] > 1:
        yield f"It was retried by hand: this is the {_ordinal(task['generation'])} time."
    yield from _changes(changes)
    yield f"It {endings.of_task(task)}."
    for call in run["failure_calls"]:
        if call["task_id"] == task["task_id"]:
            yield run_explanations.failure_call(call)
    yield from run_explanations.cause(run["trigger"] or {}, ())
    yield f"`backbone explain run {run['run_id']}` says the rest."


def _changes(changes: Sequence[Document]) -> Iterator[str]:
    if changes:
        yield "What happened to it:"
    for change in changes[:TOLD_CHANGES]:
        what = change["event_type"].removeprefix("backbone.Task").lower()
        by = f" by {change['actor']}" if change["actor"] else ""
        words = change["comment"] or change["reason"]
        yield f"  {change['occurred_at']} {what}{by}" + (f": {words}" if words else "")
    if len(changes) > TOLD_CHANGES:
        yield f"  and {len(changes) - TOLD_CHANGES} more"


def _kind(task: Document) -> str:
    if task["type"] == "human":
        return f"a task for {run_explanations.assigned(task)}, '{task['title']}',"
    return f"an automated task for the handler {task['handler']}"


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
