"""Built-in handlers: call an HTTP API, publish an event, start a definition.

`python -m sdk.builtins serve` serves those that the operator's catalogue lists, without a line of
code. Who writes a worker adds them to its handlers: `builtins.publish_event(publisher, topics=…)`.
Each does once what its task says, however often it is tried: the task's id is the idempotency key.
"""

from sdk.builtins.calling import http_call
from sdk.builtins.publishing import publish_event
from sdk.builtins.starting import start_definition

__all__ = ["http_call", "publish_event", "start_definition"]
