"""Structured logs on standard error: one JSON object a line, or text for a person's terminal.

Log events, not prose: a stable message and ids as fields. Values of fields whose names speak of
secrets are masked.
"""

import logging
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

_SECRET = re.compile(r"password|secret|token|dsn|private_key|authorization", re.IGNORECASE)


def setup(*, service: str, level: str = "info", as_json: bool | None = None) -> None:
    """Configure logging of the process. JSON unless standard error is a terminal."""
    if as_json is None:
        as_json = not sys.stderr.isatty()
    threshold = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mask,
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
                structlog.processors.format_exc_info,
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


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    masked: dict[str, Any] = {
        name: "***" if _SECRET.search(name) else value for name, value in event.items()
    }
    return masked
