"""What the registry is filled with: an event type, and definitions of it of 1 to 2 KB each."""

from backbone.registry.v1 import registry_pb2

NAMESPACE = "dev"

_EVENT_TYPE = """\
apiVersion: backbone/v1
kind: EventType
metadata: {id: bench.payment.received, namespace: dev, owner: bench}
spec:
  schemas:
    - version: 1
      schema:
        type: object
        required: [payment_id, amount, currency, email]
        properties:
          payment_id: {type: string}
          amount: {type: number}
          currency: {type: string}
          email: {type: string}
"""

# Only events start it: schedules would be Temporal's work and the ledger's, not the registry's.
_DEFINITION = """\
# Acts on large payments in euros: generated data.
apiVersion: backbone/v1
kind: ActivityDefinition
metadata:
  id: %(id)s
  namespace: dev
  owner: bench
  description: Confirm payments of merchant %(number)d above its limit; review the very large ones.
  labels: {merchant: m-%(number)d, edition: e-%(edition)s}
spec:
  taskQueue: bench-tq
  triggers:
    - name: large-payment
      event:
        type: bench.payment.received
        match: {payload: {amount: [{numeric: [">", %(amount)d]}]}}
        when: event.payload.currency == "EUR"
  rules:
    - name: confirm
      task:
        type: automated
        handler: send_payment_confirmation
        taskQueue: notifications-tq
        input:
          payment: event.payload.payment_id
          email: event.payload.email
          amount: event.payload.amount
        timeout: 30s
    - name: review
      when: event.payload.amount >= 10000
      task:
        type: human
        title: "'Review payment ' + event.payload.payment_id"
        input: {payment: event.payload.payment_id, amount: event.payload.amount}
        assignees: {groups: [accounting]}
        due: 4h
        form:
          type: object
          required: [approved]
          additionalProperties: false
          properties:
            approved: {type: boolean}
            note: {type: string, maxLength: 1000}
"""


def definition_id(number: int) -> str:
    """Return the id of a definition by its number, from 0."""
    return f"bench.large-payment-{number}"


def event_type() -> registry_pb2.Document:
    """Return the event type that every definition listens to."""
    return registry_pb2.Document(content=_EVENT_TYPE.encode(), name="event-type")


def definition(number: int, *, edition: str = "first") -> registry_pb2.Document:
    """Return a definition; another `edition` of it is another version."""
    text = _DEFINITION % {
        "id": definition_id(number),
        "number": number,
        "edition": edition,
        "amount": 1000 + number,
    }
    return registry_pb2.Document(content=text.encode(), name=definition_id(number))
