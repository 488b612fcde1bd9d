"""The two tables of docs/hostile-input.md: limits as the code has them, attacks as they are tried.

`python tests/hostile/hostile_page.py` writes them into the page; a test holds the page to them.
"""

import importlib
import re
import sys
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import attacks

PAGE = Path(__file__).parents[2] / "docs" / "hostile-input.md"
_REFUSED, _PROBLEM, _RUN = "refused", "a problem of the document", "an error of the run"

# What is limited, where the limit is, and what happens beyond. `module:Model.field` is the most
# that a field of a model takes, or the default of a setting.
LIMITS: dict[str, list[tuple[str, str, str]]] = {
    "Documents": [
        ("Bytes of a document", "registry.domain.documents:MAX_DOCUMENT_BYTES", _PROBLEM),
        ("Bytes of its canonical form", "registry.domain.validation:MAX_CONTENT_BYTES", _PROBLEM),
        ("Levels of a document", "registry.domain.positions:MAX_DEPTH", _PROBLEM),
        ("Levels of a file that the command reads", "runtime.yamlfiles:MAX_DEPTH", _REFUSED),
        ("Documents of one apply", "registry.domain.validation:MAX_DOCUMENTS", _REFUSED),
        ("Problems that are told", "registry.domain.validation:MAX_PROBLEMS", "the rest is cut"),
        ("Bytes that the command sends at once", "cli.sources:MAX_SET_BYTES", _REFUSED),
        ("Files that the console plans at once", "console.domain.uploads:MAX_DOCUMENTS", _REFUSED),
        ("Bytes of them together", "console.domain.uploads:MAX_SET_BYTES", _REFUSED),
        (
            "Runs of a backtest in the console",
            "console.adapters.pages.backtesting:MAX_RUNS",
            _REFUSED,
        ),
        ("Resources of a namespace", "registry.service.resources:MAX_RESOURCES", _REFUSED),
        ("Triggers of a definition", "contracts.definitions:Spec.triggers", _PROBLEM),
        ("Context entries of a definition", "contracts.definitions:Spec.context", _PROBLEM),
        ("Rules of a definition", "contracts.definitions:Spec.rules", _PROBLEM),
        ("Paths of a read mask", "registry.adapters.requests:MAX_MASK_PATHS", _REFUSED),
    ],
    "Expressions": [
        ("Characters", "rules.expressions:MAX_LENGTH", _PROBLEM),
        ("Additions", "rules.expressions:MAX_ADDITIONS", _PROBLEM),
        ("Macros within or after one another", "rules.expressions:MAX_LOOPS_DEEP", _PROBLEM),
        ("Levels of inputs and results", "rules.expressions:MAX_DEPTH", _RUN),
        ("Values of a result", "rules.expressions:MAX_RESULT_NODES", _RUN),
        ("Characters of a result", "rules.expressions:MAX_RESULT_TEXT", _RUN),
        ("Characters of a task's key", "rules.decisions:MAX_KEY_LENGTH", _RUN),
        ("Characters of a title", "rules.decisions:MAX_TITLE_LENGTH", _RUN),
        ("Characters of a correlation key", "rules.correlations:MAX_KEY_LENGTH", "an error"),
        ("Tasks of a run", "contracts.definitions:MAX_TASKS_PER_RUN", _RUN),
    ],
    "Patterns and schemas": [
        ("Alternatives of a pattern", "rules.patterns:MAX_ALTERNATIVES", _PROBLEM),
        ("Levels of a pattern", "rules.patterns:MAX_DEPTH", _PROBLEM),
        ("Levels of a JSON Schema", "rules.jsonschemas:MAX_DEPTH", _PROBLEM),
        ("Values of a JSON Schema", "rules.jsonschemas:MAX_VALUES", _PROBLEM),
        ("Values of all schemas of a document", "rules.jsonschemas:MAX_VALUES_TOGETHER", _PROBLEM),
        ("Schemas that one value is held against", "rules.jsonschemas:MAX_WORK", _PROBLEM),
        ("Regular expressions of a document", "rules.jsonschemas:MAX_PATTERNS", _PROBLEM),
    ],
    "Schedules": [
        ("Due times accounted at once", "rules.policy:MAX_DUE_TIMES", "the rest in the next call"),
        ("Due times of a backfill", "ledger.domain.backfills:MAX_DUE_TIMES", _REFUSED),
        ("Due times of a rehearsal", "rules.rehearsals:MAX_DUE_TIMES", _REFUSED),
        ("Due times that wait", "rules.overlaps:MAX_WAITING", "dropped, and recorded so"),
        ("Jitter", "rules.jitter:MAX_JITTER", _PROBLEM),
        ("Last year of a calendar", "rules.cron:LAST_YEAR", _PROBLEM),
    ],
    "Events": [
        ("Bytes of an event", "contracts.envelope:MAX_EVENT_BYTES", "`oversize`"),
        ("Levels of JSON", "contracts.strictjson:MAX_DEPTH", "`too_deep`"),
        ("Hops of a chain", "contracts.envelope:MAX_HOPS", "`too_many_hops`"),
        ("Events of a batch by HTTP", "router.domain.posted:MAX_BATCH_EVENTS", "`oversize`"),
        ("Bytes of a batch by HTTP", "router.domain.posted:MAX_BATCH_BYTES", "413"),
        ("Events of a run's batch", "contracts.triggers:MAX_BATCH_EVENTS", "the batch is closed"),
        ("Bytes of a run's batch", "contracts.triggers:MAX_BATCH_BYTES", "the batch is closed"),
        ("Events of a replay", "ledger.domain.replays:MAX_EVENTS", _REFUSED),
        ("Requests with events at a time", "router.settings:Settings.http_in_flight", "429"),
        ("Time for a body", "router.settings:Settings.http_body_timeout", "408"),
    ],
    "Requests": [
        ("Bytes of a gRPC message, unpacked", "runtime.grpcserver:MAX_MESSAGE_BYTES", _REFUSED),
        ("Calls at a time of a connection", "runtime.grpcserver:MAX_STREAMS", "the call waits"),
        ("Calls at a time of a service", "runtime.grpcserver:MAX_CALLS", _REFUSED),
        ("Callers whom it takes to have them all", "runtime.grpcserver:CALLERS", _REFUSED),
        ("Seconds of a call", "runtime.grpcserver:MAX_UNARY_SECONDS", "the call is ended"),
        ("Time until a connection speaks", "runtime.grpcserver:MAX_HANDSHAKE", "it is closed"),
        ("Bytes of an error's message", "runtime.rpcerrors:MAX_MESSAGE_BYTES", "it is cut"),
        ("Items of a page", "ledger.adapters.pages:MAX_SIZE", _REFUSED),
        ("Bytes of a page", "ledger.adapters.pages:MAX_BYTES", "the page ends"),
        ("Characters of a text", "ledger.adapters.requests:MAX_TEXT_LENGTH", _REFUSED),
        ("Characters of a comment", "ledger.adapters.requests:MAX_COMMENT_LENGTH", _REFUSED),
        ("HTTP connections", "runtime.httpconnections:DEFAULT.connections", "the idlest is closed"),
        ("Bytes of an HTTP head", "runtime.httpconnections:DEFAULT.head_bytes", "400"),
        ("Time for an HTTP head", "runtime.httpconnections:DEFAULT.head_time", "it is closed"),
        ("Time without a reader", "runtime.httpconnections:DEFAULT.unread_time", "it is closed"),
    ],
    "What is kept and answered": [
        ("Bytes of a task's output", "contracts.runs:MAX_OUTPUT_BYTES", "the task fails"),
        ("Bytes of a snapshot", "contracts.runs:MAX_SNAPSHOT_BYTES", "the run fails"),
        ("Bytes of an instance's state", "contracts.runs:MAX_STATE_BYTES", "the run fails"),
        ("Bytes of an answer to a task", "contracts.catalogue:HttpCall.max_bytes", _REFUSED),
        ("Bytes of an answer to a run", "contracts.catalogue:HttpPath.max_bytes", _REFUSED),
        ("Bytes of a request's body", "sdk.builtins.calling:MAX_BODY_BYTES", "the task fails"),
        ("Characters of a path with its query", "contracts.targets:MAX_LENGTH", "the task fails"),
        ("Time for an answer", "contracts.catalogue:MAX_TIMEOUT", "tried again"),
        ("Rows of a statement", "contracts.catalogue:Statement.max_rows", "the run fails"),
    ],
}  # fmt: skip


