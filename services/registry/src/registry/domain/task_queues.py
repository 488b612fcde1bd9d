"""Which task queues a definition has work on."""

import json


def named(content: bytes) -> frozenset[str]:
    """Return the task queues that a definition's document names: of runs, tasks and failures."""
    spec = json.loads(content)["spec"]
    parts = [spec, spec.get("onFailure") or {}, *(rule["task"] for rule in spec["rules"])]
    return frozenset(part["taskQueue"] for part in parts if part.get("taskQueue"))
