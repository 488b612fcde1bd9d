"""`http_call`: a request that the operator's catalogue lists, under the task's id.

Where it goes is the catalogue's; what the definition adds are parameters and a body. What comes
back is a stranger's, and bounded (`runtime.httpconnectors`).
"""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, JsonValue

from contracts import canonical, redaction, targets
from contracts.builtins import HttpCallInput
from contracts.catalogue import BuiltIn, HttpCall, HttpConnector
from contracts.names import ContentType, HttpHeader
from runtime import httpconnectors, telemetry
from runtime.errors import AddressRefusedError
from runtime.faultpoints import faultpoint
from runtime.httpconnectors import Answer, AnswerUnusableError, HttpConnectors
from sdk.errors import PermanentError, RetryLaterError
from sdk.handlers import Handler, TaskContext, task_handler

MAX_BODY_BYTES = 256 * 1024
"""Of a request's body."""

LONGEST_PAUSE = timedelta(hours=1)
"""For which a host's Retry-After is followed."""

# The same key is being worked on (draft-ietf-httpapi-idempotency-key-header).
_CONFLICT = 409


class Answered(BaseModel):
    """What a host answered; the body is null where it was not JSON."""

    status: int
    body: JsonValue = None


class NotNowError(Exception):
    """The host answers that it cannot now."""


def http_call(
    http: HttpConnectors,
    *,
    name: str = BuiltIn.HTTP_CALL,
    max_concurrency: int | None = None,
    rate_per_second: float | None = None,
) -> Handler[HttpCallInput]:
    """Return the handler that makes the calls of `http`'s connectors.

    2xx is the task's output. What says "not now" (401, 403, 407, 408, 409, 425, 429, 5xx), a host
    that does not answer and a timeout are tried again as the definition's `retry` says, after
    Retry-After where the host gives it in seconds. All else fails the task for good.
    """

    @task_handler(name, max_concurrency=max_concurrency, rate_per_second=rate_per_second)
    async def call(asked: HttpCallInput, context: TaskContext) -> Answered:
        connector, listed = _listed(http, asked)
        target = _target(connector, listed, asked)
        headers: dict[str | bytes, str | bytes] = {
            HttpHeader.IDEMPOTENCY_KEY.value: context.idempotency_key
        }
        parent = telemetry.traceparent()
        if parent is not None:
            headers[HttpHeader.TRACEPARENT.value] = parent
        body = _body(asked)
        if body is not None:
            headers["Content-Type"] = ContentType.JSON.value
        try:
            faultpoint("sdk.before_http_call")
            async with http.stream(
                asked.connector, asked.method, target, headers=headers, body=body
            ) as answer:
                answered = await _answered(answer, listed)
            faultpoint("sdk.after_http_call")
        except (AddressRefusedError, AnswerUnusableError) as exc:
            raise PermanentError(f"{asked.connector}: {exc}") from exc
        return answered

    return call


def _listed(http: HttpConnectors, asked: HttpCallInput) -> tuple[HttpConnector, HttpCall]:
    connector = http.get(asked.connector)
    if connector is None:
        raise PermanentError(f"the catalogue has no HTTP connector {asked.connector!r}")
    call = f"{asked.method} {asked.path}"
    listed = connector.calls.get(call)
    if listed is None:
        raise PermanentError(f"connector {asked.connector} lists no call {call!r}")
    others = targets.other_parameters(listed, asked.parameters)
    if others is not None:
        raise PermanentError(f"{call}: {others}")
    return connector, listed


def _target(connector: HttpConnector, listed: HttpCall, asked: HttpCallInput) -> str:
    try:
        base = urlsplit(connector.url).path
        return targets.target(base, asked.path, listed, asked.parameters)
    except ValueError as exc:
        raise PermanentError(f"{asked.method} {asked.path}: {exc}") from exc


def _body(asked: HttpCallInput) -> bytes | None:
    if asked.body is None:
        return None
    body = canonical.render(asked.body)
    if len(body) > MAX_BODY_BYTES:
        raise PermanentError(f"the body has {len(body)} bytes, more than {MAX_BODY_BYTES}")
    return body


async def _answered(answer: Answer, listed: HttpCall) -> Answered:
    status = answer.status
    if answer.is_not_now or status == _CONFLICT:
        raise _not_now(answer)
    if 300 <= status < 400:
        raise PermanentError(
            f"the host answers with a redirect ({status}), which is not followed; "
            "the operator's catalogue has to name where it leads"
        )
    if not 200 <= status < 300:
        raise PermanentError(f"the host answers {status}")
    content = await answer.read(limit=listed.max_bytes)
    body: Any = None
    if content and answer.is_json:
        body = redaction.redacted(httpconnectors.json_of(content), listed.redact, key=None)
    return Answered(status=status, body=body)


def _not_now(answer: Answer) -> Exception:
    told = f"the host answers {answer.status}"
    after = answer.headers.get("retry-after", "")
    if after.isascii() and after.isdigit() and len(after) < 10:
        pause = min(timedelta(seconds=int(after)), LONGEST_PAUSE)
        return RetryLaterError(f"{told}, and asks to come back after {after} s", after=pause)
    return NotNowError(told)
