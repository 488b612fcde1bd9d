"""Who may call what: a table from full method name to roles. What is not in the table is denied.

An identity that belongs to some namespaces may name only those in its requests.
"""

from collections.abc import Iterable, Mapping

from contracts.roles import Role
from runtime.identity import Identity

Policy = Mapping[str, frozenset[Role]]


def policy(service: str, methods: Mapping[str, Iterable[Role]]) -> dict[str, frozenset[Role]]:
    """Return the policy of one gRPC service from its methods' bare names.

    `policy("backbone.ledger.v1.TaskService", {"GetTask": {Role.VIEWER}})`.
    """
    return {f"/{service}/{method}": frozenset(roles) for method, roles in methods.items()}


def allows(table: Policy, method: str, identity: Identity) -> bool:
    """Say whether `identity` may call `method` (its full name, with slashes)."""
    return bool(table.get(method, frozenset()) & identity.roles)


def allows_namespace(identity: Identity, request: object) -> bool:
    """Say whether `identity` may ask for what `request` names by its field `namespace`.

    Who belongs to some namespaces is denied every request that does not name one of them.
    """
    if identity.namespaces is None:
        return True
    return getattr(request, "namespace", "") in identity.namespaces
