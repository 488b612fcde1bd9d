"""What a run looked at, and what each rule of its definition saw and came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts import canonical
from contracts.runs import FAILURES


@dataclass(frozen=True)
class LookedAt:
    """An entry of a run's snapshot; `missing` says why there is nothing in it."""

    name: str
    items: int | None
    bytes: int
    missing: str


@dataclass(frozen=True)
class Ruling:
    """What a rule came to; condition and list as their author wrote them, empty if unknown."""

    rule: str
    condition: str
    for_each: str
    is_true: bool
    items: int | None
    tasks: Sequence[str]


def looked_at(snapshot: Mapping[str, Any]) -> list[LookedAt]:
    """Return the entries of a snapshot, by their names."""
    missing = snapshot.get(FAILURES, {})
    return [
        LookedAt(
            name=name,
            items=len(value) if isinstance(value, list) else None,
            bytes=len(canonical.render(value)),
            missing=missing.get(name, ""),
        )
        for name, value in sorted(snapshot.items())
        if name != FAILURES
    ]


def rulings(decision: Mapping[str, Any], definition: Mapping[str, Any] | None) -> list[Ruling]:
    """Return what each rule came to; `definition` is the version that decided, if it is known."""
    spec = definition["spec"] if definition is not None else {}
    written = {rule["name"]: rule for rule in spec.get("rules", [])}
    return [
        Ruling(
            rule=trace["rule"],
            condition=written.get(trace["rule"], {}).get("when") or "",
            for_each=(written.get(trace["rule"], {}).get("forEach") or {}).get("in", ""),
            is_true=trace["when"],
            items=trace.get("items"),
            tasks=list(trace.get("tasks", [])),
        )
        for trace in decision.get("rules", [])
    ]
