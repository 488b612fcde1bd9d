"""Adds what is decided today to the golden set: `python libs/rules/tests/golden/record.py`.

It never changes what is there. A decision that comes out differently has another hash, task ids
that handlers do not know, and a backtest that finds differences nobody made: that is a bug, or a
decision for a record of its own.
"""

import json
import sys
from pathlib import Path
from typing import Any

from contracts import canonical, identifiers
from contracts.decisions import Decision
from contracts.definitions import ActivityDefinition
from contracts.triggers import Trigger
from rules import decisions

HERE = Path(__file__).parent
FILES = HERE / "decisions"


def decided(situation: dict[str, Any]) -> Decision:
    """Return what a situation decides."""
    definition = ActivityDefinition.model_validate(situation["definition"])
    trigger = Trigger.model_validate(situation["trigger"])
    return decisions.decide(
        definition,
        definition_version=trigger.definition_version,
        namespace="dev",
        run_id=identifiers.run_id(definition.metadata.id, trigger.key),
        trigger=trigger,
        snapshot=situation["snapshot"],
        kept=situation.get("kept"),
    )


def add(name: str, situation: dict[str, Any], directory: Path = FILES) -> bool:
    """Record a situation with its decision, unless there is one of its name; say whether it did."""
    decision = canonical.render(decided(situation))
    recorded = {
        **situation,
        "decision": json.loads(decision),
        "decision_sha256": canonical.digest(decision),
    }
    try:
        with (directory / f"{name}.json").open("x", encoding="utf-8") as file:
            file.write(json.dumps(recorded, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    except FileExistsError:
        return False
    return True


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    from situations import SITUATIONS

    for name, situation in SITUATIONS.items():
        print(f"{'added' if add(name, situation) else 'kept '} {name}")  # noqa: T201 - its output
