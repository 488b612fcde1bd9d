"""Random commands, two replicas and concurrent writers among them, against a model in memory.

After each run everything that was ever so is asked for again, and the tables are projected anew.
"""

import asyncio
import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from contracts.resources import ResourceKind, ResourceState
from registry.adapters import postgres_projections
from registry.adapters.postgres_resources import PostgresResourceStore
from registry.domain import resources, validation
from registry.domain.planning import Prune
from registry.domain.resources import Key, Resource
from registry.domain.validation import Source
from registry.errors import RegistryError
from registry.service.changes import Changes
from registry.service.mirror import Mirrors
from registry.service.resources import ResourceService
from runtime.postgres import Postgres

DEFINITION = ResourceKind.ACTIVITY_DEFINITION
EVENT_TYPE = ResourceKind.EVENT_TYPE
ACTIVE, DISABLED, RETIRED = ResourceState.ACTIVE, ResourceState.DISABLED, ResourceState.RETIRED
WHO = {"actor": "ada", "reason": "why"}
TABLES = ("revisions", "resource_versions", "resources", "resource_changes", "event_schemas")
DEFINITIONS, TYPES = ("a", "b"), ("t.one", "t.two")


@dataclass(frozen=True)
class Document:
    """A document: a definition that may need a field of an event type, or an event type.

    An event type has the schema versions 1 to `schemas`; version n has the fields f1 to fn. A
    twisted one has another schema as its version 1.
    """

    key: Key
    owner: str
    text: str = ""
    listens: str | None = None
    needs: int = 0
    schemas: int = 0
    twisted: bool = False


@dataclass
class Stored:
    """What the model knows of a resource."""

    versions: list[Document]
    current: int
    state: ResourceState
    revision: int

    @property
    def document(self) -> Document:
        return self.versions[self.current - 1]


@dataclass
class Model:
    """What is stored, by the rules and without a database."""

    stored: dict[Key, Stored] = field(default_factory=dict)
    past: dict[str, dict[int, bool]] = field(default_factory=dict)
    revision: int = 0

    def in_use(self, key: Key) -> Stored | None:
        found = self.stored.get(key)
        return None if found is None or found.state is RETIRED else found

    def listeners(self, event_type: str) -> list[Stored]:
        return [
            stored
            for key in self.stored
            if (stored := self.in_use(key)) and stored.document.listens == event_type
        ]

    def bump(self, stored: Stored) -> None:
        self.revision += 1
        stored.revision = self.revision

    def put(self, document: Document) -> None:
        stored = self.stored.setdefault(document.key, Stored([], 0, ACTIVE, 0))
        stored.versions.append(document)
        stored.current = len(stored.versions)
        if stored.state is RETIRED:
            stored.state = ACTIVE
        self.bump(stored)
        schemas = self.past.setdefault(document.key.resource_id, {})
        schemas |= {n: document.twisted and n == 1 for n in range(1, document.schemas + 1)}


def seen(model: Model, key: Key, behind: int | None) -> int | None:
    """Return the revision that an etag is of: `behind` the current one, None for no etag."""
    stored = model.stored.get(key)
    return None if stored is None or behind is None else stored.revision - behind


def satisfied(document: Document, event_type: Document | None) -> bool:
    return event_type is not None and document.needs <= event_type.schemas


