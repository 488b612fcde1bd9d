"""Whether a JSON document has the shape of a resource, and where it has not."""

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from contracts import canonical
from contracts.kinds import MODEL_OF, Resource
from contracts.resources import ResourceKind
from registry.domain.positions import join

Step = str | int

MAX_FLAWS = 1001
"""Of one document: one more than is told, so that it is seen that there is more."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the language has at a place: a type without annotations and None.

    `of` is that type, `discriminator` the field that tells the members of a union apart.
    """

    of: Any = None
    discriminator: str | None = None
    patterns: tuple[str, ...] = ()
    at_least: int = 0

    @property
    def model(self) -> type[BaseModel] | None:
        """The model that is expected, if it is one."""
        is_model = isinstance(self.of, type) and issubclass(self.of, BaseModel)
        return self.of if is_model else None

    @property
    def fields(self) -> Mapping[str, FieldInfo]:
        """The fields of the model by the names of the language."""
        if self.model is None:
            return {}
        return {f.alias or name: f for name, f in self.model.model_fields.items()}

    @property
    def members(self) -> Sequence[Any]:
        """The models of the union, if it is one."""
        return get_args(self.of) if self.discriminator is not None else ()

    @property
    def tags(self) -> Sequence[str]:
        """The values of the discriminator."""
        return [tag for member in self.members for tag in tags(member, self.discriminator or "")]

    @property
    def choices(self) -> Sequence[str]:
        """The values that can be written, if they can be counted."""
        if get_origin(self.of) is Literal:
            return [str(choice) for choice in get_args(self.of)]
        if isinstance(self.of, type) and issubclass(self.of, Enum):
            return [str(choice.value) for choice in self.of]
        return []


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a document: the steps that lead there, and what is expected."""

    steps: tuple[Step, ...]
    path: str
    expected: Expected
    around: "Place | None" = None

    @property
    def name(self) -> Step:
        """The last step."""
        return self.steps[-1] if self.steps else ""

    def inside(self, key: Step) -> "Place":
        """Return the place of `key` in this one."""
        expected: Any = None
        if self.expected.model is not None:
            expected = self.expected.fields.get(str(key))
        elif get_origin(self.expected.of) in (list, dict):
            expected = get_args(self.expected.of)[-1]
        return Place((*self.steps, key), join(self.path, key), plain(expected), self)

    def follow(self, step: Step) -> "Place":
        """Return where a step of one of Pydantic's locations leads: members of unions are none."""
        discriminator = self.expected.discriminator
        if discriminator is not None and isinstance(step, str):
            member = next(
                (m for m in self.expected.members if step in tags(m, discriminator)), None
            )
            return Place(self.steps, self.path, plain(member), self.around)
        return self if step == "[key]" else self.inside(step)


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that has the wrong shape, as Pydantic tells it."""

    place: Place
    kind: str
    given: Any
    context: Mapping[str, Any]
    is_key: bool = False


def validate(model: type[Resource], document: Mapping[str, Any]) -> Resource | list[Flaw]:
    """Return the resource that `document` is, or what keeps it from being one."""
    # By way of JSON, strictly and by the names of the published schema: what an editor marks as
    # wrong is refused here, and the other way round.
    try:
        return model.model_validate_json(
            canonical.render(document), strict=True, by_alias=True, by_name=False
        )
    except ValidationError as exc:
        errors = exc.errors(include_url=False)[:MAX_FLAWS]
    root = Place((), "", Expected(model))
    return [_flaw(error, root) for error in errors]


def root(kind: ResourceKind) -> Place:
    """Return the place of a whole document of a kind."""
    return Place((), "", Expected(MODEL_OF[kind]))


def tags(member: Any, discriminator: str) -> tuple[str, ...]:
    """Return the values of the discriminator that name a member of a union."""
    annotation = member.model_fields[discriminator].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def plain(annotated: Any) -> Expected:
    """Return what an annotation or a field of a model expects."""
    metadata: list[Any] = []
    expected, discriminator = annotated, None
    while True:
        if isinstance(expected, FieldInfo):
            metadata.append(expected)
            expected = expected.annotation
        elif get_origin(expected) is Annotated:
            expected, *more = get_args(expected)
            metadata += more
        elif get_origin(expected) in (Union, types.UnionType):
            named = [m.discriminator for m in metadata if isinstance(m, FieldInfo)]
            discriminator = next((str(name) for name in named if name), None)
            options = [m for m in get_args(expected) if m is not type(None)]
            if discriminator is not None or len(options) != 1:
                break
            expected = options[0]
        else:
            break
    limits = [limit for item in metadata for limit in _limits(item)]
    return Expected(
        expected,
        discriminator,
        tuple(limit.pattern for limit in limits if getattr(limit, "pattern", None)),
        max((getattr(limit, "min_length", None) or 0 for limit in limits), default=0),
    )


def _limits(metadata: Any) -> Iterator[Any]:
    yield from metadata.metadata if isinstance(metadata, FieldInfo) else (metadata,)


def _flaw(error: ErrorDetails, root: Place) -> Flaw:
    place = root
    for step in error["loc"]:
        place = place.follow(step)
    is_key = bool(error["loc"]) and error["loc"][-1] == "[key]"
    return Flaw(place, error["type"], error["input"], error.get("ctx", {}), is_key)
