"""Simulation: what a definition would do with an event; nothing is started, recorded or told."""

import asyncio
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from backbone.registry.v1.registry_pb2 import Resource
from backbone.router.v1.router_pb2 import SimulateRunRequest, SimulateRunResponse
from console.adapters.areas import Page, get, post
from console.adapters.pages import versions
from console.errors import BadRequestError
from contracts import definitions, envelope, identifiers, strictjson
from contracts.envelope import Envelope
from contracts.rejections import EventRejectedError
from contracts.triggers import Trigger
from rules.backtests import Version
from rules.errors import RulesError
from rules.simulations import Simulation, Simulator

_EXAMPLE = """{
  "type": "…",
  "source": "…",
  "payload": {}
}"""


@dataclass(frozen=True)
class _Outcome:
    """What came of an event: what it starts, and what the last of that would decide."""

    simulations: Sequence[Simulation]
    answer: SimulateRunResponse | None

    @property
    def decision(self) -> dict[str, Any] | None:
        """What would be decided; None when nothing is."""
        if self.answer is None or not self.answer.decision:
            return None
        found: dict[str, Any] = json.loads(self.answer.decision)
        return found


async def ask(page: Page) -> Response:
    """Show the form for an event."""
    found = await versions.stored(page, page.query("id", required=True))
    return _rendered(page, found, event=_EXAMPLE)


async def simulate(page: Page) -> Response:
    """Show what a version would do with the event, over what connectors answer now."""
    definition_id = page.field("id", required=True)
    text = page.field("event", required=True, limit=envelope.MAX_EVENT_BYTES)
    state = page.field("state", limit=envelope.MAX_EVENT_BYTES)
    number = versions.number(page.field("version"), "version")
    resource = await versions.stored(page, definition_id, number)
    try:
        outcome = await _simulated(page, resource, _event(text), _state(state))
    except BadRequestError as exc:
        # With what was pasted, so that it can be put right.
        return _rendered(page, resource, event=text, state=state, problem=str(exc))
    return _rendered(page, resource, event=text, state=state, outcome=outcome)


def _rendered(
    page: Page,
    found: Resource,
    *,
    event: str,
    state: str = "",
    outcome: _Outcome | None = None,
    problem: str = "",
) -> Response:
    return page.render(
        "definitions/simulate.html",
        code=HTTPStatus.BAD_REQUEST if problem else HTTPStatus.OK,
        found=found,
        is_stateful=versions.document(found).get("spec", {}).get("mode") == "stateful",
        event=event,
        state=state,
        outcome=outcome,
        problem=problem,
    )


async def _simulated(page: Page, resource: Resource, event: Envelope, state: bytes) -> _Outcome:
    version = await versions.compiled(resource)
    try:
        found = await asyncio.to_thread(Simulator(version).events, [event])
    except RulesError as exc:
        raise BadRequestError(f"{resource.resource_id}: {exc}.") from exc
    answer = None
    for one in found:
        if one.trigger is not None and one.failure is None:
            answer = await _decided(page, version, one.trigger, state)
    return _Outcome(found, answer)


async def _decided(
    page: Page, version: Version, trigger: Trigger, state: bytes
) -> SimulateRunResponse:
    return await page.router.ask(
        page.router.events.SimulateRun(
            SimulateRunRequest(
                namespace=page.namespace,
                definition=definitions.content(version.definition),
                trigger=trigger.model_dump_json().encode(),
                state=state,
            )
        )
    )


def _event(text: str) -> Envelope:
    """Return the event; an id and a time are made where they are absent, as `simulate` does."""
    try:
        document: Any = strictjson.parse(text.encode())
        if isinstance(document, dict):
            made = {
                "event_id": str(uuid.uuid4()),
                "occurred_at": identifiers.instant(datetime.now(UTC)),
            }
            text = json.dumps(made | document, ensure_ascii=False)
        return envelope.parse(text.encode())
    except EventRejectedError as exc:
        raise BadRequestError(f"That is no event: {exc.detail}.") from exc


def _state(text: str) -> bytes:
    if not text:
        return b""
    try:
        if isinstance(strictjson.parse(text.encode()), dict):
            return text.encode()
    except EventRejectedError:
        pass
    raise BadRequestError('A state is a JSON object, such as {"reminders": 2}.')


ROUTES = (get("definition/simulate", ask), post("definition/simulate", simulate))
