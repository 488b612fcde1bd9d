"""`schedules list`, `show` and `drift`: whether what is applied is what wakes definitions."""

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from backbone.ledger.v1 import schedules_pb2 as ledger_pb2
from backbone.registry.v1 import registry_pb2
from backbone.registry.v1 import schedules_pb2 as registry_schedules_pb2
from cli import documents, schedule_documents
from cli.clients import Clients
from cli.errors import CliError, NotFoundError
from cli.output import Output
from cli.session import LimitOption, NamespaceOption, OutputOption, Session


class State(StrEnum):
    """How far a definition's schedules are in force."""

    ACTIVE = "active"
    PAUSED = "paused"
    PENDING = "pending"
    REFUSED = "refused"
    DRIFTED = "drifted"


def list_(
    context: typer.Context,
    *,
    state: Annotated[State | None, typer.Option("--state", help="Only in this one.")] = None,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List the definitions that have schedules, by id, and how far these are in force."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(
        lambda clients: clients.schedule_states.page(state=state or "unspecified", limit=limit)
    )
    session.output.rows(
        [schedule_documents.schedule(one) for one in found],
        [
            ("DEFINITION", "definition_id"),
            ("STATE", "state"),
            ("VERSION", "version"),
            ("REVISION", "revision"),
            ("HANDED ON", "attempted_at"),
            ("WHY", "detail"),
        ],
        none=f"no such schedules in namespace {session.namespace}",
    )


def show(
    context: typer.Context,
    definition_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show a definition's schedules: as they stand in Temporal, when it is due, what is held."""
    session = Session(context, namespace=namespace, output=output)

    async def both(
        clients: Clients,
    ) -> tuple[registry_schedules_pb2.GetScheduleResponse, ledger_pb2.ScheduleState | None]:
        return await asyncio.gather(
            clients.schedule_states.get(definition_id), _account(clients, definition_id)
        )

    answer, state = session.ask(both)
    account = None if state is None else schedule_documents.account(state)
    found = schedule_documents.in_full(answer)
    out = session.output
    if out.json:
        out.document({**found, "account": account})
        return
    reconciler = found["reconciler"] or {}
    out.fields(
        {**found, **reconciler},
        [
            ("definition", "definition_id"),
            ("state", "state"),
            ("why", "detail"),
            ("version", "version"),
            ("revision", "revision"),
            ("handed on", "attempted_at"),
            ("compared", "compared_at"),
            ("leader", "leader"),
            ("next due", "next_due"),
        ],
    )
    if account is not None:
        out.heading("in the ledger")
        _tell_account(out, account)
    out.heading("in Temporal")
    for path, value in sorted((found["found"] or {}).items()):
        out.text(f"{path} = {value}")
    if not found["found"]:
        out.text("nothing", style="dim")
    if found["differences"]:
        out.heading("differs")
        for one in found["differences"]:
            out.text(_sentence(one))
    if found["drifts"]:
        out.heading("changed by hand")
        for one in found["drifts"]:
            _tell_drift(out, one)


def drift(
    context: typer.Context,
    *,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=50, help="So many recent repairs at most.")
    ] = 10,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List what differs now, and what was put back lately; fail if anything differs."""
    session = Session(context, namespace=namespace, output=output)

    async def both(
        clients: Clients,
    ) -> tuple[registry_pb2.GetDriftResponse, registry_schedules_pb2.ListScheduleDriftsResponse]:
        return await asyncio.gather(
            clients.registry.drift(), clients.schedule_states.drifts(limit=limit)
        )

    now, recorded = session.ask(both)
    drifts = [documents.drift(one) for one in now.drifts]
    repairs = [schedule_documents.drift(one) for one in recorded.drifts]
    if session.output.json:
        session.output.document(
            {
                "drifts": drifts,
                "scheduled_definitions": now.scheduled_definitions,
                "recorded": repairs,
                "reconciler": schedule_documents.reconciler(recorded.reconciler)
                if recorded.HasField("reconciler")
                else None,
            }
        )
    else:
        session.output.rows(
            drifts,
            [
                ("DEFINITION", "definition_id"),
                ("DRIFT", "drift"),
                ("WHAT", "detail"),
                ("REVISION", "revision"),
                ("TRIED", "attempted_at"),
            ],
            none=f"no drift: {now.scheduled_definitions} definitions with schedules are as applied",
        )
        if repairs:
            session.output.heading("changed by hand lately")
        for one in repairs:
            _tell_drift(session.output, one)
    differing = {one["definition_id"] for one in drifts} | {
        one["definition_id"] for one in repairs if one["repaired_at"] is None
    }
    if differing:
        raise CliError(
            f"{len(differing)} {'definition is' if len(differing) == 1 else 'definitions are'} not "
            f"as applied, with {now.scheduled_definitions} that have schedules"
        )


async def _account(clients: Clients, definition_id: str) -> ledger_pb2.ScheduleState | None:
    """Return what the ledger knows; None when it was told of none."""
    try:
        return await clients.schedules.get(definition_id)
    except NotFoundError:
        return None


def _tell_drift(output: Output, one: Mapping[str, Any]) -> None:
    end = f"put back {one['repaired_at']}" if one["repaired_at"] else "not put back yet"
    output.text(f"{one['definition_id']} {one['drift']}, found {one['found_at']}, {end}")
    for difference in one["differences"]:
        output.text(f"  {_sentence(difference)}", style="dim")


def _sentence(difference: Mapping[str, Any]) -> str:
    wanted, found = (
        "nothing" if difference[side] is None else difference[side] for side in ("wanted", "found")
    )
    return f"{difference['path']}: {found} instead of {wanted}"


def tell_account(output: Output, message: ledger_pb2.ScheduleState) -> None:
    """Print what the ledger knows of a definition's schedules."""
    account = schedule_documents.account(message)
    if output.json:
        output.document(account)
    else:
        _tell_account(output, account)


def _tell_account(output: Output, state: Mapping[str, Any]) -> None:
    pause = state["pause"]
    shown: dict[str, Any] = {
        **state,
        "definition": f"{state['definition_id']} version {state['definition_version']}",
        "paused": pause
        and f"since {pause['paused_at']} by {pause['paused_by']}: {pause['reason']}",
        "waiting": state["waiting"] or None,
        "skipped": ", ".join(
            f"{one['due_at']} by {one['actor']} ({one['reason']})" for one in state["skips"]
        )
        or None,
        "open": ", ".join(state["open_run_ids"]) or None,
    }
    output.fields(
        shown,
        [
            ("definition", "definition"),
            ("triggers", "trigger_names"),
            ("enabled", "enabled"),
            ("paused", "paused"),
            ("covered until", "covered_until"),
            ("next", "next_at"),
            ("skipped", "skipped"),
            ("waiting", "waiting"),
            ("open runs", "open"),
        ],
    )
