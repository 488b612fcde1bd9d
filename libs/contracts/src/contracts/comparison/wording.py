"""The sentences that say what breaks readers, from the side of the change that broke them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from contracts import canonical
from contracts.comparison.documents import Documents
from contracts.comparison.kinds import NUMBERS, Kind

_LONGEST = 80


class Reading(StrEnum):
    """Who reads what: `backward`, the newer version older payloads; `forward`, the other way."""

    BACKWARD = "backward"
    FORWARD = "forward"


@dataclass(frozen=True)
class Break:
    """One change that breaks readers: where in the schema, and what, in one sentence."""

    path: str
    message: str


class Wording:
    """Words what differs between what is written and what is read as a change from old to new."""

    def __init__(self, reading: Reading) -> None:
        """Read backward, the newer version is the reader; forward, it is the writer."""
        self.backward = reading is Reading.BACKWARD

    @property
    def payloads(self) -> str:
        """The beginning of what may be written that cannot be read."""
        return f"payloads of the {'older' if self.backward else 'newer'} version may"

    def either(self, backward: str, forward: str) -> str:
        """Return the words for the side that changed."""
        return backward if self.backward else forward

    def changed(self, what: str, written: Any, read: Any) -> str:
        """Say that `what` changed; None is that it was not there."""
        before, after = (written, read) if self.backward else (read, written)
        if before is None:
            return f"{what} was set to {after}"
        if after is None:
            return f"{what} {before} was lifted"
        return f"{what} changed from {before} to {after}"

    def refused(self, what: str, *, by: str = "") -> str:
        """Say that `what` may be written and cannot be read."""
        fact = self.either("is no longer allowed", "is allowed now and was not")
        return f"{what} {fact}{f' by {by}' if by else ''}; {self.payloads} hold it"


def at(path: str, part: str) -> str:
    """Return the path of a part of what is at `path`."""
    return f"{path}.{part}" if path else part


def of_kinds(kinds: Iterable[Kind]) -> str:
    """Return the names of types, as `type` spells them."""
    names = set(kinds)
    if names == set(Kind):
        return "any type"
    numbers = ["number"] if names >= NUMBERS else sorted(kind.value for kind in names & NUMBERS)
    return " or ".join([*sorted(kind.value for kind in names - NUMBERS), *numbers])


def described(documents: Documents) -> str:
    """Return what the documents are, in a few words."""
    if documents.values is not None:
        return ", ".join(shown(value) for value in documents.values.values())
    return f"a value of {_type(documents.kinds)}"


def _type(kinds: frozenset[Kind]) -> str:
    return "any type" if kinds == frozenset(Kind) else f"type {of_kinds(kinds)}"


def shown(value: Any) -> str:
    """Return a JSON value, cut where it is long."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = canonical.render(value).decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
