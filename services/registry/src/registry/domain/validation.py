"""From a document to a definition, or to all that is wrong with it, in its author's words."""

import difflib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from contracts import canonical, definitions, identifiers
from contracts.definitions import ActivityDefinition
from registry.domain import documents
from registry.errors import InvalidDefinitionError
from rules import checks
from rules.checks import Problem

MAX_CONTENT_BYTES = 240 * 1024
"""Of the canonical form, defaults and all: it has to fit into the event that tells of it."""

_SHAPES = {
    identifiers.DEFINITION_ID_PATTERN: (
        "lower-case letters and digits, in parts joined by '.' or '-': billing.overdue-invoices"
    ),
    identifiers.NAMESPACE_PATTERN: "lower-case letters and digits, in parts joined by '-': prod",
    identifiers.NAME_PATTERN: (
        "lower-case letters and digits, in parts joined by '-' or '_': send_reminder"
    ),
    identifiers.TASK_QUEUE_PATTERN: (
        "lower-case letters and digits, in parts joined by '-', and ends in -tq: billing-tq"
    ),
}
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
_LIMITS = {
    "string_too_short": "the text is shorter than {min_length} characters",
    "string_too_long": "the text is longer than {max_length} characters",
    "too_short": "at least {min_length} is needed",
    "too_long": "there are more than {max_length}",
    "greater_than_equal": "the number is less than {ge}",
    "less_than_equal": "the number is greater than {le}",
}


def define(document: Mapping[str, Any], *, namespaces: Sequence[str]) -> ActivityDefinition:
    """Return the definition that `document` is.

    Raises:
        InvalidDefinitionError: it has the wrong shape, cannot run, or belongs to none of the
            `namespaces`; all problems at once.
    """
    definition = _shaped(document)
    problems = list(checks.problems(definition))
    namespace = definition.metadata.namespace
    if namespace not in namespaces:
        message = f"namespace {namespace!r} is not served here; served: {', '.join(namespaces)}"
        problems.append(Problem("metadata.namespace", message))
    if len(definitions.content(definition)) > MAX_CONTENT_BYTES:
        problems.append(Problem("", f"the definition is larger than {MAX_CONTENT_BYTES} bytes"))
    if problems:
        raise InvalidDefinitionError(problems)
    return definition


def _shaped(document: Mapping[str, Any]) -> ActivityDefinition:
    # By way of JSON, strictly and by the names of the published schema: what an editor marks as
    # wrong is refused here, and the other way round.
    try:
        return ActivityDefinition.model_validate_json(
            canonical.render(document), strict=True, by_alias=True, by_name=False
        )
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        raise InvalidDefinitionError([_problem(error) for error in errors]) from exc


def _problem(error: ErrorDetails) -> Problem:
    place = _Place()
    for step in error["loc"]:
        place = place.step(step)
    return Problem(place.path, _sentence(error, place))


def _sentence(error: ErrorDetails, place: "_Place") -> str:
    kind = error["type"]
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {documents.kind(error['input'])}"
    if kind in _LIMITS:
        return _LIMITS[kind].format(**error["ctx"])
    if kind in _SENTENCES:
        return _SENTENCES[kind](error, place)
    return f"{_shown(error['input'])} cannot be used: {error['msg']}"


def _no_such_field(_error: ErrorDetails, place: "_Place") -> str:
    return f"there is no field {place.name!r} here{_instead(place.name, place.siblings)}"


def _no_such_choice(error: ErrorDetails, place: "_Place") -> str:
    options = _options(error["ctx"]["expected"])
    return f"{place.name} cannot be {_shown(error['input'])}{_instead(error['input'], options)}"


def _no_such_kind(error: ErrorDetails, _place: "_Place") -> str:
    field, options = _discriminator(error), _options(error["ctx"]["expected_tags"])
    tag = error["ctx"]["tag"]
    return f"{field} cannot be {_shown(tag)}{_instead(tag, options)}"


