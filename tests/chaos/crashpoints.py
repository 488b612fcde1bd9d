"""Crash points: each fault point of the product, the process that has it, and what reaches it."""

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatch

import crashpoints_source as source
import pytest
import sampling

PROCESSES = (
    (r"eventstore\.\w+_settle_parked", "registry"),
    (r"eventstore\..*", "ledger"),
    (r"ledger\..*", "ledger"),
    (r"registry\..*", "registry"),
    (r"relay\..*", "outbox-relay"),
    (r"router\..*", "router"),
    (r"sdk\..*", "handlers"),
    (r"worker\..*", "orchestrator-worker"),
)
"""The supervised process that is armed with a point: the first whose pattern is all of its name."""

REACHED_BY = (
    # Processes that end, or that a user writes: the test runs them itself.
    (r"(registry|ledger)\.\w+_rebuild", "rebuild"),
    (r"sdk\.\w+_publish", "producer"),
    (r"sdk\.\w+_skip", "skip"),
    (r"sdk\.\w+_(http_call|start_definition)", "built_in"),
    (r"sdk\.\w+_(poll|inbox_commit|offset_commit|forget)", "consumer"),
    # What is judged by a test of its own.
    (r"\w+\.\w+_(wake|next_application|apply_to_instance|adopt_run)", "visited"),
    (r"worker\.\w+_(list_waiting|wake_instance)", "visited"),
    (r"\w+\.\w+_(keep_values|resolve_values|reveal_values)", "sensitive"),
    (r"ledger\.\w+_(erase_subject|rewrap_subject_keys)", "sensitive"),
    # What the supervised processes do not do for orders alone.
    (r"relay\.\w+_park|eventstore\.\w+_settle_parked", "too_large"),
    (r"eventstore\.\w+_republish", "republish"),
    (r"eventstore\.\w+_seal", "sealed"),
    (r"(ledger|worker)\.\w+_shadow(_decision)?", "shadowed"),
    (r"ledger\.\w+_((pause|resume|trigger)_schedule|skip_due_time)", "tended"),
    (r"(ledger|router)\.\w+_((throw|reset)_kill_switch|select_definitions)", "switched"),
    (r"worker\.\w+_find_kill_switch", "control"),
    (r"(ledger|worker)\.\w+(_schedule|acknowledge_runs)", "pulse"),
    (r"(ledger|worker)\.\w+_advance_task", "timed"),
    (r"ledger\.\w+_(cancel_run|retry_run|retry_task)", "control"),
    (r"(ledger|worker)\.\w+_(operations|close_execution|failure_handled)", "control"),
    (r"worker\.\w+_(list_executions|list_overdue|start_workflow|cancel_workflow)", "control"),
    (r"worker\.\w+_(describe_workflow|read_end|list_cut_short|read_beginning)", "control"),
    (r"(ledger|worker)\.\w+(_failure|_query|_change_task)", "by_hand"),
    (r"worker\.\w+_(http_get|get_last_run)", "by_hand"),
    (r"ledger\.\w+_redact_snapshot", "redacted"),
    (r"worker\.\w+_record_task_outcome", "by_hand"),
    (r"(router|ledger)\.\w+_(resolve_dead_letters|record_dead_letter_opening)", "discard"),
    (r"router\.\w+_publish_events", "posted"),
    (r"router\.\w+_(recall|remember)", "orders_slowly"),
    (r"\w+\.\w+_replay", "replayed"),
    (r"ledger\.\w+_backfill", "backfilled"),
    (r"\w+\.\w+_(claim_pending|confirm_pending|release_held)", "held"),
    (r"router\.\w+(get_definition|find_start)", "by_hand"),
    (r"registry\.\w+_record_(drift|repair)", "tampered"),
    (r"registry\..*", "pulse"),
    (r".*", "orders"),
)
"""The stimulus by which a point is reached: the first one whose pattern is all of its name."""

OF_A_RUN = (
    # Before the run there is, and beside it: the event's way to it, and the months of tables.
    r"(?!ledger\.\w+_record_routing|eventstore\.\w+_(make_months|drop_month|clear_default)).*",
    # Reached by other stimuli in other tests, and on the way of a run whose task fails as well.
    r"worker\.\w+_record_task_outcome",
    r"(ledger|worker)\.\w+_failure_handled",
    r"worker\.\w+_find_kill_switch",
)
"""What a run of automated tasks passes in ledger, worker and handlers: of what orders reach, the
points that match the first pattern; of the others, those that match any of the rest."""

SAMPLE = 11


@dataclass(frozen=True)
class CrashPoint:
    """A fault point, as it is crashed at."""

    name: str
    process: str
    stimulus: str

    def __str__(self) -> str:
        return self.name


def all_points() -> list[CrashPoint]:
    """Return every crash point, services taking turns, so that a process has rest between two."""
    names = sorted(point.name for point in source.points())
    turns: dict[str, int] = {}
    order = {}
    for name in names:
        service = name.partition(".")[0]
        turns[service] = turns.get(service, 0) + 1
        order[name] = turns[service]
    return [_point(name) for name in sorted(names, key=lambda name: (order[name], name))]


def _point(name: str) -> CrashPoint:
    process, stimulus = (
        next(word for pattern, word in table if re.fullmatch(pattern, name))
        for table in (PROCESSES, REACHED_BY)
    )
    return CrashPoint(name, process, stimulus)


def chosen(points: list[CrashPoint], asked: str, today: date) -> list[CrashPoint]:
    """Return `all`, a number of them or those of a name (`relay.*`); else today's sample.

    The sample is spread over all points and moves on from day to day, until it has been at each.
    """
    if asked == "all":
        return points
    if asked and not asked.isdigit():
        found = [point for point in points if fnmatch(point.name, asked)]
        assert found, f"no fault point is named {asked!r}"
        return found
    # By name, and so by service: points that take turns would fall into step with the sample.
    named = sorted(points, key=lambda point: point.name)
    return sampling.spread(named, int(asked or SAMPLE), today)


def of_a_run() -> list[CrashPoint]:
    """Return the points that a run of automated tasks passes, one of which fails."""
    ordinary, *others = OF_A_RUN
    return [
        point
        for point in all_points()
        if point.process in {"ledger", "orchestrator-worker", "handlers"}
        and (
            re.fullmatch(ordinary, point.name)
            if point.stimulus == "orders"
            else any(re.fullmatch(pattern, point.name) for pattern in others)
        )
    ]


def of(*stimuli: str) -> Callable[[Callable], Callable | None]:
    """Return what runs a test for each point to crash at of these stimuli.

    Without any there is no such test, rather than one that is skipped.
    """
    points = [point for point in to_crash_at() if point.stimulus in stimuli]
    return pytest.mark.parametrize("point", points, ids=str) if points else lambda _: None


@functools.cache
def to_crash_at() -> list[CrashPoint]:
    """Return the crash points of this session, as `BACKBONE_CRASHPOINTS` asks."""
    return chosen(all_points(), os.environ.get(sampling.ASKED, ""), sampling.today())
