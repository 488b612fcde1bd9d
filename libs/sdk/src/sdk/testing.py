"""Tests of handlers without a server."""

import uuid
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from contracts.triggers import Chain
from sdk.handlers import Handler, TaskContext


async def invoke(
    handler: Handler[Any],
    task_input: BaseModel | Mapping[str, Any],
    *,
    task_id: UUID | None = None,
    run_id: str = "test.definition:manual:1",
    definition_id: str = "test.definition",
    namespace: str = "dev",
    attempt: int = 1,
    chain: Chain | None = None,
) -> Any:
    """Run a handler as a worker would and return its output as the ledger would keep it.

    Raises:
        InvalidInputError: the input is not what the handler takes.
        OutputError: the output is not JSON, or larger than is kept.
        Exception: whatever the handler raises.
    """
    if isinstance(task_input, BaseModel):
        task_input = task_input.model_dump(mode="json", by_alias=True)
    context = TaskContext(
        task_id=task_id or uuid.uuid4(),
        run_id=run_id,
        definition_id=definition_id,
        namespace=namespace,
        attempt=attempt,
        chain=chain,
    )
    return await handler.run(task_input, context)
