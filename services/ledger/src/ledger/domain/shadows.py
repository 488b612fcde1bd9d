"""Shadows: versions that decide beside the one that counts, and what they made of runs."""

from dataclasses import dataclass
from datetime import datetime

from contracts.shadows import ShadowOutcome


@dataclass(frozen=True)
class NewShadow:
    """A shadow as it is asked for; `content` is the definition's canonical JSON."""

    shadow_id: str
    definition_id: str
    definition_version: int
    content: bytes
    max_runs: int
    expires_at: datetime
    started_by: str
    reason: str


@dataclass(frozen=True)
class Shadow:
    """A shadow as it stands; `active` says whether it decides what is recorded now."""

    namespace: str
    shadow_id: str
    definition_id: str
    definition_version: int
    content: bytes
    max_runs: int
    decided: int
    started_at: datetime
    started_by: str
    reason: str
    expires_at: datetime
    stopped_at: datetime | None
    stopped_by: str | None
    stop_reason: str | None
    active: bool


@dataclass(frozen=True)
class ShadowDecision:
    """What a shadow made of a run: a decision (canonical JSON), or the reason for none."""

    run_id: str
    outcome: ShadowOutcome
    reason: str
    decision: bytes | None
