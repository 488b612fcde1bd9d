"""Simulations on line: what a run would decide over what is there now, without effect or record."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from contracts.runs import RunInput

LOOKUP_TIMEOUT = timedelta(seconds=20)
"""How long all entries of a simulation are looked up, as long as those of one attempt of a run."""
SIMULATION_TIMEOUT = timedelta(seconds=30)
"""How long a simulation takes at most, with the way to the worker and back."""
MAX_SIMULATION_BYTES = 1536 * 1024
"""Of a definition and a cause together: they pass through Temporal, whose blobs end at 2 MiB."""


class SimulationOutcome(StrEnum):
    """What a run would come to.

    FAILED: it would fail. WAITS: what it looks at is away, and it would wait for it.
    """

    DECIDED = "decided"
    FAILED = "failed"
    WAITS = "waits"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


class SimulateInput(_Model):
    """The input of `Simulate`: a definition's content and, of an instance, its state, as JSON."""

    run: RunInput
    definition: str
    state: str | None = Field(None, description="Before the event; null for one that begins.")


class LookedAt(_Model):
    """What was found under an entry of the context, without the values themselves.

    `size` and `sha256` are those of what a run would keep of it. `missing` says why it is null.
    """

    name: str
    items: int | None = Field(None, description="Of a list.")
    size: int = Field(description="Bytes of canonical JSON.")
    sha256: str
    missing: str | None = None


class Simulated(_Model):
    """The result of `Simulate`; `decision` is canonical JSON, `reason` says why there is none.

    `state` is that of an instance after the event, as canonical JSON.
    """

    outcome: SimulationOutcome
    looked_at: Sequence[LookedAt] = ()
    decision: str | None = None
    state: str | None = None
    reason: str = ""
