"""Starts runs by hand, for people and services."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from contracts import identifiers, sensitive, strictjson
from contracts.envelope import MAX_EVENT_BYTES, MAX_HOPS
from contracts.rejections import EventRejectedError
from contracts.runs import RunInput
from contracts.triggers import Chain, Trigger, TriggerKind
from router.domain import manual
from router.domain.routing import Active
from router.errors import (
    DefinitionDisabledError,
    RequestIdReusedError,
    RequestInvalidError,
    RunsHaltedError,
    TooManyHopsError,
)
from router.ports import ActiveDefinitions, WorkflowStarter
from router.service.kill_switches import KillSwitches


@dataclass(frozen=True)
class ManualStart:
    """What became of a start by hand; `started` is False for a repeated request."""

    run_id: str
    definition_version: int
    started: bool


class ManualTrigger:
    """Starts runs for people and services."""

    def __init__(
        self,
        *,
        definitions: ActiveDefinitions,
        starter: WorkflowStarter,
        switches: Mapping[str, KillSwitches],
    ) -> None:
        """`switches` are those of each namespace that is served."""
        self._switches = switches
        self._definitions = definitions
        self._starter = starter

    async def trigger(
        self,
        *,
        namespace: str,
        definition_id: str,
        request_id: str,
        input_json: bytes,
        actor: str,
        reason: str,
        chain: Chain | None = None,
    ) -> ManualStart:
        """Start a run of the version in use; the same request id is the same run.

        `chain` is what a start by a task goes on with.

        Raises:
            RequestInvalidError: an id is malformed, the namespace is not served here, or the input
                is not JSON of at most 256 KiB, or not what the definition's manual triggers take.
            TooManyHopsError: definitions seem to start one another.
            DefinitionUnknownError: there is no such definition, or it is retired.
            DefinitionDisabledError: the definition is disabled.
            RunsHaltedError: a kill switch stops its runs.
            DefinitionUnusableError: this release cannot read the definition.
            RequestIdReusedError: the request id started a run with another input.
            StartRefusedError: Temporal refuses the start.
            TransientError: try again, with the same request id.
        """
        if chain is not None and chain.hops > MAX_HOPS:
            raise TooManyHopsError(f"{chain.hops} hops: definitions seem to start one another")
        value = _manual_input(input_json)
        try:
            key = identifiers.manual_trigger_key(request_id)
            run_id = identifiers.run_id(definition_id, key)
            self._definitions.index(namespace)
        except ValueError as exc:
            raise RequestInvalidError(str(exc)) from exc
        except KeyError as exc:
            raise RequestInvalidError(f"namespace {namespace!r} is not served here") from exc
        definition = await self._definitions.latest(namespace, definition_id)
        try:
            names = manual.triggers(definition, value)
            self._refuse_halted(namespace, definition)
        except (DefinitionDisabledError, RequestInvalidError, RunsHaltedError):
            # A request that is repeated is answered by what it started when it still could.
            earlier = await self._earlier(namespace, run_id, value)
            if earlier is None:
                raise
            return earlier
        trigger = Trigger(
            kind=TriggerKind.MANUAL,
            names=names,
            definition_version=definition.version,
            request_id=request_id,
            input=value,
            actor=actor,
            reason=reason or None,
            chain=chain,
        )
        run = _run(namespace, definition, trigger)
        started = await self._starter.start(run, task_queue=definition.task_queue)
        if not started:
            earlier = await self._earlier(namespace, run_id, value)
            if earlier is not None:
                return earlier
        return ManualStart(run_id, definition.version, started=started)

    def _refuse_halted(self, namespace: str, definition: Active) -> None:
        switches = self._switches[namespace]
        switches.require_known()
        switch = switches.run(definition)
        if switch is not None:
            raise RunsHaltedError(switch.told)

    async def _earlier(self, namespace: str, run_id: str, value: JsonValue) -> ManualStart | None:
        earlier = await self._starter.started(namespace, run_id)
        if earlier is None:
            return None
        if earlier.trigger.input != value:
            raise RequestIdReusedError(
                f"request id {earlier.trigger.request_id!r} has started a run with another input"
            )
        return ManualStart(run_id, earlier.trigger.definition_version, started=False)


def _run(namespace: str, definition: Active, trigger: Trigger) -> RunInput:
    return RunInput(
        namespace=namespace,
        run_id=identifiers.run_id(definition.definition_id, trigger.key),
        definition_id=definition.definition_id,
        trigger=trigger,
    )


def _manual_input(input_json: bytes) -> JsonValue:
    if not input_json:
        return None
    if len(input_json) > MAX_EVENT_BYTES:
        raise RequestInvalidError(
            f"the input has {len(input_json)} bytes, more than the {MAX_EVENT_BYTES} that are taken"
        )
    try:
        value: JsonValue = strictjson.parse(input_json)
    except EventRejectedError as exc:
        raise RequestInvalidError(f"the input is not JSON: {exc.detail}") from exc
    if sensitive.has_mark(value):
        raise RequestInvalidError(f"the input has the name {sensitive.MARK!r}, which is reserved")
    return value
