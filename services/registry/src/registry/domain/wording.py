"""What is wrong with the shape of a document, in its author's words, and what would be right."""

import difflib
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from contracts import catalogue, definitions, identifiers, producers, resources
from registry.domain import characters, documents
from registry.domain.shapes import Flaw, plain

_LONGEST_SHOWN = 80
_LONGEST_SENTENCE = 300


def _pattern_of(annotation: Any) -> str:
    return plain(annotation).patterns[0]


def _pattern_in(model: type[resources.Model], field: str) -> str:
    return _pattern_of(model.model_fields[field])


_FORMS = {
    identifiers.DEFINITION_ID_PATTERN: (
        "lower-case letters and digits, in parts joined by '.' or '-': billing.overdue-invoices"
    ),
    identifiers.NAMESPACE_PATTERN: "lower-case letters and digits, in parts joined by '-': prod",
    identifiers.NAME_PATTERN: (
        "lower-case letters and digits, in parts joined by '-' or '_': send_reminder"
    ),
    _pattern_of(catalogue.TaskQueue): (
        "lower-case letters and digits, in parts joined by '-', and ends in -tq: billing-tq"
    ),
    resources.EVENT_TYPE_PATTERN: (
        "letters, digits, '-' and '_', in parts joined by '.': billing.payment.received"
    ),
    _pattern_in(definitions.ContextEntry, "name"): (
        "lower-case letters, digits and '_', as expressions take a name: overdue_invoices"
    ),
    _pattern_in(definitions.HttpQuery, "path"): (
        "a path that begins with '/', parameters in braces: /customers/{id}"
    ),
    _pattern_of(producers.Pattern): (
        "a text without spaces, with '*' only at its end: billing.payment.*"
    ),
    _pattern_in(producers.ProducerKey, "id"): "letters, digits, '.', '_' and '-': billing-2026",
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
    "datetime_type": "a time as text: 2026-03-01T09:00:00Z",
}
_LIMITS = {
    "string_too_short": "the text is shorter than {min_length} characters",
    "string_too_long": "the text is longer than {max_length} characters",
    "too_short": "at least {min_length} is needed",
    "greater_than_equal": "the number is less than {ge}",
    "less_than_equal": "the number is greater than {le}",
    "greater_than": "the number is not greater than {gt}",
    "less_than": "the number is not less than {lt}",
}


def sentence(flaw: Flaw) -> str:
    """Return what is wrong and what would be right."""
    if flaw.kind in _EXPECTED:
        return f"expected {_EXPECTED[flaw.kind]}, found {documents.kind(flaw.given)}"
    if flaw.kind in _LIMITS:
        return _LIMITS[flaw.kind].format(**flaw.context)
    if flaw.kind in _SENTENCES:
        return _SENTENCES[flaw.kind](flaw)
    return f"{shown(flaw.given)} cannot be used: {flaw.context.get('error', flaw.kind)}"


def instead(given: Any, options: Sequence[str]) -> str:
    """Return which of `options` was probably meant by `given`, as the end of a sentence."""
    text = str(given)[:_LONGEST_SHOWN]
    stranger = characters.named(text)
    remark = f" (it holds {stranger})" if stranger else ""
    if (close := nearest(text, tuple(options))) is not None:
        return f"{remark}; did you mean {close!r}?"
    return f"{remark}; possible: {', '.join(options)}" if options else remark


@functools.lru_cache(maxsize=4096)
def nearest(given: str, options: tuple[str, ...]) -> str | None:
    """Return the one of `options` that looks most like `given`, None if none does."""
    by_lower = {option.lower(): option for option in options}
    alike = characters.ascii_alike(given).lower()
    if alike in by_lower:
        return by_lower[alike]
    close = difflib.get_close_matches(alike, by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def shown(value: Any) -> str:
    """Return a value as it is quoted in a sentence."""
    text = repr(value[:_LONGEST_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def no_such_field(name: str, options: Sequence[str]) -> str:
    """Return that there is no field of this name, and which one was probably meant."""
    return f"there is no field {shown(name)} here{instead(name, options)}"


def _no_such_field(flaw: Flaw) -> str:
    around = flaw.place.around
    options = list(around.expected.fields) if around is not None else []
    return no_such_field(str(flaw.place.name), options)


def _no_such_choice(flaw: Flaw) -> str:
    options = flaw.place.expected.choices
    return f"{flaw.place.name} cannot be {shown(flaw.given)}{instead(flaw.given, options)}"


def _no_such_kind(flaw: Flaw) -> str:
    expected = flaw.place.expected
    tag = flaw.context["tag"]
    return f"{expected.discriminator} cannot be {shown(tag)}{instead(tag, expected.tags)}"


def _kind_missing(flaw: Flaw) -> str:
    if not isinstance(flaw.given, dict):
        return f"expected an object, found {documents.kind(flaw.given)}"
    expected = flaw.place.expected
    return f"{expected.discriminator} is required: {_either(expected.tags)}"


def _too_many(flaw: Flaw) -> str:
    most = flaw.context["max_length"]
    return f"there are {len(flaw.given)}, more than the {most} that are taken"


def _wrong_form(flaw: Flaw) -> str:
    pattern, given = flaw.context["pattern"], str(flaw.given)
    form = _FORMS.get(pattern, f"what matches {pattern}")
    subject = shown(given)
    if stranger := characters.named(given):
        subject = f"{subject} holds {stranger}: it"
    if (right := _righted(given, pattern)) is not None:
        return f"{subject} cannot be used; did you mean {right!r}? Write {form}"
    return f"{subject} cannot be used: write {form}"


def _righted(given: str, pattern: str) -> str | None:
    """Return the nearest text that has the form, if it is found by what people often mistake."""
    if len(given) > _LONGEST_SHOWN:
        return None
    text = characters.ascii_alike(given).strip()
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()
    candidates = [text, *(re.sub(r"[ _.-]+", by, snake) for by in "-_."), text.lower()]
    candidates += [f"{candidate}-tq" for candidate in candidates]
    return next((c for c in candidates if re.fullmatch(pattern, c)), None)


def _own_words(flaw: Flaw) -> str:
    words = str(flaw.context["error"])
    return words if len(words) <= _LONGEST_SENTENCE else f"{words[: _LONGEST_SENTENCE - 1]}…"


def _no_time(flaw: Flaw) -> str:
    return f"{shown(flaw.given)} cannot be used: write a time with its offset, 2026-03-01T09:00:00Z"


def _either(options: Sequence[str]) -> str:
    if len(options) < 2:
        return "".join(options)
    return f"{', '.join(options[:-1])} or {options[-1]}"


_SENTENCES: dict[str, Callable[[Flaw], str]] = {
    "missing": lambda flaw: f"{flaw.place.name} is required",
    "extra_forbidden": _no_such_field,
    "literal_error": _no_such_choice,
    "enum": _no_such_choice,
    "union_tag_invalid": _no_such_kind,
    "union_tag_not_found": _kind_missing,
    "too_long": _too_many,
    "string_pattern_mismatch": _wrong_form,
    "value_error": _own_words,
    "timezone_aware": _no_time,
    "datetime_parsing": _no_time,
    "datetime_from_date_parsing": _no_time,
    "datetime_object_invalid": _no_time,
}
