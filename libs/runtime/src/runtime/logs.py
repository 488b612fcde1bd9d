"""Structured logs on standard error: one JSON object a line, or text for a person's terminal.

Log events, not prose: a stable message and ids as fields. What is logged within a trace has its id,
and what is logged within `bound` has the ids that are bound, libraries' lines too. Values of fields
whose names speak of secrets are masked. What may quote somebody's data is in a field `quoted`:
where data is encrypted at rest it is masked too, and of an exception only its type and its frames
are told.
"""

import logging
import re
import sys
import traceback
from contextlib import AbstractContextManager
from typing import Any

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, ExcInfo, WrappedLogger

_SECRET = re.compile(r"password|secret|token|dsn|private_key|authorization", re.IGNORECASE)


def setup(
    *, service: str, level: str = "info", as_json: bool | None = None, confidential: bool = False
) -> None:
    """Configure logging of the process. JSON unless standard error is a terminal.

    `confidential` leaves out what may quote the data that the process works with.
    """
    if as_json is None:
        as_json = not sys.stderr.isatty()
    threshold = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        traced,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mask_all if confidential else _mask,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                (
                    structlog.processors.ExceptionRenderer(without_texts)
                    if confidential
                    else structlog.processors.format_exc_info
                ),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    # Their information is about their own machinery; their warnings are worth reading.
    for noisy in ("temporalio", "faststream", "uvicorn", "yoyo", "asyncio"):
        logging.getLogger(noisy).setLevel(max(threshold, logging.WARNING))
    # Whoever asks a pool for a connection tells that there is none; this adds only a traceback.
    logging.getLogger("asyncpg.pool").setLevel(max(threshold, logging.ERROR))
    structlog.contextvars.bind_contextvars(service=service)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def bound(**ids: str | None) -> AbstractContextManager[None]:
    """Give every line that the body logs these fields; None and empty ones are left out."""
    known = {name: value for name, value in ids.items() if value}
    return structlog.contextvars.bound_contextvars(**known)


def traced(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the ids of the current span to a line."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = trace.format_trace_id(span.trace_id)
        event["span_id"] = trace.format_span_id(span.span_id)
    return event


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    masked: dict[str, Any] = {
        name: "***" if _SECRET.search(name) else value for name, value in event.items()
    }
    return masked


def _mask_all(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    masked = _mask(logger, method, event)
    if "quoted" in masked:
        masked["quoted"] = "***"
    return masked


def without_texts(exc_info: ExcInfo) -> str:
    """Return the types and frames of an exception and of what led to it, and none of its texts."""
    told: list[str] = []
    seen: set[int] = set()
    exc: BaseException | None = exc_info[1]
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        frames = "".join(traceback.format_tb(exc.__traceback__))
        told.append(f"{frames}{type(exc).__module__}.{type(exc).__qualname__}")
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    return "\nfrom\n".join(told)