def _kind_missing(error: ErrorDetails, place: "_Place") -> str:
    if not isinstance(error["input"], dict):
        return f"expected an object, found {documents.kind(error['input'])}"
    tags = [tag for member in place.members for tag in _tags(member, _discriminator(error))]
    return f"{_discriminator(error)} is required: {' or '.join(tags)}"


def _wrong_shape(error: ErrorDetails, _place: "_Place") -> str:
    pattern = error["ctx"]["pattern"]
    shape = _SHAPES.get(pattern, f"what matches {pattern}")
    return f"{_shown(error['input'])} cannot be used: write {shape}"


_SENTENCES: dict[str, Callable[[ErrorDetails, "_Place"], str]] = {
    "missing": lambda _, place: f"{place.name} is required",
    "extra_forbidden": _no_such_field,
    "literal_error": _no_such_choice,
    "enum": _no_such_choice,
    "union_tag_invalid": _no_such_kind,
    "union_tag_not_found": _kind_missing,
    "string_pattern_mismatch": _wrong_shape,
    "value_error": lambda error, _: str(error["ctx"]["error"]),
}


def _discriminator(error: ErrorDetails) -> str:
    return str(error["ctx"]["discriminator"]).strip("'")


def _instead(given: Any, options: Sequence[str]) -> str:
    by_lower = {option.lower(): option for option in options}
    close = difflib.get_close_matches(str(given)[:80].lower(), by_lower, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {by_lower[close[0]]!r}?"
    return f"; possible: {', '.join(options)}" if options else ""


def _options(listed: Any) -> list[str]:
    return [part.strip("' ") for part in str(listed).replace(" or ", ", ").split(", ")]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


class _Place:
    """A place in the document, with what the language has there.

    Pydantic's locations name the members of unions too; those are no part of a path.
    """

    def __init__(
        self,
        path: str = "",
        name: str = "the document",
        expected: Any = ActivityDefinition,
        siblings: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.name: str = name
        self.siblings = siblings
        self._expected = expected

    def step(self, key: str | int) -> "_Place":
        """Return the place of `key`, or this one when `key` names a member of a union."""
        expected, discriminator = _plain(self._expected)
        if discriminator is not None and isinstance(key, str):
            member = next((m for m in get_args(expected) if key in _tags(m, discriminator)), None)
            return _Place(self.path, self.name, member, self.siblings)
        if isinstance(expected, type) and issubclass(expected, BaseModel):
            fields = {f.alias or name: f for name, f in expected.model_fields.items()}
            return self._inside(key, fields.get(str(key)), list(fields))
        if key == "[key]":
            return self
        origin = get_origin(expected)
        arguments = get_args(expected)
        return self._inside(key, arguments[-1] if origin in (list, dict) else None, [])

    @property
    def members(self) -> tuple[Any, ...]:
        """The models of the union that is expected here."""
        return get_args(_plain(self._expected)[0])

    def _inside(self, key: str | int, expected: Any, siblings: Sequence[str]) -> "_Place":
        return _Place(documents.join(self.path, key), str(key), expected, siblings)


def _plain(expected: Any) -> tuple[Any, str | None]:
    """Return a type without annotations and None, and the field that tells its members apart."""
    discriminator: Any = None
    while True:
        if isinstance(expected, FieldInfo):
            discriminator = expected.discriminator or discriminator
            expected = expected.annotation
        elif get_origin(expected) is Annotated:
            expected, *metadata = get_args(expected)
            for item in metadata:
                if isinstance(item, FieldInfo):
                    discriminator = item.discriminator or discriminator
        elif get_origin(expected) in (Union, types.UnionType) and discriminator is None:
            members = [m for m in get_args(expected) if m is not type(None)]
            if len(members) != 1:
                return None, None
            expected = members[0]
        else:
            return expected, discriminator


def _tags(member: Any, discriminator: str) -> tuple[Any, ...]:
    annotation = member.model_fields[discriminator].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()
