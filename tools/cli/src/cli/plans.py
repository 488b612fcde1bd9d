"""What an apply would do or did, or what is wrong with it: for people, and as one JSON document."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backbone.registry.v1 import registry_pb2
from cli import documents
from cli.output import Output

_STYLES = {
    "create": "green",
    "update": "yellow",
    "restore": "green",
    "prune": "red",
    "unchanged": "dim",
}
# How many: before it is done, and afterwards.
_COUNTED = {
    "create": ("to create", "created"),
    "update": ("to update", "updated"),
    "restore": ("to restore", "restored"),
    "prune": ("to retire", "retired"),
    "unchanged": ("unchanged", "unchanged"),
}
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def as_document(
    response: registry_pb2.ApplyResourcesResponse,
    *,
    applied: bool,
    problems: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return a plan, or with `applied` what was done."""
    return {
        "applied": applied,
        "plan_sha256": response.plan_sha256 or None,
        "revision": response.revision,
        "results": [documents.apply_result(one) for one in response.results],
        "problems": list(problems),
    }


def changes(response: registry_pb2.ApplyResourcesResponse) -> bool:
    """Say whether a plan changes anything."""
    return any(one.action != registry_pb2.APPLY_ACTION_UNCHANGED for one in response.results)


def pruned(response: registry_pb2.ApplyResourcesResponse) -> int:
    """Return how many resources a plan retires."""
    return sum(one.action == registry_pb2.APPLY_ACTION_PRUNE for one in response.results)


def show(out: Output, results: Iterable[Mapping[str, Any]]) -> None:
    """Print what becomes of each resource, for people."""
    for result in results:
        version = f" version {result['version']}" if result["action"] != "prune" else ""
        state = " (disabled)" if result["state"] == "disabled" else ""
        file = f"  {result['document']}" if result["document"] else ""
        what = f"{result['kind']} {result['resource_id']}{version}{state}"
        style = _STYLES.get(result["action"], "")
        out.text(f"{result['action']:<9}  {what}{file}", style=style)
        show_differences(out, result["differences"])
        show_schedules(out, result["schedules"])


def show_differences(out: Output, differences: Iterable[Mapping[str, Any]]) -> None:
    """Print differences in meaning, a sentence each."""
    for one in differences:
        out.text(f"    {_SIGNS.get(one['change'], '~')} {one['summary'] or one['path']}")


def show_schedules(out: Output, schedules: Iterable[Mapping[str, Any]]) -> None:
    """Print the next due times of the triggers whose due times change."""
    for one in schedules:
        out.text(f"    next due times of {one['trigger']}:")
        out.text(f"      before  {'  '.join(one['due_before']) or 'none'}")
        out.text(f"      after   {'  '.join(one['due_after']) or 'none'}")


def summary(results: Sequence[Mapping[str, Any]], *, applied: bool) -> str:
    """Return how many resources there are of each action."""
    counts = Counter(result["action"] for result in results)
    parts = [
        f"{counts[action]} {words[applied]}" for action, words in _COUNTED.items() if counts[action]
    ]
    return ", ".join(parts) or "no documents"


def show_problems(out: Output, problems: Iterable[Mapping[str, Any]]) -> None:
    """Print problems as compilers do, those of a document together."""
    by_document: dict[str, list[Mapping[str, Any]]] = {}
    for problem in problems:
        by_document.setdefault(problem["document"], []).append(problem)
    for number, (name, ones) in enumerate(by_document.items()):
        if number:
            out.text("")
        for one in ones:
            where = ":".join(str(part) for part in (name, one["line"], one["column"]) if part)
            out.text(": ".join(part for part in (where, one["path"], one["message"]) if part))
