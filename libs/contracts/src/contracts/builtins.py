"""What the built-in handlers take: in definitions as expressions, in their worker as values."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from contracts.catalogue import BuiltIn, Catalogue, Handler
from contracts.definitions import DefinitionId
from contracts.resources import JsonSchema, Name

Text = Annotated[str, Field(min_length=1, max_length=256)]


class _Input(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class HttpCallInput(_Input):
    """A request that the catalogue's connector lists; the task id is its idempotency key."""

    connector: Name
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: Annotated[str, Field(max_length=500)] = Field(
        description="As the catalogue has it, with its braces: /customers/{id}/notes."
    )
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    body: JsonValue = Field(None, description="Sent as JSON; null sends none.")


class PublishEventInput(_Input):
    """An event to publish; its id follows from the task's, its source from the definition's."""

    topic: Text = Field(description="Without the namespace that prefixes it; of the catalogue's.")
    type: Text = Field(description="What happened, in the past tense; none of backbone.*.")
    payload: JsonValue
    subject: Text | None = None
    key: Text | None = Field(None, description="Keeps the order of events; else the subject.")
    schema_version: int = Field(1, ge=1, le=2**31 - 1)
    occurred_at: AwareDatetime | None = Field(
        None, description="When it happened; else when the task was first due to be carried out."
    )


class StartDefinitionInput(_Input):
    """A definition to start, once for this task."""

    definition_id: DefinitionId
    input: JsonValue = Field(None, description="What its expressions see as trigger.input.")


INPUT_OF: dict[BuiltIn, type[BaseModel]] = {
    BuiltIn.HTTP_CALL: HttpCallInput,
    BuiltIn.PUBLISH_EVENT: PublishEventInput,
    BuiltIn.START_DEFINITION: StartDefinitionInput,
}


def input_schema(catalogue: Catalogue, handler: Handler) -> JsonSchema | None:
    """Return the JSON Schema of a handler's input, None where anything goes.

    That of a built-in handler names the connectors, calls and topics that the catalogue has.
    """
    if handler.built_in is None:
        return handler.input
    schema: dict[str, Any] = INPUT_OF[handler.built_in].model_json_schema()
    properties = schema["properties"]
    if handler.built_in is BuiltIn.HTTP_CALL:
        calls = [call.split(" ", 1) for one in catalogue.calls.values() for call in one.calls]
        _only(properties["connector"], catalogue.calls)
        _only(properties["method"], (method for method, _ in calls))
        _only(properties["path"], (path for _, path in calls))
    if handler.built_in is BuiltIn.PUBLISH_EVENT:
        _only(properties["topic"], catalogue.topics)
    return schema


def _only(field: dict[str, Any], values: Iterable[str]) -> None:
    field["enum"] = sorted(set(values))
