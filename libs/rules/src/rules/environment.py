"""The shapes of what a definition's expressions read: its cause, and `context`."""

from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any

from pydantic import BaseModel

from contracts import names
from contracts.catalogue import Catalogue, Connector
from contracts.decisions import RunStatus
from contracts.definitions import (
    ActivityDefinition,
    ContextEntry,
    EventMatch,
    HttpQuery,
    Mode,
    StatementQuery,
)
from contracts.envelope import Envelope
from contracts.events import PAYLOAD_OF
from contracts.runs import LastRun
from rules import decisions, shapes
from rules.shapes import ANYTHING, Kind, Later, Object, Openness, Shape

EventTypes = Mapping[str, Mapping[int, Mapping[str, Any]]]

# All that the language has, also what this release does not start runs by.
_KINDS = ("schedule", "event", "manual", "replay", "backfill", "batch", "timer")
_NULL, _TEXT = shapes.of(Kind.NULL), shapes.of(Kind.TEXT)
_MAYBE = shapes.of(Kind.TEXT, Kind.NULL)


class Environment:
    """What the variables of one definition can hold, in what is registered around it."""

    def __init__(
        self,
        definition: ActivityDefinition,
        *,
        event_types: EventTypes | None,
        catalogue: Catalogue | None,
    ) -> None:
        self._spec = definition.spec
        self._event_types = event_types
        self._catalogue = catalogue
        self._payloads: dict[str, Shape] = {}
        self._events = definition.events
        instance = definition.spec.instance
        self._timers = [] if instance is None else [timer.name for timer in instance.timers]
        self.causes: Mapping[str, Shape] = {
            "event": self._any_event(),
            "events": self._all_events(),
            "trigger": self._trigger(definition),
            "window": self._window(definition),
        }
        """The run's cause, as rules and the parameters of context entries see it."""
        self.rules: Mapping[str, Shape] = {
            **self.causes,
            "context": self._context(),
            **self._state(),
        }
        """What rules see, besides the item of their forEach."""

    def event(self, match: EventMatch) -> Shape:
        """Return what `event` is where a trigger looks at it."""
        return shapes.objects(_envelope([match.type], partial(self._payload, match.type)))

    def limited(self) -> Shape:
        """Return what `event` is where the limits of the definition look at it."""
        return self._one_of(self._events.values()) or shapes.objects(_envelope([], _anything))

    def _any_event(self) -> Shape:
        # A person can start any definition, and a batch has `events` only: then it is null. What is
        # held while the definition is disabled may become a batch, whatever the triggers say.
        alone = self._one_of(match for match in self._events.values() if match.batch is None)
        if alone is not None and self._spec.mode is Mode.STATEFUL and not self._timers:
            return alone  # An instance without timers is told of events alone, one by one.
        return _NULL if alone is None else shapes.join([alone, _NULL])

    def _all_events(self) -> Shape:
        event = self._one_of(self._events.values())
        return shapes.listing(*([] if event is None else [shapes.fixed(event)]))

    def _one_of(self, matches: Iterable[EventMatch]) -> Shape | None:
        types = sorted({match.type for match in matches})
        if not types:
            return None
        return shapes.objects(_envelope(types, partial(self._join, types)))

    def _join(self, types: Iterable[str]) -> Shape:
        return shapes.join(map(self._payload, types))

    def _payload(self, event_type: str) -> Shape:
        if event_type not in self._payloads:
            self._payloads[event_type] = self._read(event_type)
        return self._payloads[event_type]

    def _read(self, event_type: str) -> Shape:
        if event_type.startswith(names.RESERVED_PREFIX):
            return own_payload(event_type)
        schemas = (self._event_types or {}).get(event_type)
        return shapes.join(map(shapes.of_schema, schemas.values())) if schemas else ANYTHING

    def _trigger(self, definition: ActivityDefinition) -> Shape:
        starts = definition.manual_starts.values()
        given = [ANYTHING if s.input is None else shapes.of_schema(s.input) for s in starts]
        names_ = [trigger.name for trigger in self._spec.triggers] + self._timers
        fields: dict[str, Shape] = {
            "kind": shapes.of(Kind.TEXT, texts=_KINDS),
            "names": shapes.listing(
                *([shapes.fixed(shapes.of(Kind.TEXT, texts=names_))] if names_ else [])
            ),
            "definition_version": shapes.of(Kind.INT),
            "scheduled_for": _MAYBE,
            "coalesced": shapes.listing(shapes.fixed(_TEXT)),
            "request_id": _MAYBE,
            "input": shapes.join([*given, _NULL]) if given else ANYTHING,
            "actor": _MAYBE,
            "reason": _MAYBE,
        }
        return _closed({name: fields[name] for name in decisions.TRIGGER_FIELDS})

    def _window(self, definition: ActivityDefinition) -> Shape:
        if not definition.schedules:
            return _NULL
        return _MAYBE_WINDOW

    def _state(self) -> Mapping[str, Shape]:
        if self._spec.mode is not Mode.STATEFUL or self._spec.instance is None:
            return {}
        # What `update` gives may be of another kind than what `initial` gave.
        fields: dict[str, Later] = dict.fromkeys(self._spec.instance.initial, _anything)
        state = Object(fields, Openness.CLOSED, frozenset(fields), "field of the state")
        return {decisions.STATE: shapes.objects(state)}

    def _context(self) -> Shape:
        fields: dict[str, Later] = {
            entry.name: partial(self._entry, entry) for entry in self._spec.context
        }
        return shapes.objects(Object(fields, Openness.CLOSED, frozenset(fields), "context entry"))

    def _entry(self, entry: ContextEntry) -> Shape:
        if entry.query is not None:
            found = self._rows(entry.query)
        elif entry.http is not None:
            found = self._answer(entry.http)
        else:
            found = shapes.join([_LAST_RUN, _NULL])
        return shapes.join([found, _NULL]) if entry.may_be_null else found

    def _rows(self, query: StatementQuery) -> Shape:
        connector = self._connector(query.connector)
        if connector is None or connector.postgres is None:
            return _ROWS
        statement = connector.postgres.statements.get(query.statement)
        if statement is None or statement.result is None:
            return _ROWS
        return shapes.meet(shapes.of_schema(statement.result), _ROWS)

    def _answer(self, query: HttpQuery) -> Shape:
        connector = self._connector(query.connector)
        if connector is None or connector.http is None:
            return ANYTHING
        path = connector.http.paths.get(query.path)
        return ANYTHING if path is None or path.result is None else shapes.of_schema(path.result)

    def _connector(self, name: str) -> Connector | None:
        return None if self._catalogue is None else self._catalogue.connectors.get(name)


