"""What the definition language holds and this release does not carry out: the one list of it.

A definition that asks for it is refused, since a promise that nobody keeps is worse than none.
"""

from collections.abc import Iterator

from contracts.definitions import ActivityDefinition, Mode, Overlap, Schedule
from rules.problems import Problem

_OVERLAPS = frozenset({Overlap.SKIP, Overlap.ALLOW_ALL})


def not_carried_out(definition: ActivityDefinition) -> Iterator[Problem]:
    """Yield what a definition asks for in vain, in the order of its text."""
    spec = definition.spec
    if spec.mode is not Mode.PER_TRIGGER:
        yield _problem(
            "spec.mode", f"mode: {spec.mode}", "write per-trigger, which gives each cause its run"
        )
    for i, trigger in enumerate(spec.triggers):
        path = f"spec.triggers[{i}]"
        if trigger.schedule is not None:
            yield from _schedule(trigger.schedule, f"{path}.schedule")


def _schedule(schedule: Schedule, path: str) -> Iterator[Problem]:
    if schedule.calendars is not None:
        yield _problem(
            f"{path}.calendars", "calendars", "write cron, in several triggers if need be"
        )
    if schedule.exclusions:
        yield _problem(f"{path}.exclusions", "exclusions", "write the times that are due as cron")
    for name, moment in (("start", schedule.start), ("end", schedule.end)):
        if moment is not None:
            yield _problem(
                f"{path}.{name}",
                f"{name} of a schedule",
                "leave it out, and enable or disable the definition at that time",
            )
    if schedule.jitter is not None:
        yield _problem(f"{path}.jitter", "jitter", "leave it out, and choose an odd minute instead")
    if schedule.overlap not in _OVERLAPS:
        yield _problem(f"{path}.overlap", f"overlap: {schedule.overlap}", "write skip or allowAll")


def _problem(path: str, what: str, instead: str) -> Problem:
    return Problem(path, f"{what} is not carried out by this release; {instead}")
