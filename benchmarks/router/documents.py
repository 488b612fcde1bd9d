"""What is routed, and by what: definitions of one event type, and events that one or none wants."""

import json
import random
from collections.abc import Iterator
from typing import Any

from backbone.registry.v1 import registry_pb2

TYPE = "billing.payment.received"
SOURCE = "shop/checkout"

_OTHERS = """\
apiVersion: backbone/v1
kind: EventType
metadata: {id: billing.payment.received, namespace: dev, owner: bench}
spec:
  schemas:
    - version: 1
      schema:
        type: object
        required: [customer_id, amount, currency, items]
        properties:
          customer_id: {type: string, maxLength: 40}
          amount: {type: number}
          currency: {enum: [EUR, USD]}
          items: {type: array, items: {type: object, required: [sku, count]}}
---
apiVersion: backbone/v1
kind: Producer
metadata: {id: shop, namespace: dev, owner: bench}
spec: {sources: [shop/*], types: [billing.payment.*]}
"""

_DEFINITION = """\
apiVersion: backbone/v1
kind: ActivityDefinition
metadata: {id: bench.payment-%(number)06d, namespace: dev, owner: bench}
spec:
  taskQueue: bench-tq
  triggers:
    - name: payment
      event:
        type: billing.payment.received
        match: {payload: {customer_id: [customer-%(number)06d], currency: [EUR]}}
        when: event.payload.amount > 100
  rules:
    - name: confirm
      task: {type: automated, handler: confirm, taskQueue: hands-tq, input: {id: event.payload.customer_id}}
"""  # noqa: E501 - YAML


def others() -> list[registry_pb2.Document]:
    """Return the event type and the producer, one document each."""
    return [registry_pb2.Document(content=part.encode()) for part in _OTHERS.split("---\n")]


def definition(number: int) -> registry_pb2.Document:
    """Return the definition that wants the events of one customer."""
    return registry_pb2.Document(content=(_DEFINITION % {"number": number}).encode())


def events(count: int, *, customers: range, chance: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """Yield the key and the value of records, of customers by chance: about 600 bytes each."""
    for _ in range(count):
        customer = f"customer-{chance.choice(customers):06d}"
        yield (
            customer.encode(),
            json.dumps(_event(customer, chance), separators=(",", ":")).encode(),
        )


def _event(customer: str, chance: random.Random) -> dict[str, Any]:
    other = chance.randrange(100_000)
    return {
        "event_id": f"0190b7c2-5b1e-7c55-9a51-{chance.randrange(1 << 48):012x}",
        "type": TYPE,
        "source": SOURCE,
        "occurred_at": "2026-11-23T10:00:00.123Z",
        "subject": f"payment-{other:06d}",
        "trace_id": f"{chance.randrange(1, 1 << 128):032x}",
        "schema_version": 1,
        "payload": {
            "customer_id": customer,
            "currency": "EUR",
            "amount": 10 * other + 101.5,
            "path": f"/refunds/{other:06d}/receipt",
            "file": f"/archive/2026/letter-{other:06d}-de.pdf",
            "region": "eu-central-1",
            "weight": other + 0.75,
            "tags": ["b2b", "prepaid"],
            "items": [{"sku": f"sku-{other % 1000}", "count": 2}, {"sku": "sku-7", "count": 1}],
        },
    }
