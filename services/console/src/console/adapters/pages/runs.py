"""Runs: the list of them, and each with why it is there, what it decided and what came of it."""

import json
from typing import Any

from starlette.responses import Response

from backbone.ledger.v1 import ledger_pb2, routing_pb2
from console.adapters import chains
from console.adapters.areas import Area, Page, get
from console.adapters.pages import versions
from console.domain import rules
from console.domain.chains import Picture
from console.errors import BadRequestError, NotFoundError, ServiceError

STATUSES = ("running", "waiting", "completed", "failed", "cancelled")
_PAGE = 50
_COPIES = 200
"""Decisions of one event among which is looked for the one that started the run."""


async def list_(page: Page) -> Response:
    """List runs, the newest first."""
    status, definition_id = page.query("status", limit=20), page.query("definition", limit=256)
    if status and status not in STATUSES:
        raise BadRequestError(f"There is no status {status}: it is one of {', '.join(STATUSES)}.")
    found = await page.ledger.ask(
        page.ledger.runs.ListRuns(
            ledger_pb2.ListRunsRequest(
                namespace=page.namespace,
                page_size=_PAGE,
                page_token=page.query("page"),
                definition_id=definition_id,
                status=ledger_pb2.RunStatus.Value(f"RUN_STATUS_{status.upper() or 'UNSPECIFIED'}"),
            )
        )
    )
    return page.render(
        "runs/list.html",
        found=found,
        statuses=STATUSES,
        status=status,
        definition_id=definition_id,
    )


async def show(page: Page) -> Response:
    """Show a run."""
    run_id = page.query("id", required=True)
    (found,) = await chains.in_full_of(page, [run_id])
    trigger: dict[str, Any] = json.loads(found.trigger) if found.trigger else {}
    decision: dict[str, Any] = json.loads(found.decision) if found.decision else {}
    correlation_id = chains.correlation_of(found)
    runs, more = await chains.around(page, found)
    definition = await _definition(page, found.run)
    return page.render(
        "runs/run.html",
        found=found,
        run=found.run,
        trigger=trigger,
        decision=decision,
        rulings=rules.rulings(decision, definition),
        has_definition=definition is not None,
        looked_at=rules.looked_at(json.loads(found.snapshot) if found.snapshot else {}),
        places=await _places(page, found.run, trigger),
        correlation_id=correlation_id,
        nodes=Picture(runs).of_run(run_id),
        more=more,
    )


async def _definition(page: Page, run: ledger_pb2.Run) -> dict[str, Any] | None:
    """Return the version that decided; None when the registry cannot be asked for it."""
    try:
        found = await versions.stored(page, run.definition_id, run.definition_version)
    except (NotFoundError, ServiceError):
        return None
    content: dict[str, Any] = json.loads(found.content)
    return content


async def _places(
    page: Page, run: ledger_pb2.Run, trigger: dict[str, Any]
) -> list[routing_pb2.RoutingDecision]:
    """Return the decision that started the run, where an event did."""
    events = trigger.get("events") or []
    if len(events) != 1:
        return []
    found = await page.ledger.ask(
        page.ledger.routing.ListRoutingDecisions(
            routing_pb2.ListRoutingDecisionsRequest(
                namespace=page.namespace,
                event_id=events[0]["event_id"],
                source=events[0]["source"],
                definition_id=run.definition_id,
                page_size=_COPIES,
            )
        )
    )
    duplicate = routing_pb2.ROUTING_OUTCOME_DUPLICATE
    return [one for one in found.decisions if one.run_id == run.run_id and one.outcome != duplicate]


AREA = Area("runs", [get("runs", list_), get("run", show)], title="Runs")
