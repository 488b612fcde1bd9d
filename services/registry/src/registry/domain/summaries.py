"""What a resource, or one of its parts, does, in a few words."""

from collections.abc import Mapping
from typing import Any

from contracts.definitions import ActivityDefinition, Trigger
from contracts.eventtypes import Compatibility, EventType
from contracts.kinds import Resource
from contracts.producers import Producer
from registry.domain.phrases import count, cut, duration, listed

_DURATIONS = frozenset({"window", "tolerance"})


def resource(content: Resource) -> str:
    """Return what a resource does, as the end of a sentence."""
    match content:
        case ActivityDefinition():
            return _definition(content)
        case EventType():
            return _event_type(content)
        case Producer():
            return _producer(content)


def trigger(part: Mapping[str, Any]) -> str:
    """Return what a trigger is, as it is written."""
    if (event := part.get("event")) is not None:
        return f"on {event['type']}"
    if (schedule := part.get("schedule")) is not None:
        return f"due {source(schedule)}"
    return "by hand"


def source(schedule: Mapping[str, Any]) -> str:
    """Return when a schedule is due, as it is written."""
    if "cron" in schedule:
        zone = schedule.get("timezone", "UTC")
        return f"by cron {schedule['cron']}" + ("" if zone == "UTC" else f" in {zone}")
    if "every" in schedule:
        return f"every {duration(schedule['every'])}"
    return f"by {count(len(schedule['calendars']), 'calendar')}"


def missed_runs(policy: Mapping[str, Any]) -> str:
    """Return what becomes of late due times, as it is written."""
    details = [
        f"{name} {duration(item) if name in _DURATIONS else item}"
        for name, item in policy.items()
        if name != "policy"
    ]
    return f"{policy['policy']} ({', '.join(sorted(details))})"


def context(part: Mapping[str, Any]) -> str:
    """Return where a context entry comes from, as it is written."""
    if (query := part.get("query")) is not None:
        return f"statement {query['statement']} of {query['connector']}"
    http = part["http"]
    return f"{http['path']} of {http['connector']}"


def task(part: Mapping[str, Any]) -> str:
    """Return what a task is, as it is written."""
    if part["type"] == "automated":
        return f"an automated task for {part['handler']} on {part['taskQueue']}"
    assignees = part["assignees"]
    return f"a human task for {listed([*assignees['groups'], *assignees['users']])}"


def reminder(part: Mapping[str, Any]) -> str:
    """Return when a reminder is, as it is written."""
    if "beforeDue" in part:
        return f"{duration(part['beforeDue'])} before it is due"
    return f"{duration(part['afterDue'])} after it was due"


def escalation(part: Mapping[str, Any]) -> str:
    """Return what an escalation does, as it is written."""
    assignees = part["assignees"]
    to = listed([*assignees["groups"], *assignees["users"]])
    return f"after {duration(part['after'])} to {to}"


def rule(part: Mapping[str, Any]) -> str:
    """Return what a rule decides, as it is written."""
    each = f"for each {part['forEach']['item']}, " if "forEach" in part else ""
    when = "" if part["when"] == "true" else f", when {cut(part['when'])}"
    return f"{each}{task(part['task'])}{when}"


def _definition(definition: ActivityDefinition) -> str:
    starts = listed([_start(part) for part in definition.spec.triggers], most=3)
    rules = listed([part.name for part in definition.spec.rules], most=3)
    return (
        f"runs {starts or 'by hand'}, and decides by "
        f"{count(len(definition.spec.rules), 'rule')} ({rules})"
    )


def _start(part: Trigger) -> str:
    written = trigger(part.model_dump(mode="json", by_alias=True, exclude_none=True))
    return written.removeprefix("due ")


def _event_type(event_type: EventType) -> str:
    versions = [str(schema.version) for schema in event_type.spec.schemas]
    policy = event_type.spec.compatibility
    word = "fully" if policy is Compatibility.FULL else policy.value
    compatible = (
        "not kept compatible" if policy is Compatibility.NONE else f"kept {word} compatible"
    )
    noun = "schema version" if len(versions) == 1 else "schema versions"
    return f"has {noun} {listed(versions)}, {compatible}"


def _producer(producer: Producer) -> str:
    spec = producer.spec
    keys = f" with {count(len(spec.keys), 'key')}" if spec.keys else ""
    return (
        f"emits {listed(spec.types, most=3)} from {listed(spec.sources, most=3)}, "
        f"signatures {spec.signatures}{keys}"
    )
