"""Tests of a definition's schedules: given these outages, these runs are expected.

A test is a YAML file beside its definition. It needs no service: a fake clock passes over the time.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.durations import Duration
from contracts.resources import Instant, Model, Name
from contracts.triggers import Window

MAX_TESTS = 100
"""Of one file."""


class Away(StrEnum):
    """What is away: nothing is taken up without it."""

    TEMPORAL = "temporal"
    WORKERS = "workers"
    LEDGER = "ledger"


class Stretch(Model):
    """A stretch of time `[from, to)`."""

    from_: Instant = Field(alias="from")
    to: Instant

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.from_ >= self.to:
            raise ValueError("from is earlier than to")
        return self


class Outage(Stretch):
    """A stretch in which something is away; what was due is taken up when it is back."""

    of: Away


class Situation(Model):
    """What happens while the time passes."""

    outages: Annotated[list[Outage], Field(max_length=50)] = Field(default_factory=list)
    disabled: Annotated[list[Stretch], Field(max_length=50)] = Field(
        default_factory=list, description="When the definition is disabled."
    )
    created_at: Instant | None = Field(
        None, description="When its wake-ups are first there, if later than `from`."
    )
    runs_last: Duration | None = Field(
        None, description="How long each run is open; a run ends at once if left out."
    )


class ExpectedRun(Model):
    """A run; what is left out is not looked at."""

    due: Instant
    started_at: Instant | None = None
    triggers: list[Name] | None = None
    window: Window | None = None
    coalesced: list[Instant] | None = Field(
        None, description="The due times it stands for besides its own."
    )


class Unrun(StrEnum):
    """What becomes of a due time that is no run of its own."""

    COALESCED = "coalesced"
    WAITING = "waiting"
    OVERLAPPED = "overlapped"
    SKIPPED = "skipped"
    DROPPED = "dropped"
    DISABLED = "disabled"


class ExpectedOutcome(Model):
    """What becomes of a due time that is no run of its own."""

    due: Instant
    outcome: Unrun


class Counts(Model):
    """How many due times end how; what is left out is not looked at."""

    run: int | None = Field(None, ge=0)
    coalesced: int | None = Field(None, ge=0)
    waiting: int | None = Field(None, ge=0)
    overlapped: int | None = Field(None, ge=0)
    skipped: int | None = Field(None, ge=0)
    dropped: int | None = Field(None, ge=0)
    disabled: int | None = Field(None, ge=0)


class Expectation(Model):
    """What is expected: each list is complete, or left out."""

    runs: list[ExpectedRun] | None = None
    outcomes: list[ExpectedOutcome] | None = None
    counts: Counts | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.runs is None and self.outcomes is None and self.counts is None:
            raise ValueError("a test expects runs, outcomes or counts")
        return self


class Case(Model):
    """One test: the definition is in force from `from`, and the time passes to `until`."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    from_: Instant = Field(alias="from")
    until: Instant
    given: Situation = Situation()
    expect: Expectation

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if not timedelta(0) < self.until - self.from_ <= timedelta(days=3660):
            raise ValueError("until is later than from, by at most ten years")
        return self


class ScheduleTest(Model):
    """Tests of the schedules of one definition."""

    api_version: Literal["backbone/v1"]
    kind: Literal["ScheduleTest"]
    definition: Annotated[str, Field(min_length=1, max_length=500)] = Field(
        description="The definition's file, beside this one: nightly-report.yaml."
    )
    tests: Annotated[list[Case], Field(min_length=1, max_length=MAX_TESTS)]
