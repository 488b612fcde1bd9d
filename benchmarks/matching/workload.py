"""The rules and the events of the benchmark `matching`: each event matches one rule.

`easy` rules differ in one text. `hard` rules are, in turn, a range of numbers, a prefix, a wildcard
with a star at its beginning and one within, and a range beside a text that all share. All are for
one type. The other fields of an event look like those that match, and match none.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SETS = ("easy", "hard")
TYPE = "billing.payment.received"
_HARD = 4  # kinds of rules


@dataclass(frozen=True)
class Rule:
    """A rule; its pattern holds the type of its events."""

    name: str
    pattern: dict[str, Any]


def rule(kind: str, number: int) -> Rule:
    """Return the rule of a number."""
    payload = _easy(number) if kind == "easy" else _hard(number)
    return Rule(f"definition-{number:06d}", {"type": [TYPE], "payload": payload})


def _easy(number: int) -> dict[str, Any]:
    return {"customer_id": [f"customer-{number:06d}"], "currency": ["EUR"]}


def _hard(number: int) -> dict[str, Any]:
    match number % _HARD:
        case 0:
            return {"amount": [{"numeric": [">=", 10 * number, "<", 10 * number + 5]}]}
        case 1:
            return {"path": [{"prefix": f"/orders/{number:06d}/"}]}
        case 2:
            return {"file": [{"wildcard": f"*/invoice-{number:06d}-*.pdf"}]}
        case _:
            weight = [{"numeric": [">", number, "<=", number + 0.5]}]
            return {"region": ["eu-central-1"], "weight": weight}


def events(kind: str, rules: int, count: int) -> Iterator[bytes]:
    """Return events for the first `rules` rules, the same ones for the same numbers."""
    chance = random.Random(rules)  # noqa: S311 - a benchmark's choice
    for _ in range(count):
        yield json.dumps(
            _event(chance, kind, chance.randrange(rules)), separators=(",", ":")
        ).encode()


def _event(chance: random.Random, kind: str, number: int) -> dict[str, Any]:
    other = chance.randrange(100_000)
    payload: dict[str, Any] = {
        "customer_id": f"customer-{number:06d}" if kind == "easy" else f"customer-{other:06d}",
        "currency": "EUR",
        "amount": 10 * other + 7,
        "path": f"/refunds/{other:06d}/receipt",
        "file": f"/archive/2026/letter-{other:06d}-de.pdf",
        "region": "eu-central-1",
        "weight": other + 0.75,
        "tags": ["b2b", "prepaid"],
        "items": [{"sku": f"sku-{other % 1000}", "count": 2}, {"sku": "sku-7", "count": 1}],
    }
    if kind == "hard":
        match number % _HARD:
            case 0:
                payload["amount"] = 10 * number + 2.5
            case 1:
                payload["path"] = f"/orders/{number:06d}/receipt"
            case 2:
                payload["file"] = f"/archive/2026/invoice-{number:06d}-de.pdf"
            case _:
                payload["weight"] = number + 0.25
    return {
        "event_id": f"0190b7c2-5b1e-7c55-9a51-{chance.randrange(1 << 48):012x}",
        "type": TYPE,
        "source": "shop/checkout",
        "occurred_at": "2026-11-23T10:00:00.123Z",
        "subject": f"payment-{other:06d}",
        "trace_id": f"{chance.randrange(1 << 128):032x}",
        "schema_version": 1,
        "payload": payload,
    }
