"""Reading on when the shape of a document is wrong somewhere.

What is wrong is taken out, or something stands in for it, until the rest has the shape of a
resource: so one apply tells all that is wrong, and not only what came first. What is said later of
places that were repaired is no fault of the author's and is not told.
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from contracts.definitions import ActivityDefinition
from contracts.kinds import MODEL_OF, Resource
from contracts.resources import ResourceKind
from registry.domain import forgiveness, shapes, wording
from registry.domain.across import MENDINGS
from registry.domain.positions import ancestry, join, within
from registry.domain.shapes import Flaw, Place, Step, plain
from registry.domain.standins import KEPT, StandIns

_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Told:
    """Something wrong with the shape, as its author is told it: of a value, or of its key."""

    path: str
    message: str
    at_key: bool = False


@dataclass(frozen=True)
class Salvaged:
    """What could be read of a document: `resource` is None when nothing could be.

    With no problems and nothing repaired it is what its author wrote.
    """

    resource: Resource | None
    problems: tuple[Told, ...] = ()
    repaired: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _around_repairs(self) -> frozenset[str]:
        return frozenset(part for path in self.repaired for part in ancestry(path))

    @property
    def whole(self) -> bool:
        """Whether the resource is what its author wrote."""
        return self.resource is not None and not self.problems and not self.repaired

    def is_repaired(self, path: str) -> bool:
        """Say whether what is at `path` lies in something that was repaired, or holds it."""
        return within(path, self.repaired) or path in self._around_repairs

    def original(self, path: str) -> str:
        """Return the path in the author's own words: misspelt fields are read as what was meant."""
        return _as_written(path, self.renamed)


def read(
    kind: ResourceKind, document: Mapping[str, Any], unknown: Collection[Sequence[Step]] = ()
) -> Salvaged:
    """Return the resource that `document` is, or as much of it as has the right shape.

    What is at `unknown` places could not be read, which was told.
    """
    found = shapes.validate(MODEL_OF[kind], document)
    if not isinstance(found, list) and not unknown:
        return Salvaged(found)
    salvage = _Salvage(copy.deepcopy(dict(document)), shapes.root(kind))
    for steps in unknown:
        salvage.replace_unknown(steps)
    for _ in range(_ROUNDS):
        found = shapes.validate(MODEL_OF[kind], salvage.document)
        if isinstance(found, list):
            salvage.repair(found)
            if salvage.has_enough:
                break
        elif not salvage.forgive():
            break
    return salvage.outcome(None if isinstance(found, list) else found)


