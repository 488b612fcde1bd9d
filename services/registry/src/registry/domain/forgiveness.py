"""What nobody is blamed for: names that were given where a definition could not be read.

Expressions ask for context entries, triggers and the items of loops by their names. Where one of
those could not be read, which names there are is not known, and any that is asked for may be one.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from contracts.definitions import ContextEntry, Trigger
from registry.domain.standins import NEEDED

_MOST_NAMED = 50
# What rules name, by what looks like it in their expressions.
_NAMED: Sequence[tuple[str, type[BaseModel], re.Pattern[str]]] = (
    ("context", ContextEntry, re.compile(r"""\bcontext\s*(?:\.\s*|\[\s*['"])([a-z][a-z0-9_]*)""")),
    ("triggers", Trigger, re.compile(r"""['"]([a-z][a-z0-9]*(?:[-_][a-z0-9]+)*)['"]""")),
)


def forgive(spec: dict[str, Any], repaired: set[str]) -> None:
    """Add to a definition's spec what its rules may ask for, and to `repaired` where that is."""
    for i, rule in enumerate(spec["rules"]):
        loop, task = f"spec.rules[{i}].forEach", f"spec.rules[{i}].task"
        if not repaired.isdisjoint({loop, f"{loop}.item"}):
            # The task's expressions read a variable whose name is not known.
            inputs = (f"input.{name}" for name in rule["task"].get("input", {}))
            repaired.update(f"{task}.{name}" for name in ("key", "title", *inputs))
        if f"{task}.due" in repaired:
            # What is counted from it, or compared with it.
            repaired.update(f"{task}.{name}" for name in ("reminders", "expiry"))
    for where, model, name in _NAMED:
        lost = re.compile(rf"spec(\.{where}(\[\d+\](\.name)?)?)?")
        if any(lost.fullmatch(path) for path in repaired):
            items: list[Any] = spec.setdefault(where, [])
            known = {item["name"] for item in items}
            asked = dict.fromkeys(name.findall("\n".join(_texts(spec["rules"]))))
            for missing in [text for text in asked if text not in known]:
                if len(items) < _MOST_NAMED:
                    repaired.add(f"spec.{where}[{len(items)}]")
                    items.append({"name": missing, **copy.deepcopy(NEEDED[model])})


def _texts(value: Any) -> list[str]:
    found, pending = [], [value]
    while pending:
        match pending.pop():
            case str() as text:
                found.append(text)
            case dict() as inside:
                pending.extend(inside.values())
            case list() as inside:
                pending.extend(inside)
    return found
