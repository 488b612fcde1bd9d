"""What differs in meaning between two versions of a resource, told by names and not by lines.

What only is written differently does not differ: the order of keys and of what has no order,
defaults, white space in expressions, two spellings of one schedule.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from contracts import definitions, resources
from contracts.kinds import Resource
from registry.domain import phrases, sameness, summaries
from registry.domain.positions import join


class DifferenceKind(StrEnum):
    """What became of something."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: `path` goes by names, `before` and `after` are JSON, None where it is not.

    Of a whole resource that was added or removed they are None: its content tells that.
    """

    kind: DifferenceKind
    path: str
    summary: str
    before: Any = None
    after: Any = None


def differences(before: Resource | None, after: Resource | None) -> list[Difference]:
    """Return what differs; None is a resource that is not there, or not in use."""
    if before is None or after is None:
        return list(_whole(before, after))
    was, becomes = (json.loads(resources.content(content)) for content in (before, after))
    return list(_differ(_Place(), was, becomes))


def _whole(before: Resource | None, after: Resource | None) -> Iterator[Difference]:
    if after is not None:
        summary = f"{_WHOLE[after.kind]} {after.metadata.id} is new: it {summaries.resource(after)}"
        yield Difference(DifferenceKind.ADDED, "", summary)
    elif before is not None:
        does = summaries.resource(before)
        summary = f"{_WHOLE[before.kind]} {before.metadata.id} is retired: it {does}"
        yield Difference(DifferenceKind.REMOVED, "", summary)


_WHOLE = {"ActivityDefinition": "definition", "EventType": "event type", "Producer": "producer"}


_Object = Mapping[str, Any]


class _Place(NamedTuple):
    """Where something is: its path by names, its field without them, and whose it is."""

    path: str = ""
    field: str = ""
    owner: str = ""

    def inside(self, name: str) -> "_Place":
        field = f"{self.field}.{name}" if self.field else name
        return _Place(join(self.path, name), field, self.owner)


_Comparison = Callable[[_Place, Any, Any], Iterator[Difference]]


def _differ(place: _Place, before: Any, after: Any) -> Iterator[Difference]:
    if place.field in phrases.NAMED_NOUNS:
        yield from _entries(place, before or {}, after or {})
    elif place.field in _IGNORED or _same(place, before, after):
        return
    elif (special := _SPECIAL.get(place.field)) is not None:
        yield from special(place, before, after)
    elif isinstance(before, dict) and isinstance(after, dict) and place.field not in phrases.NOUNS:
        yield from _fields(place, before, after)
    else:
        noun = phrases.NOUNS.get(place.field, place.field.rpartition(".")[2])
        yield _told(place, before, after, phrases.changes(place.field, noun, before, after))


def _same(place: _Place, before: Any, after: Any) -> bool:
    if before is None or after is None:
        return before is after
    # As text: to Python true and 1 are equal.
    return sameness.written(before) == sameness.written(after) or _SAME.get(place.field, _never)(
        before, after
    )


def _never(_before: Any, _after: Any) -> bool:
    return False


def _told(place: _Place, before: Any, after: Any, sentence: str) -> Difference:
    kind = DifferenceKind.CHANGED
    if before is None or after is None:
        kind = DifferenceKind.ADDED if before is None else DifferenceKind.REMOVED
    return Difference(kind, place.path, f"{place.owner}{sentence}", before, after)


def _fields(
    place: _Place, before: _Object, after: _Object, *, aside: Collection[str] = ()
) -> Iterator[Difference]:
    order = _ORDER if place.field == "spec" else ()
    for name in dict.fromkeys((*order, *before, *after)):
        if name not in aside:
            yield from _differ(place.inside(name), before.get(name), after.get(name))


def _entries(place: _Place, before: _Object, after: _Object) -> Iterator[Difference]:
    """Compare objects whose keys are names that people chose."""
    for name in dict.fromkeys((*before, *after)):
        was, becomes = before.get(name), after.get(name)
        if not _same(place, was, becomes):
            noun = f"{phrases.NAMED_NOUNS[place.field]} {name}"
            entry = _Place(join(place.path, name), place.field, place.owner)
            yield _told(entry, was, becomes, phrases.changes(place.field, noun, was, becomes))


def _named(
    noun: str, name: str, does: Callable[[_Object], str], compare: "_Comparison | None" = None
) -> "_Comparison":
    """Return a comparison of lists whose items have names."""

    def compare_lists(place: _Place, before: Any, after: Any) -> Iterator[Difference]:
        was, becomes = ({str(item[name]): item for item in side or ()} for side in (before, after))
        for key in dict.fromkeys((*was, *becomes)):
            item = _Place(f"{place.path}[{key}]", place.field)
            if key not in becomes:
                yield _told(item, was[key], None, f"{noun} {key} is removed: {does(was[key])}")
            elif key not in was:
                yield _told(
                    item, None, becomes[key], f"{noun} {key} is added: {does(becomes[key])}"
                )
            else:
                item = item._replace(owner=f"{noun} {key}: ")
                yield from (compare or _fields)(item, was[key], becomes[key])

    return compare_lists


def _rules(place: _Place, before: Any, after: Any) -> Iterator[Difference]:
    yield from _named("rule", "name", summaries.rule)(place, before, after)
    names = [[rule["name"] for rule in side] for side in (before, after)]
    was, becomes = ([n for n in side if n in names[0] and n in names[1]] for side in names)
    if was != becomes:
        moved = f"{phrases.listed(was, conjunction='then')}"
        sentence = f"the order of the rules changes from {moved} to "
        yield _told(place, was, becomes, sentence + phrases.listed(becomes, conjunction="then"))


def _one_of(does: Callable[[_Object], str], *kinds: str) -> "_Comparison":
    """Return a comparison of objects that are one of several kinds, by the field they have."""

    def compare(place: _Place, before: Any, after: Any) -> Iterator[Difference]:
        was, becomes = ([kind for kind in kinds if kind in side] for side in (before, after))
        if was == becomes:
            yield from _fields(place, before, after)
        else:
            sentence = f"it is now {does(after)}, before it was {does(before)}"
            yield _told(place, before, after, sentence)

    return compare


def _schedule(place: _Place, before: Any, after: Any) -> Iterator[Difference]:
    sources = ("cron", "every", "calendars")
    was, becomes = ([name for name in sources if name in side] for side in (before, after))
    aside: tuple[str, ...] = ()
    if was != becomes:
        aside = (*sources, "timezone")
        sources_of = [{key: side[key] for key in aside if key in side} for side in (before, after)]
        sentence = f"it is now due {summaries.source(after)}, before {summaries.source(before)}"
        yield _told(place, sources_of[0], sources_of[1], sentence)
    yield from _fields(place, before, after, aside=aside)


def _missed_runs(place: _Place, before: Any, after: Any) -> Iterator[Difference]:
    if before["policy"] == after["policy"]:
        yield from _fields(place, before, after)
        return
    was, becomes = summaries.missed_runs(before), summaries.missed_runs(after)
    yield _told(place, before, after, f"the policy for missed runs changes from {was} to {becomes}")


def _task(place: _Place, before: Any, after: Any) -> Iterator[Difference]:
    if before["type"] == after["type"]:
        yield from _fields(place, before, after)
        return
    was, becomes = summaries.task(before), summaries.task(after)
    yield _told(place, before, after, f"it decides {becomes}, before {was}")


def _optional(noun: str, does: Callable[[_Object], str]) -> _Comparison:
    """Return a comparison of objects that may not be there."""

    def compare(place: _Place, before: Any, after: Any) -> Iterator[Difference]:
        if before is not None and after is not None:
            yield from _fields(place, before, after)
        elif after is not None:
            yield _told(place, None, after, f"{noun} is added: {does(after)}")
        else:
            yield _told(place, before, None, f"{noun} is removed: {does(before)}")

    return compare


def _members(
    added: str,
    removed: str,
    *,
    patterns: bool = False,
    shown: Callable[[Any], str] | None = None,
) -> "_Comparison":
    """Return a comparison of lists without an order; `shown` words a member."""

    def compare(place: _Place, before: Any, after: Any) -> Iterator[Difference]:
        was, becomes = (
            [json.dumps(item, sort_keys=True) for item in side or ()] for side in (before, after)
        )
        if patterns:
            was, becomes = sameness.least(before), sameness.least(after)
        for item in dict.fromkeys((*was, *becomes)):
            if (item in was) != (item in becomes):
                member = item if patterns else json.loads(item)
                text = shown(member) if shown else phrases.value(place.field, member)
                entry = place._replace(path=f"{place.path}[{text}]")
                if item in was:
                    yield _told(entry, member, None, removed.format(text))
                else:
                    yield _told(entry, None, member, added.format(text))

    return compare


def _compatibility(place: _Place, before: Any, after: Any) -> Iterator[Difference]:
    strict = ["none", None, "full"]
    sides = [strict.index(side) if side in strict else 1 for side in (before, after)]
    verb = "changes" if sides[0] == sides[1] else "is loosened"
    verb = "is tightened" if sides[0] < sides[1] else verb
    yield _told(place, before, after, f"the compatibility {verb} from {before} to {after}")


def _schema_does(schema: _Object) -> str:
    return f"the payload is {phrases.value('spec.schemas.schema', schema['schema'])}"


def _key_does(key: _Object) -> str:
    start, end = key.get("notBefore"), key.get("notAfter")
    parts = [f"from {start}" if start else "", f"until {end}" if end else ""]
    revoked = f", revoked from {key['revokedAt']}" if "revokedAt" in key else ""
    return f"in force {' '.join(filter(None, parts)) or 'at any time'}{revoked}"


def _each(loop: _Object) -> str:
    return f"one task for each {loop['item']} of {phrases.cut(loop['in'])}"


def _batch(batch: _Object) -> str:
    wait = phrases.duration(batch["maxWait"])
    return f"up to {batch['maxEvents']} events within {wait}"


def _max_runs(limit: _Object) -> str:
    return f"at most {limit['count']} runs in {phrases.duration(limit['window'])}"


def _on_failure(failure: _Object) -> str:
    return str(failure["handler"])


_ORDER = tuple(field.alias or name for name, field in definitions.Spec.model_fields.items())
_IGNORED = frozenset({"apiVersion", "kind", "metadata.id", "metadata.namespace"})

_SAME: Mapping[str, Callable[[Any, Any], bool]] = {
    "spec.triggers.schedule.cron": sameness.same_cron,
    "spec.triggers.event.match": sameness.same_pattern,
    **dict.fromkeys(
        ("spec.triggers.manual.input", "spec.rules.task.form", "spec.schemas.schema"),
        sameness.same_schema,
    ),
    **dict.fromkeys(
        (
            *("spec.triggers.event.when", "spec.triggers.event.correlate"),
            *("spec.context.query.parameters", "spec.context.http.parameters"),
            *("spec.instance.initial", "spec.instance.update", "spec.instance.endWhen"),
            *("spec.rules.when", "spec.rules.forEach.in", "spec.rules.task.key"),
            *("spec.rules.task.title", "spec.rules.task.input"),
        ),
        sameness.same_expression,
    ),
}

_SPECIAL: Mapping[str, _Comparison] = {
    "spec.triggers": _named(
        "trigger",
        "name",
        summaries.trigger,
        _one_of(summaries.trigger, "schedule", "event", "manual"),
    ),
    "spec.triggers.schedule": _schedule,
    "spec.triggers.schedule.missedRuns": _missed_runs,
    "spec.triggers.schedule.calendars": _members("also due at {}", "no longer due at {}"),
    "spec.triggers.schedule.exclusions": _members("not due any more at {}", "due again at {}"),
    "spec.triggers.event.batch": _optional("the batch", _batch),
    "spec.limits.maxRuns": _optional("the limit of runs", _max_runs),
    "spec.onFailure": _optional("the handler of failures", _on_failure),
    "spec.context": _named(
        "context", "name", summaries.context, _one_of(summaries.context, "query", "http")
    ),
    "spec.rules": _rules,
    "spec.rules.forEach": _optional("the loop", _each),
    "spec.rules.task": _task,
    "spec.rules.task.assignees.users": _members(
        "user {} is added to the assignees", "user {} is removed from the assignees"
    ),
    "spec.rules.task.assignees.groups": _members(
        "group {} is added to the assignees", "group {} is removed from the assignees"
    ),
    "spec.rules.task.reminders": _members(
        "a reminder {} is added", "the reminder {} is removed", shown=summaries.reminder
    ),
    "spec.rules.task.escalation": _optional("the escalation", summaries.escalation),
    "spec.rules.task.escalation.assignees.users": _members(
        "it is escalated to user {} too", "it is no longer escalated to user {}"
    ),
    "spec.rules.task.escalation.assignees.groups": _members(
        "it is escalated to group {} too", "it is no longer escalated to group {}"
    ),
    "spec.compatibility": _compatibility,
    "spec.schemas": _named("schema version", "version", _schema_does),
    "spec.sources": _members(
        "events from {} are now allowed", "events from {} are no longer allowed", patterns=True
    ),
    "spec.types": _members(
        "events of type {} are now allowed",
        "events of type {} are no longer allowed",
        patterns=True,
    ),
    "spec.keys": _named("key", "id", _key_does),
}
