"""Turns what a use case raises into what Temporal needs to know: try again, or never."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from orchestrator_worker.errors import PermanentError, TransientError
from runtime import logs

_log = logs.get_logger(__name__)


@contextmanager
def told_to_temporal(**ids: str) -> Iterator[None]:
    """Raise a permanent error as non-retryable; everything else is tried again.

    `ids` are in every line that is logged meanwhile.

    An error that nobody foresaw is tried again too: a run that waits for a repaired release is
    found by its age, one that was given up is lost.
    """
    with logs.bound(**ids):
        try:
            yield
        except PermanentError as exc:
            raise ApplicationError(str(exc), type=_name(exc), non_retryable=True) from exc
        except TransientError as exc:
            _log.warning("neighbour_awaited", reason=str(exc))
            # Benign and without its cause: Temporal would log every attempt of an outage with a
            # traceback, and keep the traceback in its database.
            raise ApplicationError(
                str(exc), type=_name(exc), category=ApplicationErrorCategory.BENIGN
            ) from None


def _name(exc: Exception) -> str:
    return type(exc).__name__.removesuffix("Error")
