"""An event of Backbone as one line for people: time, what, definition, run, why."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

REMEMBERED = 10_000
"""How many events are known again when a copy comes."""
_WHAT = 18  # characters: the longest common type
_OUTPUT = 100  # characters of what a task gave


def line(event: Mapping[str, Any]) -> str:
    """Return the line of an envelope; what a terminal would obey is shown and not obeyed."""
    payload = event.get("payload")
    payload = payload if isinstance(payload, Mapping) else {}
    definition = str(payload.get("definition_id") or payload.get("resource_id") or "")
    run = str(payload.get("run_id") or "").removeprefix(f"{definition}:")
    what = str(event.get("type") or "?").removeprefix("backbone.")
    parts = (_time(event), f"{what:<{_WHAT}}", definition, run, _why(payload))
    text = "  ".join(part for part in parts if part).rstrip()
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _time(event: Mapping[str, Any]) -> str:
    try:
        return datetime.fromisoformat(str(event["occurred_at"])).astimezone().strftime("%H:%M:%S")
    except (KeyError, ValueError):
        return "--:--:--"


def _why(payload: Mapping[str, Any]) -> str:
    """Return what tells most of an event: whose it is, what came of it, who said so and why."""
    said = [str(payload[name]) for name in ("rule", "key") if payload.get(name)]
    if payload.get("trigger_names"):
        said.append(f"by {', '.join(map(str, payload['trigger_names']))}")
    if isinstance(payload.get("tasks"), int):
        said.append("1 task" if payload["tasks"] == 1 else f"{payload['tasks']} tasks")
    if payload.get("title"):
        said.append(str(payload["title"]))
    if isinstance(payload.get("assignees"), Mapping):
        people, groups = (payload["assignees"].get(of) or [] for of in ("users", "groups"))
        said.append(f"for {', '.join([*map(str, people), *(f'@{one}' for one in groups)])}")
    if isinstance(payload.get("failure"), Mapping):
        said.append(f"{payload['failure'].get('type')}: {payload['failure'].get('message')}")
    if payload.get("output") is not None:
        output = json.dumps(payload["output"], ensure_ascii=False)
        said.append(output if len(output) <= _OUTPUT else f"{output[: _OUTPUT - 1]}…")
    if payload.get("version"):
        said.append(f"version {payload['version']}")
    said += [str(payload[name]) for name in ("actor", "reason") if payload.get(name)]
    return ", ".join(said)
