"""The operator's catalogue: what definitions may name, and never hold themselves.

Connectors reach a system with credentials that only the operator's machines have; statements are
the questions that may be asked of a database, paths those of an HTTP API; handlers carry out tasks.
The registry checks definitions against it, the orchestrator-worker reaches the systems by it.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, IPvAnyNetwork, model_validator

from contracts import identifiers
from contracts.durations import Duration
from contracts.names import RESERVED_PREFIX
from contracts.resources import JsonSchema, Model, Name

TaskQueue = Annotated[str, Field(pattern=identifiers.TASK_QUEUE_PATTERN, max_length=63)]
PathTemplate = Annotated[
    str,
    Field(min_length=1, max_length=500, pattern=r"^/[A-Za-z0-9._~!$&'()+,;=:@%{}/-]*$"),
]
"""A path with its parameters in braces: /customers/{id}."""
CallTemplate = Annotated[
    str,
    Field(
        min_length=5,
        max_length=500,
        pattern=r"^(GET|POST|PUT|PATCH|DELETE) /[A-Za-z0-9._~!$&'()+,;=:@%{}/-]*$",
    ),
]
"""A method and a path with its parameters in braces: POST /customers/{id}/notes."""


def _not_our_own(topic: str) -> str:
    if topic.startswith(RESERVED_PREFIX):
        raise ValueError(f"topics {RESERVED_PREFIX}* are Backbone's own")
    return topic


TopicName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=180), AfterValidator(_not_our_own)
]
"""A topic without the namespace that prefixes it."""
FieldPath = Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$", max_length=200)]
"""A field by the names that lead to it, through lists too: address.street."""
Redact = Annotated[
    list[FieldPath],
    Field(
        max_length=50,
        description="Fields that rules see and snapshots do not keep: email, address.street.",
    ),
]

MAX_TIMEOUT = timedelta(seconds=20)
"""Of one question, as an attempt to decide ends at 30 s."""

MAX_ANSWER_BYTES = 192 * 1024
"""Of a call, as a task keeps it with what stands around it."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class ParameterType(StrEnum):
    """What a parameter may be."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIMESTAMPTZ = "timestamptz"
    DATE = "date"


class Parameter(Model):
    """A parameter: the first of a statement's list is `$1`; that of a path is found by its name."""

    name: Name
    type: ParameterType
    nullable: bool = Field(
        default=False, description="Whether null may be bound; otherwise null is an error."
    )


class Statement(Model):
    """A statement that reads, and how much it may answer."""

    sql: Annotated[str, Field(min_length=1, max_length=20_000)]
    parameters: list[Parameter] = Field(default_factory=list, max_length=50)
    result: JsonSchema | None = Field(
        None, description="JSON Schema of the rows: a list of objects, a field for each column."
    )
    max_rows: int = Field(1000, ge=1, le=10_000)
    max_bytes: int = Field(
        256 * 1024, ge=1024, le=1024 * 1024, description="Of the rows together, as JSON."
    )
    redact: Redact = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _refuse_twins(self.parameters)
        return self


class PostgresConnector(Model):
    """A PostgreSQL database that is read in read-only transactions."""

    dsn_env: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The environment variable that holds the DSN."
    )
    dsn_file: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The file that holds the DSN, such as a mounted secret."
    )
    pool_size: int = Field(4, ge=1, le=50)
    statement_timeout: Duration = timedelta(seconds=2)
    statements: dict[Name, Statement] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_dsn(self) -> Self:
        if (self.dsn_env is None) == (self.dsn_file is None):
            raise ValueError("a connector has either dsnEnv or dsnFile")
        if self.statement_timeout > MAX_TIMEOUT:
            raise ValueError("statementTimeout is at most 20s, as an attempt to decide ends at 30s")
        return self

    @property
    def timeout(self) -> timedelta:
        """How long one answer may take."""
        return self.statement_timeout


class HttpRequest(Model):
    """What may be asked of an HTTP API.

    Parameters in the braces of the path go there, all others into the query of the URL.
    """

    parameters: list[Parameter] = Field(default_factory=list, max_length=50)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _refuse_twins(self.parameters)
        return self


class HttpPath(HttpRequest):
    """A path that may be read, and how much it may answer."""

    result: JsonSchema | None = Field(None, description="JSON Schema of the answer.")
    max_bytes: int = Field(64 * 1024, ge=1024, le=1024 * 1024, description="Of the answer.")
    redact: Redact = Field(default_factory=list)


class HttpCall(HttpRequest):
    """A request that tasks may send, and how much may be answered."""

    max_bytes: int = Field(
        64 * 1024, ge=1024, le=MAX_ANSWER_BYTES, description="Of the answer, which the task keeps."
    )
    redact: Redact = Field(
        default_factory=list, description="Fields of the answer that tasks do not keep."
    )


