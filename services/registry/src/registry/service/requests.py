"""What every request is checked for before anything else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts import canonical, identifiers
from registry.errors import InvalidRequestError, NamespaceNotServedError

MAX_REASON = 500
_MAX_VERSION = 2**63


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that changes something: who asked, why, and what names it."""

    actor: str
    reason: str
    request_id: str
    sha256: str


def asked(*details: Any, actor: str, reason: str, request_id: str) -> Asked:
    """Return the request that says `details`.

    Raises:
        InvalidRequestError: the reason or the request id cannot be used.
    """
    reason = reason.strip()
    if not reason:
        raise InvalidRequestError("reason", "a reason is required: say why, in a few words")
    if len(reason) > MAX_REASON:
        raise InvalidRequestError("reason", f"it is longer than {MAX_REASON} characters")
    if not reason.replace("\n", " ").isprintable():
        raise InvalidRequestError("reason", "it holds characters that cannot be printed")
    if request_id and not re.fullmatch(identifiers.REQUEST_ID_PATTERN, request_id):
        raise InvalidRequestError(
            "request_id", "letters, digits, '.', '_' and '-', at most 100, are possible"
        )
    sha256 = canonical.digest(canonical.render([*details, actor, reason]))
    return Asked(actor, reason, request_id, sha256)


def require_served(namespace: str, namespaces: Sequence[str]) -> None:
    """Refuse a namespace that is not one of ours.

    Raises:
        NamespaceNotServedError: it is not.
    """
    if namespace not in namespaces:
        raise NamespaceNotServedError(namespace, namespaces)


def require_version(field: str, version: int) -> None:
    """Refuse what cannot be a version.

    Raises:
        InvalidRequestError: it cannot.
    """
    if not 0 <= version < _MAX_VERSION:
        raise InvalidRequestError(field, "versions are counted from 1; 0 leaves it out")
