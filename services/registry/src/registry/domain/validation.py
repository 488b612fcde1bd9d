"""From documents to resources, or to all that is wrong with them, in their authors' words.

`read` needs nothing but the documents; `check` also needs what surrounds them. Both bound their
work: whatever is given, the answer is a list of problems, and comes soon.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from contracts import resources
from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition
from contracts.eventtypes import EventType
from contracts.kinds import MODEL_OF
from contracts.kinds import Resource as Content
from contracts.producers import Producer
from contracts.resources import ResourceKind
from registry.domain import documents, salvage, wording
from registry.domain.documents import Document
from registry.domain.known_types import KnownTypes
from registry.domain.resources import Key, Resource
from registry.domain.salvage import Salvaged, Told
from registry.domain.shapes import plain
from registry.errors import Located
from rules import checks
from rules.checks import Surroundings

MAX_DOCUMENTS = 1000
MAX_PROBLEMS = 1000
MAX_TEXT = 1000
"""Characters of a path or a message."""
MAX_CONTENT_BYTES = 240 * 1024
"""Of the canonical form, defaults and all: it has to fit into the event that tells of it."""


@dataclass(frozen=True, slots=True)
class Source:
    """One document as it came, with what problems call it and the etag that its author has seen."""

    name: str
    content: bytes
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document whose shape is right; `content` is the canonical form of the resource."""

    source: Source
    namespace: str
    key: Key
    resource: Content
    content: bytes
    document: Document | None = field(default=None, compare=False, repr=False)

    def located(self, path: str, message: str) -> Located:
        """Return what is wrong at a path with its place in the text."""
        line, column = self.document.positions.of(path) if self.document else (0, 0)
        return Located(self.source.name, _cut(path), _cut(message), line, column)