@dataclass(frozen=True)
class Apply:
    """Documents applied together; `seen` is the revision that the first one's etag is of."""

    documents: tuple[Document, ...]
    prune: str | None
    behind: int | None
    seen: int | None = None

    def bound(self, model: Model) -> "Apply":
        return replace(self, seen=seen(model, self.documents[0].key, self.behind))

    def step(self, model: Model) -> str:
        mine = {document.key: document for document in self.documents}
        pruned = [
            key
            for key in model.stored
            if self.prune is not None
            and (stored := model.in_use(key))
            and key not in mine
            and self.prune in ("", stored.document.owner)
        ]
        if not self._valid(model, mine, pruned):
            return "InvalidDocumentsError"
        first = model.stored.get(self.documents[0].key)
        if self.seen is not None and first is not None and first.revision != self.seen:
            return "EtagMismatchError"
        touched = {*mine, *pruned}
        for key in pruned:
            if any(user.document.key not in touched for user in model.listeners(key.resource_id)):
                return "ResourceInUseError"
        order = sorted(self.documents, key=lambda document: document.key.kind is DEFINITION)
        for document in order:
            now = model.in_use(document.key)
            if now is None or now.document != document:
                model.put(document)
        for key in sorted(pruned, key=lambda key: (key.kind is not DEFINITION, key)):
            model.stored[key].state = RETIRED
            model.bump(model.stored[key])
        return f"ok {model.revision}"

    def _valid(self, model: Model, mine: dict[Key, Document], pruned: list[Key]) -> bool:
        def event_type(name: str) -> Document | None:
            key = Key(EVENT_TYPE, name)
            if key in mine or key in pruned:
                return mine.get(key)
            stored = model.in_use(key)
            return stored.document if stored else None

        touched = {*mine, *pruned}
        for document in self.documents:
            if document.listens and not satisfied(document, event_type(document.listens)):
                return False
            past = model.past.get(document.key.resource_id, {})
            for number in range(1, document.schemas + 1):
                if past.get(number, document.twisted and number == 1) != (
                    document.twisted and number == 1
                ):
                    return False
        return all(
            satisfied(user.document, document)
            for document in self.documents
            if document.schemas and model.in_use(document.key)
            for user in model.listeners(document.key.resource_id)
            if user.document.key not in touched
        )

    async def run(self, service: ResourceService, render: Callable[[Document], bytes]) -> str:
        etags = [""] * len(self.documents)
        if self.seen is not None:
            etags[0] = resources.etag("dev", self.documents[0].key, self.seen)
        outcome = await service.apply(
            [
                Source(document.key.resource_id, render(document), etag)
                for document, etag in zip(self.documents, etags, strict=True)
            ],
            namespace="dev",
            prune=None if self.prune is None else Prune(self.prune),
            **WHO,
        )
        return f"ok {outcome.revision}"


@dataclass(frozen=True)
class Alter:
    """Something that happens to one resource; `version` is for activating."""

    what: str
    key: Key
    version: int
    behind: int | None
    seen: int | None = None

    def bound(self, model: Model) -> "Alter":
        return replace(self, seen=seen(model, self.key, self.behind))

    def step(self, model: Model) -> str:
        stored = model.stored.get(self.key)
        if stored is None:
            return "ResourceNotFoundError"
        if self.seen is not None and self.seen != stored.revision:
            return "EtagMismatchError"
        if stored.state is RETIRED:
            return f"same {stored.revision}" if self.what == "retire" else "StateError"
        return getattr(self, f"_{self.what}")(model, stored)

    def _activate(self, model: Model, stored: Stored) -> str:
        if self.version == stored.current:
            return f"same {stored.revision}"
        if self.version > len(stored.versions):
            return "ResourceNotFoundError"
        target = stored.versions[self.version - 1]
        if target.listens:
            event_type = model.in_use(Key(EVENT_TYPE, target.listens))
            if not satisfied(target, event_type.document if event_type else None):
                return "InvalidDocumentsError"
        if target.schemas and not all(
            satisfied(user.document, target) for user in model.listeners(target.key.resource_id)
        ):
            return "InvalidDocumentsError"
        stored.current = self.version
        model.bump(stored)
        return f"changed {stored.revision}"

    def _disable(self, model: Model, stored: Stored) -> str:
        return self._switch(model, stored, DISABLED)

    def _enable(self, model: Model, stored: Stored) -> str:
        return self._switch(model, stored, ACTIVE)

    def _retire(self, model: Model, stored: Stored) -> str:
        if stored.document.schemas and model.listeners(self.key.resource_id):
            return "ResourceInUseError"
        return self._switch(model, stored, RETIRED)

    def _switch(self, model: Model, stored: Stored, state: ResourceState) -> str:
        if stored.state is state:
            return f"same {stored.revision}"
        stored.state = state
        model.bump(stored)
        return f"changed {stored.revision}"

    async def run(self, service: ResourceService, render: Callable[[Document], bytes]) -> str:
        options: dict[str, Any] = dict(WHO)
        if self.seen is not None:
            options["etag"] = resources.etag("dev", self.key, self.seen)
        if self.what in ("disable", "enable"):
            call = getattr(service, self.what)("dev", self.key.resource_id, **options)
        elif self.what == "activate":
            call = service.activate("dev", *self.key, version=self.version, **options)
        else:
            call = service.retire("dev", *self.key, **options)
        altered = await call
        return f"{'changed' if altered.changed else 'same'} {altered.resource.revision}"


