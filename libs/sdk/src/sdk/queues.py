"""Which handlers a worker serves on which task queues, and what cannot be."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from contracts import identifiers, names
from contracts.catalogue import Catalogue
from runtime.errors import ConfigurationError
from sdk.errors import HandlerDefinitionError
from sdk.handlers import Handler


def given(
    handlers: Sequence[Handler[Any]] | None,
    task_queue: str | None,
    queues: Mapping[str, Sequence[Handler[Any]]] | None,
) -> dict[str, list[Handler[Any]]]:
    """Return the handlers by queue, from either form in which a user says it.

    Raises:
        HandlerDefinitionError: it cannot be served so.
    """
    if (queues is None) == (handlers is None and task_queue is None):
        raise HandlerDefinitionError("give a worker handlers and task_queue, or queues")
    if queues is None:
        if handlers is None or task_queue is None:
            raise HandlerDefinitionError("handlers and task_queue go together")
        queues = {task_queue: handlers}
    if not queues:
        raise HandlerDefinitionError("a worker needs at least one task queue")
    for queue, served in queues.items():
        _check(queue, served)
    return {queue: list(served) for queue, served in queues.items()}


def check_listed(queues: Mapping[str, Sequence[Handler[Any]]], catalogue: Catalogue) -> None:
    """Return when the operator's catalogue has the handlers on these queues.

    A queue that is misspelled in one place only is a queue on which nobody serves what waits.

    Raises:
        ConfigurationError: a handler is not in it, or on another queue. One that lists no handlers
            says nothing.
    """
    if catalogue.handlers is None:
        return
    for queue, served in queues.items():
        for handler in served:
            listed = catalogue.handlers.get(handler.name)
            if listed is None:
                raise ConfigurationError(
                    f"handler {handler.name} is not in the catalogue: no definition can name it"
                )
            if listed.task_queue != queue:
                raise ConfigurationError(
                    f"handler {handler.name} would be served on {queue}, "
                    f"but the catalogue has it on {listed.task_queue}"
                )


def _check(queue: str, served: Sequence[Handler[Any]]) -> None:
    handlers = [handler.name for handler in served]
    if not handlers:
        raise HandlerDefinitionError("a worker needs at least one handler")
    twice = sorted({name for name in handlers if handlers.count(name) > 1})
    if twice:
        raise HandlerDefinitionError(f"handlers share a name: {', '.join(twice)}")
    if not re.fullmatch(identifiers.TASK_QUEUE_PATTERN, queue):
        raise HandlerDefinitionError(f"not a task queue's name: {queue!r} (name-tq)")
    if queue in names.OWN_TASK_QUEUES:
        raise HandlerDefinitionError(f"{queue} is Backbone's own; give your queue another name")
    limited = [handler.name for handler in served if handler.limits]
    if limited and len(handlers) > 1:
        raise HandlerDefinitionError(
            f"handler {limited[0]} has limits, and the others of {queue} would wait with it: "
            f'serve it alone, queues={{..., "{limited[0].replace("_", "-")}-tq": [...]}}'
        )