class HttpConnector(Model):
    """An HTTP API whose listed paths are read with GET and whose listed calls tasks may make.

    Nothing else of it can be reached.
    """

    url: Annotated[
        str,
        Field(
            max_length=500,
            pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*$",
        ),
    ] = Field(description="Where it is: https, host, port, and what all its paths begin with.")
    networks: Annotated[list[IPvAnyNetwork], Field(min_length=1, max_length=50)] | None = Field(
        None,
        description="The only networks in which the host may be, such as 10.20.0.0/16; without "
        "them its addresses are public ones. Plain http needs them.",
    )
    ca_file: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="Certificates to trust instead of the public authorities."
    )
    token_env: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The environment variable that holds the token."
    )
    token_file: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The file that holds the token, such as a mounted secret."
    )
    token_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$", max_length=63)] = Field(
        "Authorization", description="The header that carries the token."
    )
    token_prefix: Annotated[str, Field(pattern=r"^[ -~]*$", max_length=63)] = Field(
        "Bearer ", description="What stands before the token in its header."
    )
    pool_size: int = Field(4, ge=1, le=50)
    timeout: Duration = Field(
        timedelta(seconds=2), description="Of one answer, from the connection to its last byte."
    )
    paths: dict[PathTemplate, HttpPath] = Field(
        default_factory=dict, description="What runs may look at."
    )
    calls: dict[CallTemplate, HttpCall] = Field(
        default_factory=dict, description="What tasks may ask for: POST /customers/{id}/notes."
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.token_env is not None and self.token_file is not None:
            raise ValueError("a connector has tokenEnv or tokenFile, not both")
        if self.url.startswith("http:") and self.networks is None:
            raise ValueError("plain http is for networks of your own: list them, or write https")
        if self.timeout > MAX_TIMEOUT:
            raise ValueError("timeout is at most 20s, as an attempt to decide ends at 30s")
        if not self.paths and not self.calls:
            raise ValueError("a connector lists paths, or calls")
        requests: dict[str, HttpRequest] = {**self.paths, **self.calls}
        for template, asked in requests.items():
            declared = {parameter.name for parameter in asked.parameters}
            unknown = [name for name in placeholders(template) if name not in declared]
            if unknown:
                raise ValueError(f"{template} declares no parameter {', '.join(unknown)}")
        return self


class Connector(Model):
    """One system, by the technology that reaches it."""

    postgres: PostgresConnector | None = None
    http: HttpConnector | None = None

    @model_validator(mode="after")
    def _one_technology(self) -> Self:
        if (self.postgres is None) == (self.http is None):
            raise ValueError("a connector is either postgres or http")
        return self

    @property
    def timeout(self) -> timedelta:
        """How long one answer may take."""
        technology = self.postgres or self.http
        return MAX_TIMEOUT if technology is None else technology.timeout


class BuiltIn(StrEnum):
    """The handlers that come with Backbone."""

    HTTP_CALL = "http_call"
    PUBLISH_EVENT = "publish_event"
    START_DEFINITION = "start_definition"


class Handler(Model):
    """A handler of automated tasks, as its worker registers it."""

    task_queue: TaskQueue = Field(description="The queue that its worker serves.")
    input: JsonSchema | None = Field(
        None, description="JSON Schema of the task's input: an object; null takes anything."
    )
    built_in: BuiltIn | None = Field(
        None, description="Which built-in handler it is; its input is known then."
    )
    max_concurrency: int | None = Field(
        None, ge=1, le=10_000, description="Of a built-in one: how many at once in one worker."
    )
    rate_per_second: float | None = Field(
        None, gt=0, le=100_000, description="Of a built-in one: how many begin, in all workers."
    )

    @model_validator(mode="after")
    def _of_whom(self) -> Self:
        if self.built_in is None and self.is_limited:
            raise ValueError(
                "maxConcurrency and ratePerSecond are for built-in handlers; "
                "those of your own have them in their code"
            )
        if self.built_in is not None and self.input is not None:
            raise ValueError("the input of a built-in handler is known; leave it out")
        return self

    @property
    def is_limited(self) -> bool:
        """Whether it waits for others, so that it needs a queue of its own."""
        return self.max_concurrency is not None or self.rate_per_second is not None


class Catalogue(Model):
    """Everything that definitions may name.

    Without `handlers` any handler may be named; an empty object says that there is none.
    """

    connectors: dict[Name, Connector] = Field(default_factory=dict)
    handlers: dict[Name, Handler] | None = None
    topics: list[TopicName] = Field(
        default_factory=list,
        max_length=100,
        description="Where publish_event may publish, without the namespace: events is dev.events.",
    )

    @model_validator(mode="after")
    def _limited_alone(self) -> Self:
        for name, handler in (self.handlers or {}).items():
            sharing = [
                other
                for other, one in (self.handlers or {}).items()
                if other != name and one.task_queue == handler.task_queue
            ]
            if handler.is_limited and sharing:
                raise ValueError(
                    f"handler {name} has limits, and shares {handler.task_queue} with "
                    f"{', '.join(sharing)}, which would wait with it; give it a queue of its own"
                )
        return self

    @property
    def calls(self) -> dict[str, HttpConnector]:
        """The HTTP connectors that list calls."""
        return {
            name: one.http
            for name, one in self.connectors.items()
            if one.http is not None and one.http.calls
        }


def placeholders(path: str) -> list[str]:
    """Return the names in the braces of a path, each once.

    Raises:
        ValueError: a brace stands alone.
    """
    rest = _PLACEHOLDER.sub("", path)
    if "{" in rest or "}" in rest:
        raise ValueError("a brace stands alone; a parameter is written {name}")
    return list(dict.fromkeys(_PLACEHOLDER.findall(path)))


def _refuse_twins(parameters: Sequence[Parameter]) -> None:
    names = [parameter.name for parameter in parameters]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"parameters share a name: {', '.join(twice)}")