Command = Apply | Alter


def definitions() -> st.SearchStrategy[Document]:
    return st.builds(
        lambda name, owner, text, heard: Document(
            Key(DEFINITION, name), owner, text, listens=heard[0], needs=heard[1]
        ),
        st.sampled_from(DEFINITIONS),
        st.sampled_from(["billing", "crm"]),
        st.sampled_from(["", "x"]),
        st.sampled_from(
            [(None, 0), (None, 0), *((name, needs) for name in TYPES for needs in (0, 2, 3))]
        ),
    )


def event_types() -> st.SearchStrategy[Document]:
    return st.builds(
        lambda name, schemas, twisted: Document(
            Key(EVENT_TYPE, name), "billing", schemas=schemas, twisted=twisted
        ),
        st.sampled_from(TYPES),
        st.integers(1, 3),
        st.sampled_from([False, False, False, True]),
    )


def commands() -> st.SearchStrategy[Command]:
    documents = st.lists(
        st.one_of(definitions(), event_types()),
        min_size=1,
        max_size=3,
        unique_by=lambda document: document.key,
    ).map(tuple)
    names = st.sampled_from(DEFINITIONS).map(lambda name: Key(DEFINITION, name))
    types = st.sampled_from(TYPES).map(lambda name: Key(EVENT_TYPE, name))
    behind = st.sampled_from([None, None, 0, 0, 1])
    prune = st.sampled_from([None, None, None, "", "billing"])
    return st.one_of(
        st.builds(Apply, documents, prune, behind),
        st.builds(Apply, definitions().map(lambda document: (document,)), st.none(), behind),
        st.builds(Alter, st.just("activate"), names, st.integers(1, 4), behind),
        st.builds(Alter, st.just("activate"), names | types, st.integers(1, 3), st.none()),
        st.builds(
            Alter, st.sampled_from(["disable", "enable", "retire"]), names, st.just(0), behind
        ),
        st.builds(Alter, st.just("retire"), types, st.just(0), behind),
    )


@st.composite
def rivals(draw: st.DrawFn) -> tuple[Command, Command]:
    """Two commands that may not both succeed: about one event type and who listens to it."""
    name = draw(st.sampled_from(TYPES))
    key = Key(EVENT_TYPE, name)
    listener = st.builds(
        lambda definition_id, needs: Apply(
            (Document(Key(DEFINITION, definition_id), "crm", listens=name, needs=needs),),
            None,
            None,
        ),
        st.sampled_from(DEFINITIONS),
        st.sampled_from([0, 2, 3]),
    )
    other = st.one_of(
        st.just(Alter("retire", key, 0, None)),
        st.builds(Alter, st.just("activate"), st.just(key), st.integers(1, 3), st.none()),
        st.builds(
            lambda schemas: Apply((Document(key, "billing", schemas=schemas),), None, None),
            st.integers(1, 3),
        ),
        st.just(Apply((Document(Key(DEFINITION, "new"), "crm"),), "billing", None)),
    )
    return draw(st.one_of(st.tuples(listener, other), st.tuples(other, other)))


Heads = dict[Key, tuple[int, int, str, str, int]]


