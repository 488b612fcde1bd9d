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

from pydantic import Field, IPvAnyNetwork, model_validator

from contracts import identifiers
from contracts.durations import Duration
from contracts.resources import JsonSchema, Model, Name

TaskQueue = Annotated[str, Field(pattern=identifiers.TASK_QUEUE_PATTERN, max_length=63)]
PathTemplate = Annotated[
    str,
    Field(min_length=1, max_length=500, pattern=r"^/[A-Za-z0-9._~!$&'()+,;=:@%{}/-]*$"),
]
"""A path with its parameters in braces: /customers/{id}."""
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


class HttpPath(Model):
    """A path that may be read, and how much it may answer.

    Parameters in the braces of the path go there, all others into the query of the URL.
    """

    parameters: list[Parameter] = Field(default_factory=list, max_length=50)
    result: JsonSchema | None = Field(None, description="JSON Schema of the answer.")
    max_bytes: int = Field(64 * 1024, ge=1024, le=1024 * 1024, description="Of the answer.")
    redact: Redact = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _refuse_twins(self.parameters)
        return self


class HttpConnector(Model):
    """An HTTP API whose listed paths are read with GET; nothing else of it can be reached."""

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
    paths: dict[PathTemplate, HttpPath] = Field(min_length=1)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.token_env is not None and self.token_file is not None:
            raise ValueError("a connector has tokenEnv or tokenFile, not both")
        if self.url.startswith("http:") and self.networks is None:
            raise ValueError("plain http is for networks of your own: list them, or write https")
        if self.timeout > MAX_TIMEOUT:
            raise ValueError("timeout is at most 20s, as an attempt to decide ends at 30s")
        for template, path in self.paths.items():
            declared = {parameter.name for parameter in path.parameters}
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


class Handler(Model):
    """A handler of automated tasks, as its worker registers it."""

    task_queue: TaskQueue = Field(description="The queue that its worker serves.")
    input: JsonSchema | None = Field(
        None, description="JSON Schema of the task's input: an object; null takes anything."
    )


class Catalogue(Model):
    """Everything that definitions may name.

    Without `handlers` any handler may be named; an empty object says that there is none.
    """

    connectors: dict[Name, Connector] = Field(default_factory=dict)
    handlers: dict[Name, Handler] | None = None


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