class _Salvage:
    def __init__(self, document: dict[str, Any], root: Place) -> None:
        self.document = document
        self._root = root
        self._problems: list[Told] = []
        self._repaired: set[str] = set()
        self._renamed: dict[str, str] = {}
        self._forgiven = False
        self._stand_ins = StandIns()

    @property
    def has_enough(self) -> bool:
        """Whether so much is wrong that there is no use in reading on."""
        return len(self._problems) >= shapes.MAX_FLAWS

    def outcome(self, resource: Resource | None) -> Salvaged:
        return Salvaged(
            resource, tuple(self._problems), frozenset(self._repaired), dict(self._renamed)
        )

    def replace_unknown(self, steps: Sequence[Step]) -> None:
        place = self._root
        for step in steps:
            place = self._member(place).inside(step)
        self._replace(place)

    def repair(self, flaws: Sequence[Flaw]) -> None:
        """Tell every flaw that does not come from a repair, and mend it."""
        meant = self._read_as_meant(flaws)
        for flaw in flaws:
            path = flaw.place.path
            told = not within(path, self._repaired)
            mending = MENDINGS.get(flaw.place.expected.model) if _is_clash(flaw) else None
            value = self._value(flaw.place)
            if mending is not None and isinstance(value, dict):
                for clash in mending(value, wording.sentence(flaw), self._stand_ins):
                    rests_on = [_inside(path, part) for part in (clash.path, *clash.rests_on)]
                    sound = not any(within(part, self._repaired) for part in rests_on)
                    self._tell(rests_on[0], clash.message, told=sound)
                    self._repaired.update(_inside(path, part) for part in clash.mended)
                continue
            if path not in meant and not self._has_misspelt_tag(flaw, value, told=told):
                self._tell(
                    _place_told(flaw), wording.sentence(flaw), told=told, at_key=_at_key(flaw)
                )
                self._mend(flaw)

    def forgive(self) -> bool:
        """Take for right what cannot be known because of repairs; say whether that was to do."""
        if self._forgiven or self._root.expected.model is not ActivityDefinition:
            return False
        self._forgiven = True
        forgiveness.forgive(self.document["spec"], self._repaired)
        return True

    def _read_as_meant(self, flaws: Sequence[Flaw]) -> set[str]:
        """Rename misspelt fields; return the paths of required ones that were found so."""
        found = set()
        for flaw in flaws:
            around = flaw.place.around
            if flaw.kind != "extra_forbidden" or around is None:
                continue
            value, name = self._value(around), str(flaw.place.name)
            meant = wording.nearest(name[:80], tuple(around.expected.fields))
            if isinstance(value, dict) and meant is not None and meant not in value:
                value[meant] = value[name]
                path = join(around.path, meant)
                self._renamed[path] = flaw.place.path
                found.add(path)
        return found

    def _has_misspelt_tag(self, flaw: Flaw, value: Any, *, told: bool) -> bool:
        """Read a misspelt name of a union's discriminator as it, if there is one, and tell it."""
        if flaw.kind != "union_tag_not_found" or not isinstance(value, dict):
            return False
        tag = str(flaw.place.expected.discriminator)
        fields = {name for m in flaw.place.expected.members for name in plain(m).fields}
        for name in [name for name in value if name not in fields]:
            if wording.nearest(name[:80], (tag,)) is not None:
                value[tag] = value.pop(name)
                self._renamed[join(flaw.place.path, tag)] = path = join(flaw.place.path, name)
                message = wording.no_such_field(name, (tag,))
                self._tell(path, message, told=told, at_key=True)
                return True
        return False

    def _tell(self, path: str, message: str, *, told: bool, at_key: bool = False) -> None:
        if told:
            self._problems.append(Told(_as_written(path, self._renamed), message, at_key))

    def _mend(self, flaw: Flaw) -> None:
        place, value = flaw.place, self._value(flaw.place)
        around = self._value(place.around) if place.around is not None else None
        if flaw.kind == "extra_forbidden" or flaw.is_key:
            if isinstance(around, dict):
                around.pop(place.name, None)
            if flaw.is_key:
                self._repaired.add(place.path)
        elif flaw.kind in _TAG_FLAWS and isinstance(value, dict):
            discriminator = str(place.expected.discriminator)
            value[discriminator] = _probable_tag(place, value)
            self._repaired.add(join(place.path, discriminator))
        elif flaw.kind == "too_long" and isinstance(value, list):
            del value[flaw.context["max_length"] :]
        else:
            self._replace(place)

    def _replace(self, place: Place) -> None:
        """Let something else stand at a place, or nothing where nothing is needed."""
        self._repaired.add(place.path)
        around = self._value(place.around) if place.around is not None else None
        model = place.around.expected.model if place.around is not None else None
        name: Any = place.name
        # A list may stand where an object was expected, or the other way round.
        if isinstance(around, list) and isinstance(name, int) and name < len(around):
            around[name] = self._stand_ins.make(place.expected)
        elif isinstance(around, dict) and place.around is not None:
            field_info = place.around.expected.fields.get(str(name))
            kept = field_info is not None and field_info.is_required()
            if model is not None and (kept or name in KEPT.get(model, ())):
                around[name] = self._stand_ins.field(model, str(name), place.expected)
            else:
                around.pop(name, None)

    def _member(self, place: Place) -> Place:
        """Return a place that knows which member of a union the document has there."""
        value = self._value(place)
        discriminator = place.expected.discriminator
        if discriminator is None or not isinstance(value, dict):
            return place
        tag = value.get(discriminator)
        return place.follow(tag if isinstance(tag, str) else _probable_tag(place, value))

    def _value(self, place: Place | None) -> Any:
        value: Any = self.document
        step: Any
        for step in place.steps if place is not None else ():
            if (isinstance(value, dict) and step in value) or (
                isinstance(value, list) and isinstance(step, int) and step < len(value)
            ):
                value = value[step]
            else:
                return None
        return value


_TAG_FLAWS = ("union_tag_invalid", "union_tag_not_found")


def _is_clash(flaw: Flaw) -> bool:
    return flaw.kind == "value_error"


def _as_written(path: str, renamed: Mapping[str, str]) -> str:
    for part in ancestry(path):
        if part in renamed:
            path = renamed[part] + path[len(part) :]
    return path


def _inside(path: str, part: str) -> str:
    return f"{path}.{part}" if path and part else path or part


def _at_key(flaw: Flaw) -> bool:
    return flaw.is_key or flaw.kind == "extra_forbidden"


def _place_told(flaw: Flaw) -> str:
    if flaw.kind in _TAG_FLAWS and isinstance(flaw.given, dict):
        return join(flaw.place.path, str(flaw.place.expected.discriminator))
    return flaw.place.path


def _probable_tag(place: Place, value: Mapping[str, Any]) -> str:
    """Return the kind of thing that an object most looks like."""
    expected = place.expected
    near = wording.nearest(str(value.get(str(expected.discriminator)))[:80], tuple(expected.tags))
    if near is not None:
        return near
    fits = [len(value.keys() & plain(member).fields.keys()) for member in expected.members]
    # The last that fits best: with it the fewest of what is around can clash.
    member = expected.members[len(fits) - 1 - fits[::-1].index(max(fits))]
    return shapes.tags(member, str(expected.discriminator))[0]