def heads_of(found: Iterable[Resource]) -> Heads:
    return {r.key: (r.version, r.versions, r.state, r.content_sha256, r.revision) for r in found}


class Machine(RuleBasedStateMachine):
    """One registry of two replicas, and what it should hold."""

    runner: asyncio.Runner
    postgres: Postgres
    canonical: Callable[[Document], bytes]
    render: Callable[[Document], bytes]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.commits: list[Model] = []
        self.last: Command | None = None
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        async with self.postgres.transaction("") as transaction:
            await transaction.execute(
                f"TRUNCATE {', '.join(TABLES)}, requests, stream_heads, events, outbox_pending"
            )
        self.stores = [PostgresResourceStore(self.postgres) for _ in range(2)]
        self.mirrors = [Mirrors(store, Changes(), namespaces=["dev"]) for store in self.stores]
        self.services = [
            ResourceService(store, mirrors)
            for store, mirrors in zip(self.stores, self.mirrors, strict=True)
        ]

    @initialize(
        schemas=st.integers(1, 3),
        heard=st.sampled_from([None, "t.one", "t.two"]),
        through=st.integers(0, 1),
    )
    def something_is_there(self, schemas: int, heard: str | None, through: int) -> None:
        types = [Document(Key(EVENT_TYPE, name), "billing", schemas=schemas) for name in TYPES]
        others = [Document(Key(DEFINITION, name), "crm", listens=heard) for name in DEFINITIONS]
        self._one(Apply((*types, *others[:1]), None, None), through)

    @rule(command=commands(), through=st.integers(0, 1))
    def one(self, command: Command, through: int) -> None:
        self._one(command, through)

    @rule(through=st.integers(0, 1))
    def same_again(self, through: int) -> None:
        if self.last is not None:
            self._one(self.last, through)

    @rule(
        pair=st.one_of(st.tuples(commands(), commands()), rivals()),
        through=st.sampled_from([(0, 1), (1, 0), (0, 0)]),
    )
    def two_at_once(self, pair: tuple[Command, Command], through: tuple[int, int]) -> None:
        pair = (pair[0].bound(self.model), pair[1].bound(self.model))

        told, heads = self.runner.run(self._both(pair, through)), self.runner.run(self._heads())
        fitting = []
        for order in ((0, 1), (1, 0)):
            model, outcomes, commits = copy.deepcopy(self.model), ["", ""], []
            for which in order:
                outcomes[which] = pair[which].step(model)
                commits.append(copy.deepcopy(model))
            if outcomes == told and self._expected(model) == heads:
                fitting.append((model, commits))
        assert fitting, (pair, told, heads, self.model)
        self.model = fitting[0][0]
        self.commits += fitting[0][1]

    def _one(self, command: Command, through: int) -> None:
        command = command.bound(self.model)
        expected = command.step(self.model)
        assert self.runner.run(self._told(command, through)) == expected, command
        assert self.runner.run(self._heads()) == self._expected(self.model), command
        self.commits.append(copy.deepcopy(self.model))
        self.last = command

    async def _both(self, pair: tuple[Command, Command], through: tuple[int, int]) -> list[str]:
        """Carry two commands out at once; each is prepared before the other changes anything."""
        preparing, ready = 2, asyncio.Event()

        def prepared() -> None:
            nonlocal preparing
            preparing -= 1
            if preparing <= 0:
                ready.set()

        async def one(command: Command, which: int) -> str:
            store, waited = self.stores[which], False

            async def change(namespace: str, work: Any) -> Any:
                nonlocal waited
                if not waited:
                    waited = True
                    prepared()
                    await ready.wait()
                return await PostgresResourceStore.change(store, namespace, work)

            # On one replica they take turns before that.
            if through[0] != through[1]:
                store.change = change  # type: ignore[method-assign]
            try:
                return await self._told(command, which)
            finally:
                if not waited:
                    prepared()
                vars(store).pop("change", None)

        return await asyncio.gather(*map(one, pair, through))

    async def _told(self, command: Command, through: int) -> str:
        try:
            return await command.run(self.services[through], self.render)
        except RegistryError as exc:
            return type(exc).__name__

    async def _heads(self) -> Heads:
        found = await self.stores[0].changed(
            "dev", after_revision=0, limit=100, max_bytes=10_000_000
        )
        assert await self.stores[0].revision("dev") == max([r.revision for r in found], default=0)
        return heads_of(found)

    def _expected(self, model: Model) -> Heads:
        return {
            key: (
                stored.current,
                len(stored.versions),
                stored.state,
                resources.canonical.digest(type(self).canonical(stored.document)),
                stored.revision,
            )
            for key, stored in model.stored.items()
        }

    def teardown(self) -> None:
        self.runner.run(self._check_everything())

    async def _check_everything(self) -> None:
        for mirrors in self.mirrors:
            heads = await mirrors.refresh("dev")
            view = heads.view()
            assert (view.revision, view.count) == (
                self.model.revision,
                sum(stored.state is not RETIRED for stored in self.model.stored.values()),
            )
            current = [r for kind in ResourceKind for r in view.current[kind].values()]
            assert heads_of(current) == self._expected(self.model)
        await self._check_the_past()
        before = await self._rows()
        counted = await postgres_projections.rebuild(self.postgres, ["dev"])
        assert counted == {"dev": self.model.revision}
        assert await self._rows() == before

    async def _check_the_past(self) -> None:
        history = await self.stores[0].history("dev", None, before_revision=None, limit=10_000)
        assert [change.revision for change in history] == list(range(self.model.revision, 0, -1))
        at: dict[int, datetime] = {change.revision: change.at for change in history}
        commits = {model.revision: model for model in self.commits if model.revision}
        for revision, model in commits.items():
            then: Heads = {}
            for kind in (DEFINITION, EVENT_TYPE):
                page = await self.services[0].list(
                    "dev", kind, as_of=at[revision], show_retired=True
                )
                then |= heads_of(page.resources)
            assert then == self._expected(model)

    async def _rows(self) -> dict[str, list[tuple[Any, ...]]]:
        async with self.postgres.transaction("dev") as transaction:
            return {
                # The names are the test's own.
                table: sorted(map(tuple, await transaction.fetch(f"SELECT * FROM {table}")))  # noqa: S608
                for table in TABLES
            }


