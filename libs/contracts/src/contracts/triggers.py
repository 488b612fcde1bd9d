"""Why a run is there: all it needs to know of its cause, pinned when the cause was matched."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from contracts import identifiers
from contracts.envelope import Envelope
from contracts.identifiers import TriggerKey


class TriggerKind(StrEnum):
    """The kinds of cause."""

    EVENT = "event"
    SCHEDULE = "schedule"
    MANUAL = "manual"


class Window(BaseModel):
    """A stretch of time, `(start, end]`, that a scheduled run stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: AwareDatetime
    end: AwareDatetime


class Trigger(BaseModel):
    """The cause of one run. `names` are the definition's triggers that matched it."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Trigger")

    kind: TriggerKind
    names: list[str] = Field(default_factory=list)
    definition_version: int = Field(ge=1, description="The run uses exactly this version.")
    events: list[Envelope] = Field(default_factory=list, max_length=1)
    scheduled_for: AwareDatetime | None = None
    window: Window | None = None
    coalesced: list[AwareDatetime] = Field(
        default_factory=list, description="The due times a compressed run stands for."
    )
    request_id: Annotated[str, Field(pattern=identifiers.REQUEST_ID_PATTERN)] | None = None
    input: JsonValue = Field(None, description="What a person gave with a start by hand.")
    actor: str | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = {
            TriggerKind.EVENT: not self.events,
            TriggerKind.SCHEDULE: self.scheduled_for is None or self.window is None,
            TriggerKind.MANUAL: self.request_id is None,
        }
        if missing[self.kind]:
            raise ValueError(f"a trigger of kind {self.kind} lacks what identifies it")
        return self

    @property
    def key(self) -> TriggerKey:
        """The trigger key: with the definition's id, the identity of the run."""
        if self.kind is TriggerKind.EVENT:
            return identifiers.event_trigger_key(self.events[0].source, self.events[0].event_id)
        if self.scheduled_for is not None:
            return identifiers.schedule_trigger_key(self.scheduled_for)
        return identifiers.manual_trigger_key(self.request_id or "")

    @property
    def traceparent(self) -> str | None:
        """The trace context of the first event, when there is one."""
        return self.events[0].traceparent if self.events else None
