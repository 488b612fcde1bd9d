"""Tests of a definition's schedules without a server: the evaluator, the policy and a fake clock.

definition = ActivityDefinition.model_validate(document)
rehearsal = schedules.Rehearsal(definition, at=monday)
rehearsal.fall_asleep()                       # Temporal is away
rehearsal.pass_until(monday + timedelta(hours=3))
rehearsal.wake()                              # and back
assert [one.row.outcome for one in rehearsal.happened] == ["coalesced", "coalesced", "run"]

`backbone test` does the same for YAML files. Needs the extra `sdk[testing]`.
"""

from contracts.definitions import ActivityDefinition, Schedule
from contracts.scheduletests import Case, ScheduleTest
from rules.policy import DueOutcome, DueRow
from rules.rehearsal_verdicts import differences
from rules.rehearsals import Happened, Rehearsal, rehearse
from rules.schedules import due_times, next_due

__all__ = [
    "ActivityDefinition",
    "Case",
    "DueOutcome",
    "DueRow",
    "Happened",
    "Rehearsal",
    "Schedule",
    "ScheduleTest",
    "differences",
    "due_times",
    "next_due",
    "rehearse",
]
