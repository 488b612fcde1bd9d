"""The definition's last run as its rules see it: times are RFC 3339 text in UTC."""

from typing import Any

from contracts import identifiers
from contracts.runs import LastRun


def document(last: LastRun) -> dict[str, Any]:
    """Return the fields of a run; those that it does not have are null."""
    window = last.window
    return {
        "run_id": last.run_id,
        "definition_version": last.definition_version,
        "status": last.status.value,
        "trigger_kind": last.trigger_kind,
        "scheduled_for": None
        if last.scheduled_for is None
        else identifiers.instant(last.scheduled_for),
        "window": None
        if window is None
        else {
            "start": identifiers.instant(window.start),
            "end": identifiers.instant(window.end),
        },
        "recorded_at": identifiers.instant(last.recorded_at),
        "closed_at": None if last.closed_at is None else identifiers.instant(last.closed_at),
    }
