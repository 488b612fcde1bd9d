"""What the golden set decides: definitions, causes and snapshots. All data is made up.

A situation that has been recorded stays as it is: a new one gets a new name.
"""

from typing import Any

Situation = dict[str, Any]

EVENT = {
    "event_id": "7",
    "type": "shop.order.placed",
    "source": "shop",
    "occurred_at": "2026-03-29T01:30:00.25Z",
    "subject": "order-7",
    "schema_version": 2,
    "payload": {"total": 120.5, "currency": "EUR", "lines": [{"sku": "Ä-1", "count": 2}]},
    "region": "eu",
}
BY_EVENT = {"kind": "event", "names": ["placed"], "definition_version": 4, "events": [EVENT]}
BY_BATCH = {
    "kind": "batch",
    "names": ["placed"],
    "definition_version": 4,
    "batch_id": "a" * 26,
    "events": [EVENT, {**EVENT, "event_id": "8", "payload": {"total": 1, "currency": "USD"}}],
}
BY_SCHEDULE = {
    "kind": "schedule",
    "names": ["hourly", "nightly"],
    "definition_version": 4,
    "scheduled_for": "2026-03-29T02:00:00Z",
    "window": {"start": "2026-03-28T23:00:00Z", "end": "2026-03-29T02:00:00Z"},
    "coalesced": ["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"],
}
BY_HAND = {
    "kind": "manual",
    "definition_version": 4,
    "request_id": "r-1",
    "input": {"limit": 2, "note": "täglich"},
    "actor": "ann",
    "reason": "try it",
}
ROWS = [
    {"id": "i1", "amount": 10, "due": "2026-03-01", "email": None},
    {"id": "i2", "amount": 20000.5, "due": "2026-02-01", "email": "b@example.com"},
    {"id": "i3", "amount": -0.1, "due": "2026-01-01", "email": "c@example.com"},
]
OVERDUE = {"name": "overdue", "query": {"connector": "db", "statement": "overdue"}}


def automated(**fields: Any) -> dict[str, Any]:
    return {"type": "automated", "handler": "send", "taskQueue": "mail-tq", **fields}


def situation(
    *rules: dict[str, Any],
    trigger: dict[str, Any] = BY_EVENT,
    context: tuple[dict[str, Any], ...] = (),
    snapshot: dict[str, Any] | None = None,
    **fields: Any,
) -> Situation:
    named = [{"name": f"r{i}", **rule} for i, rule in enumerate(rules)]
    return {
        "definition": {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "shop.golden", "namespace": "dev", "owner": "shop"},
            "spec": {"taskQueue": "shop-tq", "context": list(context), "rules": named},
        },
        "trigger": trigger,
        "snapshot": snapshot or {},
        **fields,
    }


SITUATIONS: dict[str, Situation] = {
    "no-task": situation({"when": "event.payload.total > 1000.0", "task": automated()}),
    "one-task-by-an-event": situation(
        {
            "when": "event.payload.currency == 'EUR' && event.region == 'eu'",
            "task": automated(
                input={
                    "total": "event.payload.total",
                    "sku": "event.payload.lines[0].sku",
                    "at": "event.occurred_at",
                    "whole": "event.payload",
                },
                timeout="90s",
                retry={"maximumAttempts": 7, "initialInterval": "2s", "backoffCoefficient": 1.5},
            ),
        }
    ),
    "a-task-for-each-row": situation(
        {
            "when": "size(context.overdue) > 0",
            "forEach": {"item": "row", "in": "context.overdue.filter(r, r.amount > 0.0)"},
            "task": automated(
                key="row.id",
                input={"amount": "row.amount", "until": "window.end", "email": "row.email"},
            ),
        },
        trigger=BY_SCHEDULE,
        context=(OVERDUE,),
        snapshot={"overdue": ROWS},
    ),
    "keys-of-numbers-and-texts": situation(
        {"forEach": {"item": "n", "in": "[3, 1, 2]"}, "task": automated(key="n")},
        {
            "forEach": {"item": "line", "in": "event.payload.lines"},
            "task": automated(key="line.sku + ':' + string(line.count)"),
        },
    ),
    "a-person-with-a-form": situation(
        {
            "task": {
                "type": "human",
                "title": "'Prüfe ' + string(size(context.overdue)) + ' Rechnungen'",
                "assignees": {"users": ["bob"], "groups": ["desk"]},
                "due": "P2D",
                "input": {"ids": "context.overdue.map(r, r.id)"},
                "form": {"type": "object", "properties": {"ok": {"type": "boolean"}}},
            }
        },
        trigger=BY_HAND,
        context=(OVERDUE,),
        snapshot={"overdue": ROWS},
    ),
    "a-batch": situation(
        {
            "forEach": {"item": "one", "in": "events"},
            "task": automated(key="one.event_id", input={"total": "one.payload.total"}),
        },
        trigger=BY_BATCH,
    ),
    "the-cause-as-rules-see-it": situation(
        {"task": automated(input={"trigger": "trigger", "window": "window", "event": "event"})},
        {"when": "size(trigger.coalesced) == 2", "task": automated()},
        trigger=BY_SCHEDULE,
    ),
    "numbers-at-their-edges": situation(
        {"task": automated(input={"all": "context.numbers"})},
        {"when": "context.numbers[0] + 1 == 9007199254740993", "task": automated()},
        context=({**OVERDUE, "name": "numbers"},),
        snapshot={
            "numbers": [
                *(2**53, 2**63 - 1, -(2**63), 0.1, 1e300, 5e-324, -0.0, 1.0, 0),
                {"é": "\u2028", "a": "\U0001f600"},
            ]
        },
    ),
    "texts-times-and-patterns": situation(
        {
            "when": "'order-7'.matches('^order-[0-9]+$') && 'abc'.startsWith('a')",
            "task": automated(
                input={
                    "later": "string(timestamp(event.occurred_at) + duration('36h'))",
                    "parts": "event.subject.contains('-') ? 'yes' : 'no'",
                    "exists": "event.payload.lines.exists(l, l.count > 1)",
                    "has": "has(event.payload.note)",
                }
            ),
        }
    ),
    "several-rules-in-their-order": situation(
        {"when": "false", "task": automated()},
        {"task": automated(handler="first")},
        {"when": "event.payload.total > 1.0", "task": automated(handler="second")},
    ),
    "what-could-not-be-had": situation(
        {"when": "context.customer == null", "task": automated()},
        {"when": "context.last == null || context.last.status == 'failed'", "task": automated()},
        context=(
            {
                "name": "customer",
                "http": {"connector": "crm", "path": "/c"},
                "retries": 0,
                "onFailure": "null",
            },
            {"name": "last", "lastRun": {}},
        ),
        snapshot={
            "customer": None,
            "last": {"run_id": "shop.golden:x", "status": "failed", "window": None},
            "$failures": {"customer": "given up after 1 of 1 attempts"},
        },
    ),
    "what-was-not-kept": situation(
        {"when": "context.overdue[1].email == 'b@example.com'", "task": automated()},
        context=(OVERDUE,),
        snapshot={"overdue": ROWS},
        kept={"overdue": [{**row, "email": {"$redacted": "aaaa"}} for row in ROWS]},
    ),
}
