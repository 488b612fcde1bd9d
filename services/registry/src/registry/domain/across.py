"""What fields of one object must not be together, told at the field that is one too many.

Each function takes an object whose fields are right one by one, says what is wrong between them,
and mends it, so that what surrounds the object can be read as well.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from contracts.definitions import Assignees, ContextEntry, Rule, Schedule, Spec, Trigger
from contracts.eventtypes import EventTypeSpec
from contracts.producers import ProducerKey, ProducerSpec
from registry.domain.standins import NEEDED, StandIns


class Clash(NamedTuple):
    """Something wrong between fields: where it is told, and what was changed to mend it.

    It is nobody's fault when what it `rests_on` only stands in for something else.
    """

    path: str
    message: str
    mended: tuple[str, ...]
    rests_on: tuple[str, ...] = ()


Mending = Callable[[dict[str, Any], str, StandIns], Iterator[Clash]]


def _one_of(model: type[BaseModel], *names: str) -> Mending:
    def mend(value: dict[str, Any], message: str, _: StandIns) -> Iterator[Clash]:
        given = [name for name in names if value.get(name) is not None]
        if not given:
            value.update(NEEDED[model])
            yield Clash("", message, tuple(NEEDED[model]))
        for name in given[1:]:
            del value[name]
        if len(given) > 1:
            yield Clash(
                given[1], f"{message}; this one has {' and '.join(given)}", tuple(given[1:])
            )

    return mend


def _in_order(first: str, last: str) -> Mending:
    def mend(value: dict[str, Any], message: str, _: StandIns) -> Iterator[Clash]:
        del value[first], value[last]
        yield Clash(last, message, (first, last))

    return mend


def _schedule(value: dict[str, Any], message: str, stand_ins: StandIns) -> Iterator[Clash]:
    sources = [name for name in ("cron", "every", "calendars") if value.get(name) is not None]
    if len(sources) == 1:
        yield from _in_order("start", "end")(value, message, stand_ins)
    else:
        yield from _one_of(Schedule, "cron", "every", "calendars")(value, message, stand_ins)


def _somebody(value: dict[str, Any], message: str, _: StandIns) -> Iterator[Clash]:
    value.update(NEEDED[Assignees])
    yield Clash("", message, ("users", "groups"))


def _key_for_each(value: dict[str, Any], message: str, stand_ins: StandIns) -> Iterator[Clash]:
    value["task"]["key"] = stand_ins.fresh()
    yield Clash("task.key", message, ("task.key",))


def _names(value: dict[str, Any], _: str, stand_ins: StandIns) -> Iterator[Clash]:
    for field, what in (("triggers", "trigger"), ("context", "context entry"), ("rules", "rule")):
        yield from _twins(value.get(field, []), field, "name", what, stand_ins)


def _twins(
    items: list[Any], field: str, name: str, what: str, stand_ins: StandIns
) -> Iterator[Clash]:
    first: dict[str, int] = {}
    for i, item in enumerate(items):
        if (before := first.setdefault(item[name], i)) != i:
            path = f"{field}[{i}].{name}"
            message = (
                f"{item[name]!r} is the {name} of another {what} already, {field}[{before}]: "
                f"give each its own"
            )
            item[name] = stand_ins.fresh()
            yield Clash(path, message, (path,))


def _versions(value: dict[str, Any], _: str, __: StandIns) -> Iterator[Clash]:
    schemas = value["schemas"]
    newest, newest_path = 0, ""
    for i, schema in enumerate(schemas):
        version, path = schema["version"], f"schemas[{i}].version"
        if version > newest:
            newest, newest_path = version, path
        else:
            message = (
                f"schema version {version} comes after {newest}: each comes once, in ascending "
                "order"
            )
            yield Clash(path, message, (path,), rests_on=(newest_path,))
    for i, schema in enumerate(schemas):
        schema["version"] = i + 1


def _producer(value: dict[str, Any], message: str, stand_ins: StandIns) -> Iterator[Clash]:
    clashes = list(_twins(value.get("keys", []), "keys", "id", "key", stand_ins))
    if not clashes:
        del value["signatures"]
        clashes = [Clash("signatures", message, ("signatures",))]
    yield from clashes


MENDINGS: Mapping[Any, Mending] = {
    Schedule: _schedule,
    Trigger: _one_of(Trigger, "schedule", "event", "manual"),
    ContextEntry: _one_of(ContextEntry, "query", "http"),
    Assignees: _somebody,
    Rule: _key_for_each,
    Spec: _names,
    EventTypeSpec: _versions,
    ProducerSpec: _producer,
    ProducerKey: _in_order("notBefore", "notAfter"),
}
"""By the model whose fields clash."""
