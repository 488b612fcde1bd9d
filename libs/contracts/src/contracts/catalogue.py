"""The operator's catalogue: what definitions may name, and never hold themselves.

Connectors reach a system with credentials that only the operator's machines have; statements are
the questions that may be asked of a database; handlers carry out tasks. The registry checks
definitions against it, the orchestrator-worker reaches the systems by it.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from contracts import identifiers
from contracts.durations import Duration
from contracts.resources import JsonSchema, Model, Name

TaskQueue = Annotated[str, Field(pattern=identifiers.TASK_QUEUE_PATTERN, max_length=63)]


class ParameterType(StrEnum):
    """What a parameter may be."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIMESTAMPTZ = "timestamptz"
    DATE = "date"


class Parameter(Model):
    """A parameter of a statement: the first of the list is `$1`."""

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

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [parameter.name for parameter in self.parameters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"parameters share a name: {', '.join(twice)}")
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
        if self.statement_timeout > timedelta(seconds=20):
            raise ValueError("statementTimeout is at most 20s, as an attempt to decide ends at 30s")
        return self


class Connector(Model):
    """One system, by the technology that reaches it."""

    postgres: PostgresConnector


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
