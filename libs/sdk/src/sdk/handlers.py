"""Handlers: async functions that carry out tasks, with their input checked before they run.

A task may be tried more than once (a worker can die after its effect and before its record), so an
effect on the outside uses `TaskContext.task_id` as its idempotency key.
"""

import inspect
import json
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError
from structlog.stdlib import BoundLogger

from contracts import canonical, identifiers
from contracts.runs import MAX_OUTPUT_BYTES
from contracts.triggers import Chain
from runtime import logs
from sdk.errors import HandlerDefinitionError, InvalidInputError, OutputError

InputT = TypeVar("InputT", bound=BaseModel)
Output = BaseModel | Mapping[str, Any] | None


def _no_heartbeat(*_details: Any) -> None:
    return None


@dataclass(frozen=True)
class TaskContext:
    """Which task this is, and which attempt at it (counted from 1)."""

    task_id: UUID
    run_id: str
    definition_id: str
    namespace: str
    attempt: int
    first_due: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When the task was first given to its queue: the same for each attempt, unless it is retried
    by hand."""
    chain: Chain | None = None
    """What the task's run goes on with."""
    logger: BoundLogger = field(default_factory=lambda: logs.get_logger("sdk.task"))
    _heartbeat: Callable[..., None] = _no_heartbeat

    @property
    def idempotency_key(self) -> str:
        """The task's id as text: give it to whatever you call, so that it acts once."""
        return str(self.task_id)

    def heartbeat(self, *details: Any) -> None:
        """Say that the handler is alive, which is also how it learns of a cancellation."""
        self._heartbeat(*details)


@dataclass(frozen=True)
class Limits:
    """How much of a handler is carried out; what is over it waits on its task queue."""

    max_concurrency: int | None = None
    rate_per_second: float | None = None

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return self.max_concurrency is not None or self.rate_per_second is not None


@dataclass(frozen=True)
class Handler(Generic[InputT]):
    """A handler by its name: what definitions call it. It can still be called like its function."""

    name: str
    input_type: type[InputT]
    function: Callable[[InputT, TaskContext], Awaitable[Output]]
    limits: Limits = Limits()

    async def __call__(self, task_input: InputT, context: TaskContext) -> Output:
        """Call the function as it was written."""
        return await self.function(task_input, context)

    async def run(self, raw_input: Mapping[str, Any], context: TaskContext) -> Any:
        """Check the input, run the function and return its output as a JSON value.

        Raises:
            InvalidInputError: the input is not what the handler takes.
            OutputError: the output is not JSON, or larger than 256 KiB.
        """
        try:
            task_input = self.input_type.model_validate_json(json.dumps(raw_input))
        except ValidationError as exc:
            problems = "; ".join(
                f"{'.'.join(map(str, error['loc'])) or 'input'}: {error['msg']}"
                for error in exc.errors(include_url=False, include_input=False)[:5]
            )
            raise InvalidInputError(f"{self.name} cannot take its input: {problems}") from exc
        return _json(self.name, await self.function(task_input, context))


def task_handler(
    name: str, *, max_concurrency: int | None = None, rate_per_second: float | None = None
) -> Callable[[Callable[[InputT, TaskContext], Awaitable[Output]]], Handler[InputT]]:
    """Make an async function `(input: Model, context: TaskContext)` the handler called `name`.

    It returns a Pydantic model, a dict or None. To fail for good it raises `PermanentError`; any
    other exception is tried again as the definition's `retry` says.

    `max_concurrency` is how many run at once in one worker and namespace, `rate_per_second` how
    many begin in all workers of a namespace. A handler with limits needs a task queue of its own:
    tasks wait there, so that waiting costs no attempt its time and no other handler its place.

    Raises:
        HandlerDefinitionError: the name, the limits or the function do not look like that.
    """
    limits = Limits(max_concurrency, rate_per_second)
    if (max_concurrency is not None and max_concurrency < 1) or (
        rate_per_second is not None and rate_per_second <= 0
    ):
        raise HandlerDefinitionError(f"handler {name}: a limit is above zero")
    if not re.fullmatch(identifiers.NAME_PATTERN, name) or len(name) > 63:
        raise HandlerDefinitionError(
            f"{name!r} is not a handler's name: lower case letters, digits, - and _"
        )

    def decorate(
        function: Callable[[InputT, TaskContext], Awaitable[Output]],
    ) -> Handler[InputT]:
        input_type = _input_type(name, function)
        return Handler(name=name, input_type=input_type, function=function, limits=limits)

    return decorate


def _input_type(name: str, function: Callable[..., Any]) -> Any:
    if not inspect.iscoroutinefunction(function):
        raise HandlerDefinitionError(f"handler {name}: write it as `async def`")
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) != 2:
        raise HandlerDefinitionError(
            f"handler {name}: it takes the input and the context, not {len(parameters)} arguments"
        )
    try:
        annotation = typing.get_type_hints(function).get(parameters[0])
    except NameError as exc:
        raise HandlerDefinitionError(
            f"handler {name}: {exc}; define it before the handler"
        ) from exc
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise HandlerDefinitionError(
            f"handler {name}: annotate {parameters[0]!r} with the Pydantic model of the input"
        )
    return annotation


def _json(name: str, output: Any) -> Any:
    if isinstance(output, BaseModel):
        output = output.model_dump(mode="json", by_alias=True)
    if output is not None and not isinstance(output, Mapping):
        raise OutputError(
            f"{name} returned {type(output).__name__}; return a Pydantic model, a dict or None"
        )
    try:
        rendered = canonical.render(output)
    except ValueError as exc:
        raise OutputError(f"{name} returned what is not JSON: {exc}") from exc
    if len(rendered) > MAX_OUTPUT_BYTES:
        raise OutputError(
            f"{name} returned {len(rendered)} bytes, more than the {MAX_OUTPUT_BYTES} that are "
            "kept; store it elsewhere and return a reference"
        )
    return output