def value(place: str) -> Any:
    """Return a limit by its place in the code."""
    module, _, path = place.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        fields = getattr(found, "model_fields", {})
        found = _most(fields[name]) if name in fields else getattr(found, name)
    return found


def _most(field: Any) -> Any:
    for name in ("max_length", "le"):
        for limit in field.metadata:
            if hasattr(limit, name) and not isinstance(field.default, int | timedelta):
                return getattr(limit, name)
    return field.default


def shown(place: str) -> str:
    """Return a limit as people write it."""
    limit = value(place)
    if isinstance(limit, timedelta):
        seconds = limit.total_seconds()
        return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"
    if re.search(r"bytes", place, re.IGNORECASE) and limit % 1024 == 0:
        return f"{limit >> 20} MiB" if limit % 2**20 == 0 else f"{limit >> 10} KiB"
    return f"{limit:g}" if isinstance(limit, float) or limit == 2100 else f"{limit:,}"


def limits() -> str:
    """Return the table of limits."""
    lines = ["| limit | value | where it is set | beyond it |", "|---|---|---|---|"]
    for area, rows in LIMITS.items():
        lines.append(f"| **{area}** | | | |")
        for what, place, beyond in rows:
            lines.append(f"| {what} | {shown(place)} | {place.replace(':', ', ')} | {beyond} |")
    return "\n".join(lines)


_GIVEN = {
    "document": "`ApplyResources`",
    "definition": "`ApplyResources`",
    "expression": "an event or an answer that a rule reads",
    "pattern": "an event that a pattern is held against",
    "event": "a record",
    "batch": "a body of `POST /events`",
    "file": "a file of the command",
    "path": "an argument of the command",
    "form": "an answer to a human task",
    "host": "a connector's host",
    "rebinding": "a connector's DNS",
    "connector": "the catalogue",
    "parameter": "a parameter of a call",
    "answer": "a connector",
    "table": "the command's output",
    "json": "the command's output",
    "complaint": "the command's output",
    "log": "a log",
    "token": "a page token",
    "post": "`POST /events`",
}


def table() -> str:
    """Return the attacks by their kind and where they are given, with what they get."""
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for attack in attacks.ATTACKS:
        taken = " (taken, harmless)" if attack.outcome.startswith("taken:") else ""
        grouped[attack.kind, _GIVEN[attack.given]].append(attack.name + taken)
    lines = ["| kind | given in | attacks |", "|---|---|---|"]
    lines += [
        f"| {kind} | {given} | {'; '.join(names)} |" for (kind, given), names in grouped.items()
    ]
    return "\n".join(lines)


def written(page: str) -> str:
    """Return the page with both tables as they are now."""
    for name, made in (("limits", limits()), ("attacks", table())):
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}{made}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is written\n")
