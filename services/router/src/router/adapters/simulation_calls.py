"""The call of `RouterService` that simulates a run on line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from backbone.router.v1 import router_pb2 as pb
from contracts import canonical, strictjson
from contracts.definitions import ActivityDefinition
from contracts.rejections import EventRejectedError
from contracts.simulations import LookedAt
from contracts.triggers import Trigger
from router.errors import (
    RequestInvalidError,
    SimulationsBusyError,
    StartRefusedError,
    TransientError,
)
from router.service.simulating import SimulationDesk
from runtime import identity, rpcerrors

M = TypeVar("M", bound=BaseModel)


class SimulationCalls:
    """Reads requests, calls the use case, tells the answers."""

    def __init__(self, desk: SimulationDesk) -> None:
        self._desk = desk

    async def simulate(self, request: pb.SimulateRunRequest) -> pb.SimulateRunResponse:
        """Say what a run would decide now, for the caller."""
        with _as_statuses():
            simulated = await self._desk.simulate(
                request.namespace,
                _model("definition", request.definition, ActivityDefinition),
                _model("trigger", request.trigger, Trigger),
                state=_state(request.state),
                actor=identity.current_identity().subject,
            )
        return pb.SimulateRunResponse(
            outcome=simulated.outcome.value,
            reason=simulated.reason,
            looked_at=[_looked_at(entry) for entry in simulated.looked_at],
            decision=(simulated.decision or "").encode(),
            state=(simulated.state or "").encode(),
        )


def _looked_at(entry: LookedAt) -> pb.LookedAt:
    return pb.LookedAt(
        name=entry.name,
        items=-1 if entry.items is None else entry.items,
        size=entry.size,
        sha256=entry.sha256,
        missing=entry.missing or "",
    )


def _model(name: str, raw: bytes, model: type[M]) -> M:
    _parsed(name, raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, error["loc"])) or "document"
        raise RequestInvalidError(f"{name}: {where}: {error['msg']}") from exc


def _state(raw: bytes) -> str | None:
    if not raw:
        return None
    state = _parsed("state", raw)
    if not isinstance(state, dict):
        raise RequestInvalidError("state is a JSON object")
    return canonical.render(state).decode()


def _parsed(name: str, raw: bytes) -> Any:
    try:
        return strictjson.parse(raw)
    except EventRejectedError as exc:
        raise RequestInvalidError(f"{name} is not JSON: {exc.detail}") from exc


@contextmanager
def _as_statuses() -> Iterator[None]:
    try:
        yield
    except (RequestInvalidError, StartRefusedError) as exc:
        raise rpcerrors.InvalidArgumentError(str(exc)) from exc
    except SimulationsBusyError as exc:
        raise rpcerrors.ResourceExhaustedError(str(exc)) from exc
    except TransientError as exc:
        raise rpcerrors.UnavailableError(str(exc)) from exc