def _anything() -> Shape:
    return ANYTHING


_ROWS = shapes.listing(shapes.fixed(shapes.of(Kind.OBJECT)))


def own_payload(event_type: str) -> Shape:
    """Return the shape of the payload of one of Backbone's own events."""
    try:
        return _own(PAYLOAD_OF[names.EventType(event_type)])
    except (KeyError, ValueError):
        return ANYTHING


@cache
def _own(model: type[BaseModel]) -> Shape:
    return shapes.of_schema(model.model_json_schema())


@cache
def _envelope_fields() -> Mapping[str, Later]:
    [form] = _own(Envelope).objects
    return form.fields


def _envelope(types: Iterable[str], payload: Later) -> Object:
    fields = {
        **_envelope_fields(),
        "type": shapes.fixed(shapes.of(Kind.TEXT, texts=types)),
        "payload": payload,
    }
    # Further fields are extensions.
    return Object(fields, Openness.OPEN, guarded=True)


def _closed(fields: Mapping[str, Shape]) -> Shape:
    later = {name: shapes.fixed(shape) for name, shape in fields.items()}
    return shapes.objects(Object(later, Openness.CLOSED, frozenset(later)))


_MAYBE_WINDOW = shapes.join([_closed(dict.fromkeys(decisions.WINDOW_FIELDS, _TEXT)), _NULL])
_LAST_RUN_SHAPES: Mapping[str, Shape] = {
    "run_id": _TEXT,
    "definition_version": shapes.of(Kind.INT),
    "status": shapes.of(Kind.TEXT, texts=[status.value for status in RunStatus]),
    "trigger_kind": shapes.of(Kind.TEXT, texts=_KINDS),
    "scheduled_for": _MAYBE,
    "window": _MAYBE_WINDOW,
    "recorded_at": _TEXT,
    "closed_at": _MAYBE,
}
_LAST_RUN = _closed({name: _LAST_RUN_SHAPES[name] for name in LastRun.model_fields})
