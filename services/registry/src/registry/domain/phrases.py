"""The words for what a resource says: nouns for its fields, and short forms of its values."""

from collections.abc import Iterable, Mapping
from typing import Any

from contracts import durations

_LONGEST = 120

NOUNS: Mapping[str, str] = {
    "metadata.owner": "the owner",
    "metadata.description": "the description",
    "spec.taskQueue": "the task queue",
    "spec.mode": "the mode",
    "spec.instance.endWhen": "the end of an instance",
    "spec.whileDisabled": "the treatment of events while it is disabled",
    "spec.onFailure.handler": "the handler of failures",
    "spec.onFailure.taskQueue": "the task queue of the handler of failures",
    "spec.limits.maxTasksPerRun": "the limit of tasks per run",
    "spec.limits.maxRuns.count": "the limit of runs",
    "spec.limits.maxRuns.window": "the window of the limit of runs",
    "spec.triggers.schedule.cron": "cron",
    "spec.triggers.schedule.every": "the period",
    "spec.triggers.schedule.start": "the start",
    "spec.triggers.schedule.end": "the end",
    "spec.triggers.schedule.jitter": "the jitter",
    "spec.triggers.schedule.timezone": "the time zone",
    "spec.triggers.schedule.overlap": "the overlap policy",
    "spec.triggers.schedule.missedRuns.window": "the catch-up window",
    "spec.triggers.schedule.missedRuns.limit": "the catch-up limit",
    "spec.triggers.schedule.missedRuns.order": "the order of catching up",
    "spec.triggers.schedule.missedRuns.tolerance": "the tolerance for late due times",
    "spec.triggers.event.type": "the event type",
    "spec.triggers.event.match": "the pattern",
    "spec.triggers.event.when": "the condition",
    "spec.triggers.event.correlate": "the correlation key",
    "spec.triggers.event.batch.maxEvents": "the size of a batch",
    "spec.triggers.event.batch.maxWait": "the wait for a batch",
    "spec.triggers.manual.input": "the schema of the input",
    "spec.context.query.connector": "the connector",
    "spec.context.query.statement": "the statement",
    "spec.context.http.connector": "the connector",
    "spec.context.http.path": "the path",
    "spec.rules.when": "the condition",
    "spec.rules.forEach.item": "the name of an item",
    "spec.rules.forEach.in": "the list that it goes through",
    "spec.rules.task.handler": "the handler",
    "spec.rules.task.taskQueue": "the task queue",
    "spec.rules.task.key": "the key of its tasks",
    "spec.rules.task.title": "the title",
    "spec.rules.task.timeout": "the timeout",
    "spec.rules.task.due": "the time until it is due",
    "spec.rules.task.escalation.after": "the time until it is escalated",
    "spec.rules.task.expiry": "the time until it expires",
    "spec.rules.task.form": "the form",
    "spec.rules.task.retry.maximumAttempts": "the number of attempts",
    "spec.rules.task.retry.initialInterval": "the first interval between attempts",
    "spec.rules.task.retry.maximumInterval": "the longest interval between attempts",
    "spec.rules.task.retry.backoffCoefficient": "the backoff coefficient",
    "spec.schemas.schema": "the schema",
    "spec.signatures": "the treatment of signatures",
    "spec.keys.publicKey": "the public key",
    "spec.keys.notBefore": "the time from which it is in force",
    "spec.keys.notAfter": "the time until which it is in force",
    "spec.keys.revokedAt": "the time from which it is revoked",
}
"""By the path of a field without the names of what it belongs to."""

NAMED_NOUNS: Mapping[str, str] = {
    "metadata.labels": "label",
    "spec.context.query.parameters": "parameter",
    "spec.instance.initial": "first value of",
    "spec.instance.update": "new value of",
    "spec.context.http.parameters": "parameter",
    "spec.rules.task.input": "input",
}
"""What the entries of an object are called, each by its own name."""

