"""What a run decides upon that is sensitive: resolved just before, and kept nowhere."""

from collections.abc import Mapping
from typing import Any

from contracts import sensitive
from contracts.runs import RunInput
from orchestrator_worker.errors import UndecidableError
from orchestrator_worker.ports import SensitiveValues
from rules import decisions
from rules.errors import DecisionError, RulesError

Revealed = Mapping[str, Any]
"""Values by blob id; null for one that is erased."""


async def revealed(
    values: SensitiveValues, run: RunInput, state: Mapping[str, Any] | None = None
) -> Revealed:
    """Return the values that the cause of a run, and the state of its instance, refer to.

    Raises:
        TransientError: they cannot be had now, and the run waits for them.
    """
    wanted = sensitive.references([decisions.trigger_inputs(run.trigger), state])
    if not wanted:
        return {}
    found = await values.resolve(run.namespace, wanted)
    return {one.blob_id: found.get(one.blob_id) for one in wanted}


def undecidable(error: RulesError, known: Revealed) -> UndecidableError:
    """Return why a run cannot be decided, without a text that may quote what is sensitive."""
    return UndecidableError(told(error, known))


def told(error: RulesError, known: Revealed) -> str:
    """Return the text of an error; where something sensitive was known, only where it happened."""
    if not known:
        return str(error)
    if not isinstance(error, DecisionError):
        return "its text is left out, since it was decided upon sensitive values"
    rule = "" if error.rule is None else f"rule {error.rule!r}, "
    return (
        f"{rule}{error.path}: it gave an error or cannot be kept; the text is left out, since it "
        "was decided upon sensitive values"
    )