@pytest.fixture
def machine(
    migrated_dsn: str, document: Callable[..., bytes], event_type: Callable[..., bytes]
) -> Iterator[type[Machine]]:
    def schema(version: int, *, twisted: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {f"f{n}": {"type": "boolean"} for n in range(1, version + 1)}
        if twisted and version == 1:
            fields["f1"] = {"type": "integer"}
        return {"type": "object", "properties": fields}

    @cache
    def render(wanted: Document) -> bytes:
        name = wanted.key.resource_id
        if wanted.key.kind is EVENT_TYPE:
            numbers = range(1, wanted.schemas + 1)
            schemas = {number: schema(number, twisted=wanted.twisted) for number in numbers}
            return event_type(name, owner=wanted.owner, schemas=schemas, compatibility="none")
        when = f"event.payload.f{wanted.needs} == true" if wanted.needs else "true"
        return document(
            name,
            owner=wanted.owner,
            description=wanted.text or None,
            listens=wanted.listens,
            when=when,
        )

    @cache
    def canonical(wanted: Document) -> bytes:
        reading = validation.read([Source("", render(wanted))], namespaces=["dev"])
        return reading.parsed[0].content

    with asyncio.Runner() as runner:
        postgres = runner.run(
            Postgres.connect(migrated_dsn, application="test", schema="registry", size=8)
        )

        class Prepared(Machine):
            pass

        Prepared.runner, Prepared.postgres = runner, postgres
        Prepared.render, Prepared.canonical = staticmethod(render), staticmethod(canonical)
        yield Prepared
        runner.run(postgres.close())


# A failure is made small before it is shown, which takes Hypothesis up to five minutes.
@pytest.mark.timeout(600)
def test_registry_does_what_its_model_does(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
