"""How references and values are told to the ledger, and by it: for everybody who asks for them."""

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from backbone.ledger.v1 import subjects_pb2
from contracts.sensitive import Reference

MAX_TOGETHER = 1000
"""Values, or references to them, that one call takes at most."""


def told(references: Iterable[Reference]) -> list[subjects_pb2.ValueReference]:
    """Return references as the ledger is told of them."""
    return [subjects_pb2.ValueReference(blob_id=one.blob_id, hash=one.hash) for one in references]


def resolutions(
    namespace: str, references: Collection[Reference]
) -> Iterator[subjects_pb2.ResolveValuesRequest]:
    """Yield the requests for the values behind references, of what one call takes each."""
    wanted = sorted(references)
    for first in range(0, len(wanted), MAX_TOGETHER):
        yield subjects_pb2.ResolveValuesRequest(
            namespace=namespace, references=told(wanted[first : first + MAX_TOGETHER])
        )


def values(resolved: Iterable[subjects_pb2.ResolvedValue]) -> dict[str, Any]:
    """Return the values that the ledger tells, by blob id."""
    return {one.blob_id: json.loads(one.value) for one in resolved}