@dataclass(frozen=True, slots=True)
class Draft:
    """What could be read of one document; `document` is None when its text could not be."""

    source: Source
    document: Document | None = None
    kind: ResourceKind | None = None
    salvaged: Salvaged = field(default_factory=lambda: Salvaged(None))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a set of documents says: all of it in `parsed`, if there are no problems.

    `namespace` is the one that they share; empty while no document says one that is served.
    """

    parsed: tuple[Parsed, ...]
    problems: tuple[Located, ...]
    drafts: tuple[Draft, ...] = ()
    namespace: str = ""


def read(sources: Sequence[Source], *, namespaces: Sequence[str], namespace: str = "") -> Reading:
    """Read documents that are to be applied together.

    Their namespace is `namespace`, or the one of the first when that is empty, and one of
    `namespaces`.
    """
    if len(sources) > MAX_DOCUMENTS:
        message = (
            f"there are {len(sources)} documents, more than the {MAX_DOCUMENTS} that are taken"
        )
        return Reading((), (Located("", "", message),))
    reader = _Reader(namespaces, namespace)
    for source in sources:
        if len(reader.problems) > MAX_PROBLEMS:
            break
        reader.read(source)
    return Reading(
        tuple(reader.parsed), tuple(reader.problems), tuple(reader.drafts), reader.namespace
    )


def surroundings(
    reading: Reading,
    *,
    event_types: Mapping[str, Resource],
    catalogue: Catalogue | None,
    pruned: Collection[Key] = (),
) -> Surroundings:
    """Return what surrounds the documents: what is registered, overlaid by the documents.

    While one of them may be an event type of any name, it is not known which types there are.
    """
    if any(map(_may_be_any_event_type, reading.drafts)):
        return Surroundings(catalogue=catalogue)
    own: dict[str, EventType | None] = {}
    for draft in reading.drafts:
        found = draft.salvaged.resource
        if isinstance(found, EventType):
            own[found.metadata.id] = found if draft.salvaged.whole else None
    gone = {key.resource_id for key in pruned if key.kind is ResourceKind.EVENT_TYPE}
    known = KnownTypes(event_types, own=own, gone=gone)
    return Surroundings(event_types=known, catalogue=catalogue)


def _may_be_any_event_type(draft: Draft) -> bool:
    if draft.kind is None:
        return ResourceKind.EVENT_TYPE.encode() in draft.source.content
    if draft.kind is not ResourceKind.EVENT_TYPE:
        return False
    return draft.salvaged.resource is None or draft.salvaged.is_repaired("metadata.id")


def check(reading: Reading, surroundings: Surroundings) -> list[Located]:
    """Return everything that is wrong with the documents, in their order and that of their lines.

    What is sound is checked even where something beside it is wrong; at most `MAX_PROBLEMS`.
    """
    problems = list(reading.problems)
    for draft in reading.drafts:
        if len(problems) > MAX_PROBLEMS:
            break
        problems += _checked(draft, surroundings)
    return _in_order(problems, [draft.source.name for draft in reading.drafts])


def check_stored(resource: Resource, surroundings: Surroundings) -> list[Located]:
    """Return what is wrong with a resource that was applied, in surroundings that have changed."""
    name = f"{resource.key.kind} {resource.key.resource_id}"
    found = _problems(resource.load(), surroundings)
    return [Located(name, _cut(p.path), _cut(p.message)) for p in found[:MAX_PROBLEMS]]


def _problems(content: Content, surroundings: Surroundings) -> list[checks.Problem]:
    match content:
        case ActivityDefinition():
            return checks.problems(content, surroundings)
        case EventType():
            return checks.event_type_problems(content)
        case Producer():
            return checks.producer_problems(content, surroundings)


def _checked(draft: Draft, surroundings: Surroundings) -> Iterator[Located]:
    if draft.salvaged.resource is None:
        return
    for problem in _problems(draft.salvaged.resource, surroundings):
        if not draft.salvaged.is_repaired(problem.path):
            yield _located(draft, Told(draft.salvaged.original(problem.path), problem.message))


def _cut(text: str) -> str:
    # What people wrote may be quoted in it, and be as long as they like.
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _located(draft: Draft, told: Told) -> Located:
    line = column = 0
    if draft.document is not None:
        positions = draft.document.positions
        line, column = (positions.of_key if told.at_key else positions.of)(told.path)
    return Located(draft.source.name, _cut(told.path), _cut(told.message), line, column)


def _in_order(problems: Iterable[Located], names: Sequence[str]) -> list[Located]:
    order = {name: i for i, name in reversed(list(enumerate(names)))}
    unique = dict.fromkeys(problems)
    found = sorted(unique, key=lambda p: (order.get(p.document, -1), p.line, p.column))
    if len(found) <= MAX_PROBLEMS:
        return found
    kept = found[: MAX_PROBLEMS - 1]
    return [*kept, Located("", "", f"there is more: these are the first {len(kept)} problems")]


class _Reader:
    def __init__(self, namespaces: Sequence[str], namespace: str) -> None:
        self.parsed: list[Parsed] = []
        self.problems: list[Located] = []
        self.drafts: list[Draft] = []
        self._served = namespaces
        self.namespace = namespace
        self._namespace_of = "the request" if namespace else ""
        self._first: dict[Key, Draft] = {}

    def read(self, source: Source) -> None:
        try:
            document = documents.read(source.content)
        except documents.UnreadableError as exc:
            self.drafts.append(Draft(source))
            self._tell_faults(source, exc.faults)
            return
        before = len(self.problems)
        self._tell_faults(source, document.faults)
        kind, told = _kind(document.value)
        draft = Draft(source, document, kind)
        if kind is None:
            self.drafts.append(draft)
            self.problems += [_located(draft, problem) for problem in told]
            return
        unknown = [fault.steps for fault in document.faults if not fault.known]
        value = {**document.value, "kind": kind.value}
        draft = replace(draft, salvaged=salvage.read(kind, value, unknown))
        self.drafts.append(draft)
        self.problems += [_located(draft, problem) for problem in (*told, *draft.salvaged.problems)]
        if draft.salvaged.resource is not None:
            self._read_resource(draft, draft.salvaged.resource, sound=len(self.problems) == before)

    def _tell_faults(self, source: Source, faults: Iterable[documents.Fault]) -> None:
        self.problems += [
            Located(source.name, _cut(fault.path), _cut(fault.message), fault.line, fault.column)
            for fault in faults
        ]

    def _read_resource(self, draft: Draft, content: Content, *, sound: bool) -> None:
        metadata = content.metadata
        key = Key(ResourceKind(content.kind), metadata.id)
        told = [] if draft.salvaged.is_repaired("metadata.id") else [*self._twin(draft, key)]
        if not draft.salvaged.is_repaired("metadata.namespace"):
            told += self._foreign(draft, metadata.namespace)
        rendered = resources.content(content)
        if len(rendered) > MAX_CONTENT_BYTES:
            message = (
                f"with its defaults spelled out it has {len(rendered)} bytes, more than "
                f"{MAX_CONTENT_BYTES}"
            )
            told.append(Told("", message))
        self.problems += [_located(draft, problem) for problem in told]
        if sound and not told:
            self.parsed.append(
                Parsed(draft.source, metadata.namespace, key, content, rendered, draft.document)
            )

    def _twin(self, draft: Draft, key: Key) -> Iterator[Told]:
        first = self._first.setdefault(key, draft)
        if first is not draft:
            line = first.document.positions.of("metadata.id")[0] if first.document else 0
            yield Told(
                "metadata.id",
                f"{key.kind} {key.resource_id!r} is written twice; the first is in "
                f"{first.source.name}, line {line}",
            )

    def _foreign(self, draft: Draft, namespace: str) -> Iterator[Told]:
        if namespace not in self._served:
            instead = wording.instead(namespace, self._served)
            yield Told("metadata.namespace", f"namespace {namespace!r} is not served here{instead}")
            return
        if not self.namespace:
            self.namespace, self._namespace_of = namespace, draft.source.name
        if namespace != self.namespace:
            yield Told(
                "metadata.namespace",
                f"documents that are applied together share a namespace: {self._namespace_of} "
                f"says {self.namespace!r}, not {namespace!r}",
            )


_KINDS = tuple(kind.value for kind in ResourceKind)


def _kind(document: Mapping[str, Any]) -> tuple[ResourceKind | None, list[Told]]:
    """Return the kind that a document says or most probably means, and what is wrong with that."""
    given = document.get("kind")
    if isinstance(given, str) and given in _KINDS:
        return ResourceKind(given), []
    if given is None:
        told = Told("kind", f"kind is required: {', '.join(_KINDS[:-1])} or {_KINDS[-1]}")
    elif isinstance(given, str):
        told = Told(
            "kind", f"kind cannot be {wording.shown(given)}{wording.instead(given, _KINDS)}"
        )
        if (near := wording.nearest(given[:80], _KINDS)) is not None:
            return ResourceKind(near), [told]
    else:
        told = Told("kind", f"expected text, found {documents.kind(given)}")
    return _probable_kind(document), [told]


def _probable_kind(document: Mapping[str, Any]) -> ResourceKind | None:
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return None
    fits = {
        kind: len(spec.keys() & plain(plain(model).fields["spec"]).fields.keys())
        for kind, model in MODEL_OF.items()
    }
    best = max(fits, key=lambda kind: fits[kind])
    return best if fits[best] else None
