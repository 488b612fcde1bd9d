"""Definitions as pages have them: a stored version, what it says, and what it decides."""

import asyncio
import json
from typing import Any

from pydantic import ValidationError

from backbone.registry.v1.registry_pb2 import (
    RESOURCE_KIND_ACTIVITY_DEFINITION,
    GetResourceRequest,
    Resource,
)
from console.adapters.areas import Page
from console.errors import BadRequestError
from contracts import definitions
from rules.backtests import Version
from rules.errors import DecisionError

_MAX_VERSION = 2**63 - 1


def number(text: str, name: str) -> int:
    """Return the version that a parameter says, `8` or `v8`; 0 for none. Raises BadRequestError."""
    if not text:
        return 0
    digits = text.removeprefix("v")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19):
        raise BadRequestError(f"The {name} is a version such as 8, not {text[:40]}.")
    return min(int(digits), _MAX_VERSION)


async def stored(page: Page, definition_id: str, version: int = 0) -> Resource:
    """Return a version of a definition, the current one for 0. Raises as `ask` does."""
    answer = await page.registry.ask(
        page.registry.resources.GetResource(
            GetResourceRequest(
                namespace=page.namespace,
                kind=RESOURCE_KIND_ACTIVITY_DEFINITION,
                resource_id=definition_id,
                version=version,
            )
        )
    )
    return answer.resource


async def compiled(resource: Resource) -> Version:
    """Return what a stored version decides.

    Raises BadRequestError when this release cannot read it.
    """
    try:
        return await asyncio.to_thread(_compiled, resource)
    except (ValidationError, DecisionError) as exc:
        raise BadRequestError(
            f"Version {resource.version} of {resource.resource_id} cannot be read by this release "
            "of the console: update it."
        ) from exc


def _compiled(resource: Resource) -> Version:
    return Version.of(definitions.load(resource.content), resource.version)


def document(resource: Resource) -> dict[str, Any]:
    """Return what a version says; empty where that is no JSON object, as a newer one may be."""
    try:
        found = json.loads(resource.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
