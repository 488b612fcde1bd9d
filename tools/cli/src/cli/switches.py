"""`switches`: kill switches, which stop a namespace or some of its definitions at once."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from backbone.ledger.v1 import switches_pb2 as pb
from cli import documents
from cli.clients import Clients
from cli.errors import UsageError
from cli.output import Output
from cli.session import (
    LimitOption,
    NamespaceOption,
    OutputOption,
    ReasonOption,
    RequestIdOption,
    Session,
)
from cli.switch_calls import POINTS
from contracts import switches
from contracts.switches import Point

app = typer.Typer(
    help="Kill switches: stop what comes in, runs or effects, at once; and let them go on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_POINT_OF = {message: point for point, message in POINTS.items()}
_MOST = 1000

PointOption = Annotated[Point, typer.Option("--at", help="What is stopped.")]
LabelOption = Annotated[
    list[str],
    typer.Option(
        "--label", metavar="NAME=VALUE", help="Only definitions with it; again for more of them."
    ),
]
EverywhereOption = Annotated[
    bool,
    typer.Option("--all-namespaces", help="In each that is served and that you may ask for."),
]


@app.command()
def throw(
    context: typer.Context,
    *,
    point: PointOption,
    label: LabelOption = [],  # noqa: B006 - typer copies it
    everywhere: EverywhereOption = False,
    reason: ReasonOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Stop a namespace, or its definitions with all the labels, at a point."""
    session = Session(context, namespace=namespace, output=output)
    labels = _labels(label)
    if problem := switches.problem(point, labels):
        raise UsageError(problem)
    request = request_id or str(uuid.uuid4())

    async def work(clients: Clients) -> list[pb.KillSwitch]:
        return [
            await one.switches.throw(point, labels, request_id=request, reason=reason)
            for one in await _each(clients, everywhere=everywhere)
        ]

    _show(session.output, session.ask(work))


@app.command()
def reset(
    context: typer.Context,
    switch_id: Annotated[
        str | None, typer.Argument(metavar="[SWITCH]", help="As `list` shows it; or give --at.")
    ] = None,
    *,
    point: Annotated[
        Point | None, typer.Option("--at", help="All that are thrown at this point.")
    ] = None,
    label: LabelOption = [],  # noqa: B006 - typer copies it
    everywhere: EverywhereOption = False,
    reason: ReasonOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Let what a switch stopped go on: one by its id, or those of a point and these labels."""
    session = Session(context, namespace=namespace, output=output)
    if (switch_id is None) == (point is None):
        raise UsageError("switches reset takes either a SWITCH or --at POINT")
    if switch_id is not None and (label or everywhere):
        raise UsageError("--label and --all-namespaces go with --at")
    if point is not None and request_id is not None:
        raise UsageError("--request-id goes with a SWITCH: --at may be several requests")
    labels = _labels(label)

    async def work(clients: Clients) -> list[pb.KillSwitch]:
        done: list[pb.KillSwitch] = []
        for one in await _each(clients, everywhere=everywhere):
            chosen = [switch_id] if switch_id is not None else []
            if point is not None:
                thrown = await one.switches.page(with_reset=False, limit=_MOST)
                chosen = [
                    switch.switch_id
                    for switch in thrown
                    if switch.point == POINTS[point] and dict(switch.labels) == labels
                ]
            done += [
                await one.switches.reset(
                    each, request_id=request_id or str(uuid.uuid4()), reason=reason
                )
                for each in chosen
            ]
        return done

    _show(session.output, session.ask(work), none="no such kill switch is thrown")


@app.command("list")
def list_(
    context: typer.Context,
    *,
    with_reset: Annotated[bool, typer.Option("--all", help="Those that were reset too.")] = False,
    everywhere: EverywhereOption = False,
    limit: LimitOption = 100,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List kill switches, the newest first."""
    session = Session(context, namespace=namespace, output=output)

    async def work(clients: Clients) -> list[pb.KillSwitch]:
        return [
            switch
            for one in await _each(clients, everywhere=everywhere)
            for switch in await one.switches.page(with_reset=with_reset, limit=limit)
        ]

    _show(session.output, session.ask(work), none="no kill switch is thrown")


async def _each(clients: Clients, *, everywhere: bool) -> Sequence[Clients]:
    if not everywhere:
        return [clients]
    return [clients.of(namespace) for namespace in await clients.switches.namespaces()]


def _labels(words: Sequence[str]) -> dict[str, str]:
    try:
        return switches.labels(words)
    except ValueError as exc:
        raise UsageError(f"--label: {exc}") from exc


def _show(out: Output, found: Sequence[pb.KillSwitch], *, none: str = "nothing") -> None:
    out.rows(
        [_document(one) for one in found],
        [
            ("SWITCH", "switch_id"),
            ("NAMESPACE", "namespace"),
            ("AT", "point"),
            ("LABELS", "labels"),
            ("DEFINITIONS", "definitions"),
            ("THROWN", "thrown_at"),
            ("BY", "thrown_by"),
            ("WHY", "reason"),
            ("RESET", "reset_at"),
        ],
        none=none,
    )


def _document(one: pb.KillSwitch) -> Mapping[str, Any]:
    is_reset = one.HasField("reset_at")
    return {
        "switch_id": one.switch_id,
        "namespace": one.namespace,
        "point": _POINT_OF.get(one.point, "unknown"),
        "labels": dict(one.labels),
        # None: all of the namespace, or no router has told yet.
        "definitions": one.definitions if one.selected and not is_reset else None,
        "thrown_at": documents.instant(one.thrown_at),
        "thrown_by": one.thrown_by,
        "reason": one.reason,
        "reset_at": documents.instant(one.reset_at) if is_reset else None,
        "reset_by": one.reset_by or None,
        "reset_reason": one.reset_reason or None,
    }