_DURATIONS = frozenset(
    {
        *("spec.limits.maxRuns.window", "spec.rules.task.timeout", "spec.rules.task.due"),
        *("spec.rules.task.escalation.after", "spec.rules.task.expiry"),
        *("spec.triggers.schedule.every", "spec.triggers.schedule.jitter"),
        *("spec.triggers.schedule.missedRuns.window", "spec.triggers.event.batch.maxWait"),
        "spec.triggers.schedule.missedRuns.tolerance",
        *("spec.rules.task.retry.initialInterval", "spec.rules.task.retry.maximumInterval"),
    }
)
_SCHEMAS = frozenset({"spec.triggers.manual.input", "spec.rules.task.form", "spec.schemas.schema"})


def changes(field: str, noun: str, before: Any, after: Any) -> str:
    """Return the sentence that says how a field changes; None where it is not there."""
    if field in _SCHEMAS and isinstance(before, dict) and isinstance(after, dict):
        return f"{noun} changes{_fields_changed(before, after)}"
    if before is None:
        return f"{noun} is added: {value(field, after)}"
    if after is None:
        return f"{noun} is removed: {value(field, before)}"
    verb = "changes"
    if field in _DURATIONS:
        grows = durations.parse(before) < durations.parse(after)
        verb = "grows" if grows else "shrinks"
    elif _is_number(before) and _is_number(after):
        verb = "is raised" if before < after else "is lowered"
    return f"{noun} {verb} from {value(field, before)} to {value(field, after)}"


def value(field: str, given: Any) -> str:
    """Return a value in the short form that sentences have it in."""
    if field in _DURATIONS and isinstance(given, str):
        return duration(given)
    if field in _SCHEMAS and isinstance(given, dict):
        fields = given.get("properties")
        names = list(fields) if isinstance(fields, dict) else []
        return f"one with {listed(names)}" if names else "one without fields"
    return cut(given if isinstance(given, str) else _json_like(given))


def duration(text: str) -> str:
    """Return a duration in the unit that people would count it in: 90s, 15m, 24h, 7d."""
    seconds = int(durations.parse(text).total_seconds())
    if seconds < 120:
        return f"{seconds}s"
    if seconds % 86400 == 0 and seconds > 86400:
        return f"{seconds // 86400}d"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def listed(names: Iterable[str], *, conjunction: str = "and", most: int = 5) -> str:
    """Return names as a list in words: a, b and c."""
    shown = list(names)
    if len(shown) > most:
        return f"{', '.join(shown[:most])} {conjunction} {len(shown) - most} more"
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} {conjunction} {shown[-1]}"


def cut(text: str) -> str:
    """Return `text` on one line, and not too long for a sentence."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def count(number: int, noun: str) -> str:
    """Return so many of something: 1 rule, 2 rules."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)


def _json_like(given: Any) -> str:
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, dict):
        return "{" + ", ".join(f"{key}: {_json_like(item)}" for key, item in given.items()) + "}"
    if isinstance(given, list):
        return "[" + ", ".join(_json_like(item) for item in given) + "]"
    return str(given)


def _fields_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return which fields of an object's schema are new, gone or different."""
    was, becomes = before.get("properties"), after.get("properties")
    if not isinstance(was, dict) or not isinstance(becomes, dict):
        return ""
    required = [set(schema.get("required") or ()) for schema in (before, after)]
    told = [
        ("new", becomes.keys() - was.keys()),
        ("gone", was.keys() - becomes.keys()),
        ("different", {name for name in was.keys() & becomes.keys() if was[name] != becomes[name]}),
        ("required now", (required[1] - required[0]) & was.keys()),
        ("no longer required", (required[0] - required[1]) & becomes.keys()),
    ]
    parts = [
        f"{listed(sorted(names))} {'is' if len(names) == 1 else 'are'} {what}"
        for what, names in told
        if names
    ]
    return f": {', '.join(parts)}" if parts else ""
