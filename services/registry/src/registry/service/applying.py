"""Applying a set of documents: planned as a whole, and carried out as a whole or not at all."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from contracts import canonical
from contracts.catalogue import Catalogue
from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain import proposals, validation
from registry.domain.heads import Heads, View
from registry.domain.planning import Action, Plan, Prune, Step
from registry.domain.proposals import Consequences, Proposal
from registry.domain.resources import Resource
from registry.domain.validation import Reading, Source
from registry.errors import (
    InvalidDocumentsError,
    InvalidRequestError,
    LimitReachedError,
    PlanMismatchError,
)
from registry.ports import ResourceChanges, ResourceStore
from registry.service import requests
from registry.service.mirror import Mirrors
from registry.service.outcomes import ApplyOutcome, ResultRow
from registry.service.requests import Asked
from registry.service.turns import Done, Turns, Work


@dataclass(frozen=True, slots=True)
class Rules:
    """What every set is held to."""

    catalogue: Catalogue | None
    max_resources: int


class Applying:
    """The use case `apply`."""

    def __init__(
        self,
        store: ResourceStore,
        mirrors: Mirrors,
        turns: Turns,
        *,
        rules: Rules,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._mirrors = mirrors
        self._turns = turns
        self._rules = rules
        self._now = now

    async def apply(
        self,
        sources: Sequence[Source],
        *,
        namespace: str,
        actor: str,
        reason: str,
        validate_only: bool,
        prune: Prune | None,
        plan_sha256: str,
        request_id: str,
    ) -> ApplyOutcome:
        """Do what `ResourceService.apply` says."""
        asked = requests.asked(
            "apply",
            namespace,
            [[source.name, canonical.digest(source.content), source.etag] for source in sources],
            None if prune is None else [prune.owner],
            plan_sha256,
            actor=actor,
            reason=reason,
            request_id=request_id,
        )
        if not sources:
            raise InvalidRequestError("documents", "at least one is needed")
        if not all(source.name.isprintable() for source in sources):
            raise InvalidRequestError("documents", "a name holds what cannot be printed")
        if namespace:
            requests.require_served(namespace, self._mirrors.namespaces)
        elif prune is not None:
            raise InvalidRequestError("namespace", "pruning needs one")
        # Reading and checking take too long for the event loop when a set is large.
        reading = await asyncio.to_thread(
            validation.read, sources, namespaces=self._mirrors.namespaces, namespace=namespace
        )
        namespace = namespace or reading.namespace
        applied = _Set(
            reading=reading,
            namespace=namespace,
            asked=asked,
            prune=prune,
            plan_sha256=plan_sha256,
            rules=self._rules,
            store=self._store,
            now=self._now,
        )
        if namespace and not validate_only:
            return await self._turns.take(namespace, asked, applied.work())
        # Without a namespace nothing could be read that is wrong by what is there.
        view = (await self._mirrors.refresh(namespace)).view() if namespace else Heads().view()
        outcome = await applied.would_be(view)
        if outcome.problems and not validate_only:
            raise InvalidDocumentsError(outcome.problems)
        return outcome


@dataclass(frozen=True, slots=True)
class _Ready:
    """A plan that nothing is wrong with."""

    plan: Plan
    consequences: Sequence[Consequences]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """The documents of one request, and what becomes of them."""

    reading: Reading
    namespace: str
    asked: Asked
    prune: Prune | None
    plan_sha256: str
    rules: Rules
    store: ResourceStore
    now: Callable[[], datetime]

    def work(self) -> Work[_Ready, ApplyOutcome]:
        return Work(
            rests_on=lambda view: proposals.rests_on(view, self.reading, self.prune),
            prepare=self._prepare,
            carry_out=self._carry_out,
            answered=self._answered,
        )

    async def would_be(self, view: View) -> ApplyOutcome:
        """Return what applying would come to."""
        proposal = await self._propose(view)
        if proposal.plan is None:
            return ApplyOutcome((), proposal.problems, "", view.revision)
        self._require_room(proposal.plan, view)
        now, actor, reason = self.now(), self.asked.actor, self.asked.reason
        after = [
            step.would_be(self.namespace, at=now, actor=actor, reason=reason)
            for step in proposal.plan.steps
        ]
        rows = _rows(proposal.plan.steps, after, proposal.consequences)
        return ApplyOutcome(rows, (), proposal.plan.sha256, view.revision)

    async def _prepare(self, view: View) -> _Ready:
        proposal = await self._propose(view)
        if proposal.plan is None:
            raise InvalidDocumentsError(proposal.problems)
        return _Ready(proposal.plan, proposal.consequences)

    async def _propose(self, view: View) -> Proposal:
        types = [
            parsed.key.resource_id
            for parsed in self.reading.parsed
            if parsed.key.kind is ResourceKind.EVENT_TYPE
        ]
        past = await self.store.payload_schemas(self.namespace, types) if types else {}
        proposal = await asyncio.to_thread(
            proposals.propose,
            self.reading,
            view,
            namespace=self.namespace,
            past=past,
            catalogue=self.rules.catalogue,
            prune=self.prune,
            now=self.now(),
        )
        if proposal.plan is not None and self.plan_sha256 not in ("", proposal.plan.sha256):
            raise PlanMismatchError
        return proposal

    async def _carry_out(
        self, changes: ResourceChanges, view: View, ready: _Ready
    ) -> Done[ApplyOutcome]:
        steps = ready.plan.steps
        self._require_room(ready.plan, view)
        changed = {step.key: await self._change(changes, step) for step in ready.plan.changes}
        after = [changed.get(step.key, step.before) for step in steps]
        rows = _rows(steps, after, ready.consequences)
        answer = _Answer(
            rows=[
                _AnswerRow(
                    document=row.document,
                    action=row.action,
                    after=row.resource.revision,
                    before=None if step.in_use is None else step.in_use.revision,
                )
                for row, step in zip(rows, steps, strict=True)
            ],
            plan_sha256=ready.plan.sha256,
            revision=changes.revision,
            at=changes.now,
        )
        return Done(
            ApplyOutcome(rows, (), ready.plan.sha256, changes.revision),
            list(changed.values()),
            answer.model_dump(mode="json"),
        )

    async def _change(self, changes: ResourceChanges, step: Step) -> Resource:
        actor, reason = self.asked.actor, self.asked.reason
        if step.action is Action.PRUNE and step.before is not None:
            return await changes.alter(
                step.before,
                ChangeKind.RETIRED,
                state=ResourceState.RETIRED,
                actor=actor,
                reason=reason,
            )
        return await changes.apply(
            step.key, step.content, before=step.before, actor=actor, reason=reason
        )

    async def _answered(self, answer: Any) -> ApplyOutcome:
        """Tell again what the request came to: resources as they were then."""
        told = _Answer.model_validate(answer)
        revisions = {row.after for row in told.rows} | {
            row.before for row in told.rows if row.before
        }
        known = await self.store.resources_at_revisions(self.namespace, sorted(revisions))
        return await asyncio.to_thread(told.outcome, known)

    def _require_room(self, plan: Plan, view: View) -> None:
        count, most = view.count + plan.growth, self.rules.max_resources
        if plan.growth > 0 and count > most:
            raise LimitReachedError(
                f"{self.namespace!r} would have {count} resources in use, and may have {most}: "
                "retire what is not needed"
            )


class _AnswerRow(BaseModel):
    """A result by the revisions that made what was there before and after it."""

    document: str
    action: Action
    after: int
    before: int | None


class _Answer(BaseModel):
    """What is stored of an outcome: everything else follows from what never changes."""

    rows: list[_AnswerRow]
    plan_sha256: str
    revision: int
    at: datetime

    def outcome(self, known: Mapping[int, Resource]) -> ApplyOutcome:
        """Return the outcome again; `known` is what those revisions changed."""
        rows = []
        for row in self.rows:
            after = known[row.after]
            meant = proposals.consequences(
                row.action,
                None if row.before is None else known[row.before],
                None if row.action is Action.PRUNE else after.load(),
                now=self.at,
            )
            rows.append(
                ResultRow(row.document, row.action, after, meant.differences, meant.schedules)
            )
        return ApplyOutcome(rows, (), self.plan_sha256, self.revision)


def _rows(
    steps: Sequence[Step],
    after: Sequence[Resource | None],
    consequences: Sequence[Consequences],
) -> list[ResultRow]:
    return [
        ResultRow(step.document, step.action, resource, meant.differences, meant.schedules)
        for step, resource, meant in zip(steps, after, consequences, strict=True)
        if resource is not None
    ]
